"""Latents brought nearer to what the denoiser expects of their class.

Belongs here: the optimisation of clean latents, which every generation method has by the field `refine`. Does not
belong: drawing or choosing them (generate.py, candidates.py).

Source: condition-aware latent optimisation of CaO2 (ICCV 2025; hatchetProject/CaO2 6381e50), by the project's
description of it: Adam, squared error plus 10 times the largest error of the predicted noise, the same noise in every
step, at small t. The original draws its t from 1 to 11 of the spaced steps and hands them on as if they were of 1,000;
here they are timesteps of the schedule, from the level `refine_from` on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dd_assets import randomness
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.sampling import normals
from dd_assets.shapes import Float
from dd_assets.synthesis.batches import Batch

WORST = 10.0
"""Weight of an image's largest error beside its mean squared one."""


def prediction_error(predicted: Float[Tensor, "n c h w"], noise: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Mean squared error plus `WORST` times the largest absolute one, of each image."""
    error = (predicted - noise).flatten(1)
    return error.pow(2).mean(dim=1) + WORST * error.abs().amax(dim=1)


def refined(
    generator: Generator, latents: Float[Tensor, "n c h w"], rows: Batch, how: Sampling, seed: int, asked: Condition
) -> tuple[Float[Tensor, "n c h w"], Tensor]:
    """Latents after `how.refine` steps of Adam, and the mean error of each step, float64 (steps,).

    In each step every image is at a timestep of its own stream, uniform from 0 to the one of ᾱ `refine_from`, under
    the same noise throughout. Its gradient and Adam's state are its own, so that no image depends on its batch.
    """
    schedule = generator.schedule(how.steps)
    last = int((schedule.alpha_bars >= how.refine_from).sum())
    z = latents.to(generator.device).clone().requires_grad_()
    noise = normals(rows, generator.shape, seed, "refine").to(generator.device)
    drawn = torch.stack(
        [
            torch.from_numpy(randomness.integers(last, how.refine, seed, "refine", int(index), int(label)))
            for index, label in zip(rows.indices, rows.labels, strict=True)
        ]
    )
    levels = torch.from_numpy(schedule.alpha_bars).float().to(generator.device)
    adam = torch.optim.Adam([z], lr=how.refine_rate)
    errors = torch.zeros(how.refine, dtype=torch.float64)
    for step in range(how.refine):
        timesteps = drawn[:, step].to(generator.device)
        level = levels[timesteps].view(-1, 1, 1, 1)
        x = level.sqrt() * z + (1 - level).sqrt() * noise
        error = prediction_error(generator.noise_at(x, timesteps, asked), noise)
        adam.zero_grad()
        error.sum().backward()
        adam.step()
        errors[step] = error.detach().double().mean()
    return z.detach(), errors
