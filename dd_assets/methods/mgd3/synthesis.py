"""MGD3: every sample of a class is drawn towards a mode of its own.

Belongs here: the guidance. Does not belong: clustering (diffusion/centroids.py), the loop (diffusion/sampling.py),
numbers (recipe.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dd_assets.diffusion.generate import generate
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.guiding import Along
from dd_assets.diffusion.levels import Schedule
from dd_assets.diffusion.sampling import Correction, Guidance, Step, backward
from dd_assets.methods.mgd3.recipe import Parameters
from dd_assets.methods.request import ClassCentroids, Request, SyntheticImages
from dd_assets.shapes import Float
from dd_assets.synthesis.batches import Batch

Modes = Callable[[Batch], np.ndarray]
"""The point for each row of a batch, float32 (n, c, h, w)."""


def synthesise(request: Request) -> SyntheticImages:
    """Denoise under the class, image k of a class guided to the class's k-th largest cluster.

    MGD3 (arXiv 2505.18963), Algorithm 1. Curve mode_distance tells |m - x̂_0| at each guided step.
    """
    parameters: Parameters = request.parameters
    return generate(request, [guidance(parameters, request.centroids())])


def guidance(parameters: Parameters, centroids: ClassCentroids) -> ModeGuidance:
    """The guidance that the parameters state, towards these modes; of several candidates as many share each."""
    points = centroids.centers if parameters.mode == "centroid" else centroids.nearest
    ipc = len(points) // centroids.classes
    return ModeGuidance(
        parameters.mode_scale,
        lambda rows: points[centroids.rows(rows.indices % ipc, rows.labels)],
        form=parameters.sampler,
        bound=parameters.bound,
        low=parameters.guided_from,
        high=parameters.guided_until,
    )


class ModeGuidance(Guidance):
    """Towards a point for each sample, by the difference m - x̂_0 with x̂_0 clipped.

    Form ddim (Algorithm 1): ε - sqrt(1 - ᾱ) λ (m - x̂_0). Form ddpm (the code): λ σ_t (m - x̂_0) on the mean, σ_t the
    standard deviation of the ancestral step. x̂_0 comes from the classifier-free ε. Unclipped it is x_t / sqrt(ᾱ) and
    more at the noisy end, so that its error feeds back with a gain of about λ σ_t / sqrt(ᾱ): λ >= .5 diverged
    (generation reference §12). Clipped, no step is longer than the bound allows, whatever λ.
    """

    def __init__(
        self,
        strength: float,
        modes: Modes,
        *,
        form: Literal["ddim", "ddpm"] = "ddim",
        bound: float = 4.0,
        low: float = 0.0,
        high: float = 1.0,
    ) -> None:
        """`bound` of |x̂_0| in latents, 0 for none; pixels are bound to 1 in any case."""
        super().__init__(strength, low, high)
        self.modes, self.form, self.bound = modes, form, bound
        self.along = Along("mode_distance")

    def prepare(self, generator: Generator, schedule: Schedule) -> None:
        """Takes the bound of pixels where there is no autoencoder."""
        if generator.clips:
            self.bound = 1.0

    def difference(self, step: Step) -> Float[Tensor, "n c h w"]:
        """m - x̂_0 of each sample."""
        clean = step.clean()
        if self.bound:
            clean = clean.clamp(-self.bound, self.bound)
        return torch.from_numpy(self.modes(step.rows)).to(clean) - clean

    def correct(self, step: Step) -> Correction:
        """One step towards the modes."""
        difference = self.difference(step)
        self.along.add(step.index, difference.flatten(1).norm(dim=1))
        if self.form == "ddim":
            return Correction(eps=-math.sqrt(1 - step.alpha_bar) * self.strength * difference)
        _, deviation = backward(step.x, step.eps, step.alpha_bar, step.alpha_bar_next, 1.0, False)
        return Correction(mean=self.strength * deviation * difference)

    def curves(self) -> Mapping[str, np.ndarray]:
        """Mean distance from the modes, by step."""
        return self.along.curves()
