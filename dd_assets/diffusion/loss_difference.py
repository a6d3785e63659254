"""How much a condition explains of an image: diffusion loss without it minus diffusion loss with it.

Belongs here: draws of (t, ε), loss maps, their difference. Does not belong: which images are asked about, windows and
ranking (methods/*).

Both losses of a difference see the same t and the same ε: with fresh noise for each, the difference would be that of
two noises, a hundred times what the condition explains. There is no classifier-free combination here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dd_assets import randomness
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.sampling import noised
from dd_assets.errors import InputError
from dd_assets.shapes import Float


def draw_timesteps(generator: Generator, low: float, high: float, count: int, seed: int) -> list[int]:
    """`count` timesteps with ᾱ in [low, high], one from each of as many equal parts of that range, noisiest last.

    Shared by all images, so that their differences can be compared: the scale of a loss depends on t. Raises InputError
    where the range has fewer timesteps than that.
    """
    alpha_bars = generator.schedule(1).alpha_bars
    inside = np.flatnonzero((alpha_bars >= low) & (alpha_bars <= high))
    if len(inside) < count:
        raise InputError(
            f"{len(inside)} timesteps have a signal level between {low:g} and {high:g}, {count} are drawn",
            "widen the range or draw fewer pairs",
        )
    draws = randomness.uniform(count, seed, "loss_difference", "timestep")
    return [int(part[int(u * len(part))]) for part, u in zip(np.array_split(inside, count), draws, strict=True)]


def draw_noise(shape: Sequence[int], keys: np.ndarray, number: int, seed: int) -> Float[Tensor, "n c h w"]:
    """ε of pair `number`, N(0, 1) float32 (n, *shape): a stream for every key (a training row) and pair."""
    drawn = [
        randomness.normal(math.prod(shape), seed, "loss_difference", "noise", int(key), number).reshape(shape)
        for key in keys
    ]
    return torch.from_numpy(np.stack(drawn))


@torch.no_grad()
def loss_difference(
    generator: Generator,
    latents: Float[Tensor, "n c h w"],
    keys: np.ndarray,
    condition: Condition,
    null: Condition,
    timesteps: Sequence[int],
    seed: int,
    batch: int,
) -> Float[Tensor, "n h w"]:
    """S = |ε - ε(z_t, t, null)|² - |ε - ε(z_t, t, condition)|², mean over channels and pairs, float64 (n, h, w).

    Large where the condition explains the image. `timesteps` has one entry per pair; ε of an image is keyed by its key
    and the pair alone, so that neither the batch nor the other images matter. arXiv 2412.09959 (as summarised in its
    successors); the same quantity is "typicality" in ysig/diff-mining.
    """
    alpha_bars = generator.schedule(1).alpha_bars
    total = torch.zeros((len(latents), *latents.shape[2:]), dtype=torch.float64)
    for start in range(0, len(latents), batch):
        part = slice(start, start + batch)
        clean, wanted = latents[part], condition.rows(part)
        both = wanted.then(null.rows(slice(0, len(clean))))
        for number, timestep in enumerate(timesteps):
            noise = draw_noise(clean.shape[1:], keys[part], number, seed).to(clean.device)
            x = noised(clean, noise, float(alpha_bars[timestep]))
            with_it, without = generator.noise(torch.cat([x, x]), timestep, both).chunk(2)
            losses = [(noise - found).double().square().mean(dim=1) for found in (without, with_it)]
            total[part] += (losses[0] - losses[1]).cpu()
    return total / len(timesteps)
