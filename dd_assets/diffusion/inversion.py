"""The distribution of a class's latents at a noise level, and typical starts from it.

Belongs here: DDIM inversion, the normal distribution per class and dimension, the choice among groups of draws. Does
not belong: storage (units/class_gaussians.py), the way back to images (sampling.py).

Source: D3HR (ICML 2025; lin-zhao-resoLve/D3HR 8ba351d, generation/dit_inversion_save_statistic.py and
group_sampling.py), by the project's description of it. Inverted latents are nearly normal, so that few numbers tell
where a class lies, and what is drawn there denoises to images of it. Paper and code differ in how many groups are drawn
and in the weight of the skewness: the code's is .1 here.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.levels import Schedule
from dd_assets.diffusion.sampling import clean_of, noised
from dd_assets.methods.request import ClassGaussians
from dd_assets.progress import Progress, silent
from dd_assets.shapes import Float

BATCH = 64
"""Images per pass; each is inverted alone."""
SKEW_WEIGHT = 0.1
"""Of the skewness in a group's score (`off_in_latents`)."""


@torch.no_grad()
def inverted(
    generator: Generator, latents: Float[Tensor, "n c h w"], asked: Condition, schedule: Schedule, position: int
) -> Float[Tensor, "n c h w"]:
    """x_t at `position` of the schedule from which deterministic DDIM leads back to about `latents`.

    Each step of the sampling is taken the other way, with the noise that the network predicts at that step's t from
    the cleaner sample, under the condition alone: classifier-free guidance above 1 does not invert.
    """
    x = latents.to(generator.device)
    for step in range(len(schedule.timesteps) - 1, position - 1, -1):
        eps = generator.noise(x, int(schedule.timesteps[step]), asked)
        x = noised(clean_of(x, eps, schedule.level(step + 1)), eps, schedule.level(step))
    return x


def class_gaussians(
    generator: Generator,
    train: ImageArrays,
    asked: Condition,
    schedule: Schedule,
    level: float,
    progress: Progress = silent,
) -> ClassGaussians:
    """Mean and deviation of every class's inverted latents, all of its images used.

    `asked` has one row per class, by label; `level` is the ᾱ to which latents are inverted.
    """
    position = schedule.position_of(level)
    means, deviations = [], []
    for label in range(len(asked)):
        own = train.of_class(label)
        parts = []
        for start in range(0, len(own), BATCH):
            images = train.images[own[start : start + BATCH]]
            row = torch.full((len(images),), label, device=generator.device)
            parts.append(inverted(generator, generator.encode(images), asked.rows(row), schedule, position).cpu())
        found = torch.cat(parts).double()
        means.append(found.mean(dim=0).float().numpy())
        deviations.append(found.std(dim=0, correction=0).float().numpy())
        progress(label + 1, len(asked))
    return ClassGaussians(means=np.stack(means), deviations=np.stack(deviations), level=schedule.level(position))


def drawn_group(size: int, dimensions: int, seed: int, label: int, group: int) -> np.ndarray:
    """A class's group of that number: `size` draws from N(0, 1), float32 (size, dimensions)."""
    return randomness.normal(size * dimensions, seed, "diffusion", "group", label, group).reshape(size, dimensions)


def most_typical(
    size: int, dimensions: int, groups: int, seed: int, label: int, deviations: np.ndarray | None = None
) -> int:
    """The number of that one of a class's first `groups` groups which is most like N(0, 1).

    By `off_in_units` or, with the class's deviations (dimensions,), by `off_in_latents`. A single draw has no
    deviation, and of single draws the one nearest to the class's mean would win: there it is the first.
    """
    if size == 1 or groups == 1:
        return 0
    best, found = math.inf, 0
    for group in range(groups):
        drawn = drawn_group(size, dimensions, seed, label, group).astype(np.float64)
        off = off_in_units(drawn) if deviations is None else off_in_latents(drawn, deviations)
        if off < best:
            best, found = off, group
    return found


def off_in_units(drawn: np.ndarray) -> float:
    """Mean over dimensions of m² + (s - 1)², m and s mean and deviation of draws (n, dimensions) from N(0, 1)."""
    return float((drawn.mean(axis=0) ** 2 + (drawn.std(axis=0) - 1) ** 2).mean())


def off_in_latents(drawn: np.ndarray, deviations: np.ndarray) -> float:
    """‖σ m‖ + ‖σ (s - 1)‖ + .1 ‖k‖, s with n - 1 below, k the skewness of each draw over its dimensions, (n,).

    Of two draws or more. Wide numbers count for more than in `off_in_units`. Source: group_sampling.py,
    evaluate_distribution_batch.
    """
    mean, spread, dimensions = drawn.mean(axis=0), drawn.std(axis=0, ddof=1), drawn.shape[1]
    cubes = (((drawn - mean) / spread) ** 3).sum(axis=1)
    skewness = cubes * dimensions / ((dimensions - 1) * (dimensions - 2))
    norms = (np.linalg.norm(part) for part in (deviations * mean, deviations * (spread - 1), SKEW_WEIGHT * skewness))
    return float(sum(norms))
