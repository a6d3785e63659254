"""Repulsion: samples of one class, drawn together, push each other apart.

Belongs here: the push and its guidance, which every generation method has by the field `repulsion`. Does not belong:
which samples are drawn together (generate.py), the search over guidance scale and strength (searching.py).

Source: the SVGD kernel of the paper that joins repulsion to Bayesian optimisation (AAAI 2026), sb3991/
adaptive-diffusion-dd b676742, synthesize/LocalStableDiffusion.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from dd_assets.diffusion.guiding import Along
from dd_assets.diffusion.sampling import Correction, Guidance, Step
from dd_assets.shapes import Float

SIGMA_LIMIT = 14.6
"""σ = sqrt((1 - ᾱ) / ᾱ) at the noisy end of Stable Diffusion's schedule. DiT's linear one reaches 157, with which the
first step would throw samples further than all others together."""


def push(points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """-Σ_{j≠i} ∇_i k(z_i, z_j) = Σ 2 (z_i - z_j) / h_i · exp(-|z_i - z_j|² / h_i): the way out for each point.

    h_i is the squared median distance to the others over log n, which leaves the others' weights near 1 in all. The
    original divides by log(n - 1), which is 0 for two samples. Zero for one point; points that coincide stay.
    """
    count = len(points)
    if count < 2:
        return torch.zeros_like(points)
    between = points[:, None] - points[None]
    squared = between.pow(2).sum(dim=-1)
    others = squared[~torch.eye(count, dtype=torch.bool, device=points.device)].view(count, count - 1)
    width = (others.sqrt().median(dim=1).values.pow(2) / math.log(count)).clamp(min=1e-12)[:, None]
    weights = 2 * torch.exp(-squared / width) / width
    return (weights[..., None] * between).sum(dim=1)


class Repulsion(Guidance):
    """ε is lowered by λ σ times the push among the samples of the same class in the batch, where ᾱ <= `until`."""

    def __init__(self, strength: float, until: float) -> None:
        super().__init__(strength, 0.0, until)
        self.along = Along("repulsion_distance")

    def correct(self, step: Step) -> Correction:
        """The push on x_t, class by class; records the mean distance within classes."""
        flat = step.x.flatten(1)
        moved = torch.zeros_like(flat)
        for label in np.unique(step.rows.labels):
            own = torch.from_numpy(np.flatnonzero(step.rows.labels == label)).to(flat.device)
            moved[own] = push(flat[own])
            if len(own) > 1:
                self.along.add(step.index, torch.pdist(flat[own]))
        sigma = min(SIGMA_LIMIT, math.sqrt((1 - step.alpha_bar) / step.alpha_bar))
        return Correction(eps=-self.strength * sigma * moved.view_as(step.x))

    def curves(self) -> Mapping[str, np.ndarray]:
        """Mean distance between samples of a class, by step."""
        return self.along.curves()
