"""Guidance scale and start level, chosen per class by what the teacher makes of quick samples.

Belongs here: the search, which every generation method has by the fields `search_scales` and `search_levels`. Does not
belong: drawing samples (generate.py).

Source: the Bayesian optimisation of BO+repulsion (AAAI 2026; sb3991/adaptive-diffusion-dd b676742), by the project's
description of it: per class the pair that makes -KL(T(real) || T(generated)) greatest, on samples of half the steps.
Its code (synthesize/main_GUIDE.py) has the gain in confidence in place of that: `search_for`. The original asks a
Gaussian process for 15 + 5 pairs from [3, 8] x [.4, .9]; here a grid is tried in full, which needs no surrogate and no
second source of randomness.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dd_assets.diffusion.contract import Sampling

TINY = 1e-12
TEMPERATURE = 20.0
"""Of a confidence; the original's for CutMix (argument.py)."""


def divergence(real: np.ndarray, generated: np.ndarray) -> float:
    """Mean over rows of KL(real || generated), in nats, of probabilities (n, classes)."""
    ratio = np.log(np.maximum(real, TINY)) - np.log(np.maximum(generated, TINY))
    return float((real * ratio).sum(axis=1).mean())


def confidence(chances: np.ndarray, label: int) -> float:
    """Mean probability of a class at temperature 20, of the teacher's probabilities (n, classes)."""
    scaled = np.log(np.maximum(chances, np.finfo(np.float64).tiny)) / TEMPERATURE
    softened = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return float((softened[:, label] / softened.sum(axis=1)).mean())


def best_of_grid(
    parameters: Sampling, label: int, real: np.ndarray, probabilities: Callable[[Sampling], np.ndarray]
) -> tuple[Sampling, float]:
    """`parameters` with the grid's best scale and level, and what it is best by; the first of equals.

    That is their divergence or, where `search_for` says so, the confidence gained over the real images. label: the
    class; real: the teacher's probabilities of the images that a pass begins from; probabilities: those of the images
    that a sampling with these parameters ends in.
    """
    scales = parameters.search_scales or (parameters.guidance_scale,)
    levels = parameters.search_levels or (parameters.start_level,)
    surest = parameters.search_for == "confidence"
    tried = []
    for scale, level in itertools.product(scales, levels):
        chosen = replace(parameters, guidance_scale=scale, start_level=level)
        seen = probabilities(replace(chosen, steps=parameters.search_steps))
        figure = confidence(seen, label) - confidence(real, label) if surest else divergence(real, seen)
        tried.append((figure, chosen))
    found = (max if surest else min)(tried, key=lambda pair: pair[0])
    return found[1], found[0]
