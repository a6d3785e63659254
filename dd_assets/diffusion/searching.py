"""Guidance scale and start level, chosen per class by what the teacher makes of quick samples.

Belongs here: the search, which every generation method has by the fields `search_scales` and `search_levels`. Does not
belong: drawing samples (generate.py).

Source: the Bayesian optimisation of BO+repulsion (AAAI 2026; sb3991/adaptive-diffusion-dd b676742), by the project's
description of it: per class the pair that makes -KL(T(real) || T(generated)) greatest, on samples of half the steps.
The original asks a Gaussian process for 15 + 5 pairs from [3, 8] x [.4, .9]; here a grid is tried in full, which needs
no surrogate and no second source of randomness.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dd_assets.diffusion.contract import Sampling

TINY = 1e-12


def divergence(real: np.ndarray, generated: np.ndarray) -> float:
    """Mean over rows of KL(real || generated), in nats, of probabilities (n, classes)."""
    ratio = np.log(np.maximum(real, TINY)) - np.log(np.maximum(generated, TINY))
    return float((real * ratio).sum(axis=1).mean())


def best_of_grid(
    parameters: Sampling, real: np.ndarray, probabilities: Callable[[Sampling], np.ndarray]
) -> tuple[Sampling, float]:
    """`parameters` with the grid's best scale and level, and their divergence; the first of equals.

    real: the teacher's probabilities of the images that a pass begins from; probabilities: those of the images that a
    sampling with these parameters ends in.
    """
    scales = parameters.search_scales or (parameters.guidance_scale,)
    levels = parameters.search_levels or (parameters.start_level,)
    tried = []
    for scale, level in itertools.product(scales, levels):
        chosen = replace(parameters, guidance_scale=scale, start_level=level)
        quick = replace(chosen, steps=max(1, parameters.steps // 2))
        tried.append((divergence(real, probabilities(quick)), chosen))
    found = min(tried, key=lambda pair: pair[0])
    return found[1], found[0]
