"""Training a small AutoencoderKL, resumable.

Belongs here: its loop and the measurement of its scaling factor. Does not belong: the denoiser (training.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.diffusion.registry import GeneratorRecipe
from dd_assets.diffusion.training import SAVES, pack, unpack
from dd_assets.errors import InputError
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent
from dd_assets.shapes import Float

SCALE_IMAGES = 2048
"""Training images, from the first, whose latents decide the scaling factor."""


def train_autoencoder(
    model: Any,
    images: np.ndarray,
    recipe: GeneratorRecipe,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> np.ndarray:
    """Train `model` in place on L1 + MSE + kl_weight * KL (per image) of uint8 images (N, H, W, C).

    Returns the losses, float64 (iterations,). Posterior noise, order and mirrors are keyed by the iteration.
    Afterwards its `scaling_factor` is 1 / std of latents, as Rombach et al. 2022 (appendix G) choose it: with the
    default .18215 of Stable Diffusion's the denoiser would see another signal level than its schedule says.
    Raises InputError if the loss is not finite.
    """
    checkpoints = checkpoints or NoCheckpoints()
    model.to(device).train()
    total = recipe.autoencoder_iterations
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.autoencoder_learning_rate, weight_decay=0.0)
    losses, first = np.zeros(total), 0
    saved = checkpoints.load()
    if saved is not None:
        unpack(saved, model, optimiser, None)
        first = int(saved["autoencoder_iteration"])
        losses[:first] = saved["losses"]
    every = max(1, total // SAVES)
    for iteration in range(first, total):
        for group in optimiser.param_groups:
            group["lr"] = recipe.autoencoder_learning_rate * min(1.0, 2 * (total - iteration) / total)
        loss = _loss(model, _views(images, iteration, recipe, seed, device), recipe, seed, iteration)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        optimiser.step()
        losses[iteration] = loss.item()
        if not math.isfinite(losses[iteration]):
            raise InputError(f"autoencoder training: the loss is {losses[iteration]}", "lower its learning rate")
        progress(iteration + 1, total, loss=losses[iteration])
        if (iteration + 1) % every == 0 and iteration + 1 < total:
            state = pack(model, optimiser, None)
            checkpoints.save(
                {**state, "autoencoder_iteration": np.array(iteration + 1), "losses": losses[: iteration + 1]}
            )
    model.eval()
    set_scaling(model, images, device)
    return losses


@torch.no_grad()
def set_scaling(model: Any, images: np.ndarray, device: str) -> None:
    """Give the autoencoder the scaling factor under which latents of these images have deviation 1."""
    parts = [
        model.encode(_signed(images[start : start + 64], device)).latent_dist.mode()
        for start in range(0, min(len(images), SCALE_IMAGES), 64)
    ]
    model.register_to_config(scaling_factor=1.0 / float(torch.cat(parts).std()))


def _views(
    images: np.ndarray, iteration: int, recipe: GeneratorRecipe, seed: int, device: str
) -> Float[Tensor, "n c h w"]:
    """A random batch in [-1, 1], with replacement, mirrored as the recipe says."""
    count = recipe.autoencoder_batch
    rows = randomness.integers(len(images), count, seed, "generator", "autoencoder", "order", iteration)
    chosen = _signed(images[rows], device)
    flips = randomness.uniform(count, seed, "generator", "autoencoder", "flip", iteration) < 0.5
    mirrored = torch.from_numpy(flips & recipe.hflip).to(device)[:, None, None, None]
    return torch.where(mirrored, chosen.flip(3), chosen)


def _loss(model: Any, batch: Tensor, recipe: GeneratorRecipe, seed: int, iteration: int) -> Tensor:
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        posterior = model.encode(batch).latent_dist
        drawn = randomness.normal(posterior.mean.numel(), seed, "generator", "autoencoder", "noise", iteration)
        noise = torch.from_numpy(drawn).view(posterior.mean.shape).to(batch.device)
        restored = model.decode(posterior.mean + posterior.std * noise).sample.float()
    fit = F.l1_loss(restored, batch) + F.mse_loss(restored, batch)
    return fit + recipe.kl_weight * posterior.kl().float().mean()


def _signed(images: np.ndarray, device: str) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return pixels.permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1
