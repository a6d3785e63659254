"""Pre-trained generators in diffusers' folder layout, from a local path.

Belongs here: loading one, its text encoder. Does not belong: what must be in the folder (layout.py), downloading
(hub.py), class maps (classes.py).

Two layouts are read: DiTPipeline (transformer, vae, scheduler) and StableDiffusionPipeline (unet, vae, scheduler,
text_encoder, tokenizer). Weights are safetensors only: a pickle may run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dd_assets.diffusion.denoisers import Denoiser
from dd_assets.diffusion.generator import Generator
from dd_assets.errors import InputError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@torch.no_grad()
def load_folder(
    path: Path,
    *,
    variant: str = "",
    precision: str = "fp32",
    classes: Sequence[str],
    class_ids: Sequence[int],
    size: int,
    channels: int,
    device: str = "cpu",
) -> Generator:
    """The frozen generator of a folder that `layout.generator_files` found complete.

    Raises InputError if a class id lies beyond those of its transformer.
    """
    from diffusers import AutoencoderKL, DiTTransformer2DModel, UNet2DConditionModel

    given: dict[str, Any] = {"use_safetensors": True, "dtype": DTYPES[precision], "local_files_only": True}
    if variant:
        given["variant"] = variant
    text = (path / "unet").is_dir()
    kind, part = (UNet2DConditionModel, "unet") if text else (DiTTransformer2DModel, "transformer")
    denoiser = Denoiser(_frozen(kind.from_pretrained(path, subfolder=part, **given), device))
    if not text and max(class_ids) >= denoiser.null:
        raise InputError(
            f"{path} knows {denoiser.null} classes, id {max(class_ids)} is asked for", "state its `classes` rightly"
        )
    return Generator(
        denoiser=denoiser,
        autoencoder=_frozen(AutoencoderKL.from_pretrained(path, subfolder="vae", **given), device),
        scheduler=json.loads((path / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")),
        classes=tuple(classes),
        class_ids=() if text else tuple(class_ids),
        size=size,
        channels=channels,
        text=ClipText.load(path, given, device) if text else None,
        device=device,
    )


@dataclass(eq=False)
class ClipText:
    """Stable Diffusion's text encoder: the last hidden states of CLIP, padded to its full length."""

    tokenizer: Any
    encoder: nn.Module

    @classmethod
    def load(cls, path: Path, given: Mapping[str, Any], device: str) -> ClipText:
        """Tokeniser and encoder of a folder."""
        from transformers import CLIPTextModel, CLIPTokenizer

        encoder = CLIPTextModel.from_pretrained(path, subfolder="text_encoder", **given)
        return cls(
            tokenizer=CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True),
            encoder=_frozen(encoder, device),
        )

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Float (n, tokens, d) of the prompts, cut at the tokenizer's length."""
        length = min(self.tokenizer.model_max_length, self.encoder.config.max_position_embeddings)  # type: ignore[union-attr, arg-type]
        tokens = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        device = next(self.encoder.parameters()).device
        return self.encoder(tokens["input_ids"].to(device))[0].float()


def _frozen(module: Any, device: str) -> Any:
    return module.to(device).eval().requires_grad_(False)
