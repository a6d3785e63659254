"""Made-up contests whose true accuracies are known. Nothing here asserts."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from dd_assets.report.statistics import Runs


def probit_world(
    random: np.random.Generator,
    means: dict[str, float],
    draws: int,
    seeds: int,
    images: int,
    draw: float = 0.0,
    seed: float = 0.0,
    image: float = 1.0,
) -> tuple[dict[str, Runs], dict[str, float]]:
    """(contest, true accuracy of each method) of a model in which an image is right if a normal score is above zero.

    The score adds a method's mean, its image set (standard deviation `draw`), the student seed (`seed`, half of its
    variance shared by methods), the image's difficulty (`image`, shared) and noise of deviation 1. Run k has seed k and
    draw k modulo `draws`; with one draw its effect is none, since a verdict then holds for that image set.
    """
    count = draws * seeds
    own, shared = np.arange(count) % draws, random.normal(0, seed * 0.5**0.5, count)
    difficulty = random.normal(0, image, images)
    contest, truth = {}, {}
    total = (1 + (draw**2 if draws > 1 else 0) + seed**2 + image**2) ** 0.5
    for name, mean in means.items():
        of_draw = random.normal(0, draw, draws)[own] if draws > 1 else np.zeros(count)
        of_seed = shared + random.normal(0, seed * 0.5**0.5, count)
        score = mean + (of_draw + of_seed)[:, None] + difficulty + random.normal(0, 1, (count, images))
        contest[name] = Runs(bits=score > 0, draws=tuple(own.tolist()), seeds=tuple(range(count)))
        truth[name] = float(norm.cdf(mean / total))
    return contest, truth


def runs(bits: list[list[int]], draws: list[int] | None = None, seeds: list[int] | None = None) -> Runs:
    """Runs of one draw with seeds 0, 1…, unless stated."""
    return Runs(
        bits=np.array(bits, dtype=bool),
        draws=tuple(draws or [0] * len(bits)),
        seeds=tuple(seeds or range(len(bits))),
    )
