"""One object for every kind of generator: encode, decode, condition, predict noise.

Belongs here: what sampling and guidance need of a generator, whatever it consists of. Does not belong: the loop
(sampling.py), where weights come from (weights.py, folders.py).

Latents are always the scaled ones that the denoiser sees (times the autoencoder's scaling factor), or pixels in
[-1, 1] where there is no autoencoder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dd_assets.diffusion.denoisers import Condition, Denoiser
from dd_assets.diffusion.levels import Schedule, schedule_of
from dd_assets.errors import InputError
from dd_assets.shapes import Float, Int

ENCODING_BATCH = 64
"""Images per pass of the encoder at most; it treats each alone."""
ENCODING_PIXELS = ENCODING_BATCH * 64**2
"""Pixels per pass: 64 images up to 64 px, 4 at 256. Smaller ones keep their 64, although more would fit: another batch
rounds otherwise, and latents that are stored would change."""


TextEncoder = Callable[[Sequence[str]], Tensor]
"""Prompts to what a text-conditional denoiser reads, float (n, tokens, d) on the generator's device."""


@dataclass(eq=False, kw_only=True)
class Generator:
    """A frozen generator for one setting's classes and image size."""

    denoiser: Denoiser
    autoencoder: Any
    """diffusers' AutoencoderKL; None where the denoiser works on pixels."""
    scheduler: Mapping[str, Any]
    """The configuration of its noise schedule."""
    classes: tuple[str, ...]
    """The setting's classes, in its order."""
    class_ids: tuple[int, ...] = ()
    """The denoiser's id of each; () for one that reads text."""
    size: int
    channels: int
    """Of the setting's images."""
    text: TextEncoder | None = None
    device: str = "cpu"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a latent."""
        return self.denoiser.shape

    @property
    def clips(self) -> bool:
        """Whether a predicted clean sample belongs into [-1, 1]: in pixels, not in latents."""
        return self.autoencoder is None

    @property
    def encoded_side(self) -> int:
        """Pixels along a side of what the encoder reads; a latent's own side where there is none."""
        if self.autoencoder is None:
            return self.shape[1]
        return int(self.shape[1] * 2 ** (len(self.autoencoder.config["block_out_channels"]) - 1))

    @property
    def encoding_batch(self) -> int:
        """Images per pass of the encoder, 1 to `ENCODING_BATCH`."""
        return max(1, min(ENCODING_BATCH, ENCODING_PIXELS // self.encoded_side**2))

    def with_exact_decoder(self) -> Generator:
        """This generator with a float32 autoencoder, for gradients that go through it; itself where that is so already.

        Half precision loses the small ones. A generator may be shared, so a copy is widened.
        """
        if self.autoencoder is None or self.autoencoder.dtype == torch.float32:
            return self
        return replace(self, autoencoder=copy.deepcopy(self.autoencoder).float())

    def schedule(self, steps: int) -> Schedule:
        """Signal levels and timesteps of a sampling in `steps` steps."""
        return schedule_of(self.scheduler, steps)

    def condition(self, labels: np.ndarray, prompts: Sequence[str] | None = None) -> Condition:
        """The condition of rows with these dataset labels, int64 (n,); with `prompts`, one per row, on text.

        Raises InputError where the generator cannot be asked that way.
        """
        if prompts is None:
            if not self.class_ids:
                raise InputError("this generator reads text, no class ids", "set condition: text")
            ids = torch.tensor(self.class_ids, device=self.device)
            return Condition(classes=ids[torch.from_numpy(labels).to(self.device)])
        if self.text is None:
            raise InputError("this generator has no text encoder", "set condition: class")
        return Condition(text=self.text(list(prompts)))

    def null_condition(self, count: int, negative_prompt: str = "") -> Condition:
        """The condition of `count` rows that ask for nothing (or, on text, for the opposite of `negative_prompt`)."""
        if not self.denoiser.reads_text:
            return Condition(classes=torch.full((count,), self.denoiser.null, device=self.device))
        assert self.text is not None
        return Condition(text=self.text([negative_prompt]).expand(count, -1, -1))

    def noise(self, x: Float[Tensor, "n c h w"], timestep: int, condition: Condition) -> Float[Tensor, "n c h w"]:
        """Predicted ε of x_t under one condition, whichever of ε and v the network gives; differentiable."""
        return self.noise_at(x, torch.full((len(x),), timestep, device=x.device), condition)

    def noise_at(
        self, x: Float[Tensor, "n c h w"], timesteps: Int[Tensor, " n"], condition: Condition
    ) -> Float[Tensor, "n c h w"]:
        """`noise` where each row has a timestep of its own."""
        out = self.denoiser(x, timesteps, condition)
        kind = self.scheduler.get("prediction_type", "epsilon")
        if kind == "epsilon":
            return out
        if kind != "v_prediction":
            raise InputError(f"prediction type {kind!r}", "only epsilon and v_prediction are sampled")
        signal = torch.from_numpy(self.schedule(1).alpha_bars).to(x.device)[timesteps].view(-1, 1, 1, 1)
        return out * signal.sqrt().float() + x * (1 - signal).sqrt().float()

    def guided_noise(
        self, x: Float[Tensor, "n c h w"], timestep: int, condition: Condition, null: Condition, scale: float
    ) -> Float[Tensor, "n c h w"]:
        """Classifier-free ε_null + scale (ε_cond - ε_null) on all channels; scale 1 asks the condition alone."""
        if scale == 1:
            return self.noise(x, timestep, condition)
        both = self.noise(torch.cat([x, x]), timestep, condition.then(null))
        wanted, free = both.chunk(2)
        return free + scale * (wanted - free)

    def features(
        self, x: Float[Tensor, "n c h w"], timestep: int, condition: Condition, layer: int
    ) -> Float[Tensor, "n ..."]:
        """Activations of one block for x_t (denoisers.Denoiser.features); differentiable in x."""
        return self.denoiser.features(x, torch.full((len(x),), timestep, device=x.device), condition, layer)

    @torch.no_grad()
    def encode(self, images: np.ndarray) -> Float[Tensor, "n c h w"]:
        """Latents of uint8 images (n, H, W, C): the mode, not a sample, so that means of them have a meaning."""
        size = self.encoding_batch
        parts = [
            self.encode_unit(_unit(images[start : start + size], self.device)) for start in range(0, len(images), size)
        ]
        return torch.cat(parts)

    def encode_unit(self, images: Float[Tensor, "n k s s"]) -> Float[Tensor, "n c h w"]:
        """Latents of float images in [0, 1], as `encode`; differentiable."""
        signed = images * 2 - 1
        if self.autoencoder is None:
            return signed
        config = self.autoencoder.config
        if signed.shape[1] != config["in_channels"]:
            signed = signed.expand(-1, int(config["in_channels"]), -1, -1)
        resized = _resized(signed, self.encoded_side).to(self.autoencoder.dtype)
        latents = self.autoencoder.encode(resized).latent_dist.mode()
        return latents.float() * config["scaling_factor"]

    def decode(self, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k s s"]:
        """Float images in [0, 1] up to overshoot, at the setting's size and channels; differentiable."""
        if self.autoencoder is None:
            return (latents + 1) / 2
        config = self.autoencoder.config
        scaled = (latents / config["scaling_factor"]).to(self.autoencoder.dtype)
        images = (self.autoencoder.decode(scaled).sample.float() + 1) / 2
        if images.shape[1] != self.channels:
            images = images.mean(dim=1, keepdim=True).expand(-1, self.channels, -1, -1)
        return _resized(images, self.size)


def _unit(images: np.ndarray, device: str) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return pixels.permute(0, 3, 1, 2).float().contiguous() / 255


def _resized(images: Tensor, side: int) -> Tensor:
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
