"""IGD: sampling that is pulled to what teaches a classifier and away from what was drawn before.

Belongs here: the two guidances. Does not belong: gradients and their cosine (synthesis/influence.py), the surrogate
(models/trajectory.py), the loop (diffusion/sampling.py), numbers (recipe.py).

Source: Chen et al., ICLR 2025; mchen725/DD_IGD 912e868, sample.py, and its sampler, diffusion/gaussian_diffusion.py, in
the two copies that recipe.py names, beside what differs from them.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from dd_assets.datasets.arrays import Normalisation
from dd_assets.diffusion.generate import generate
from dd_assets.diffusion.sampling import Correction, Guidance, Step
from dd_assets.methods.igd.recipe import Parameters
from dd_assets.methods.request import Influence, Request, SyntheticImages
from dd_assets.models.pixels import normalised_unit
from dd_assets.shapes import Float
from dd_assets.synthesis.batches import Batch
from dd_assets.synthesis.influence import TINY, mean_loss_and_slope


def _length(values: Tensor) -> Tensor:
    """Norm of each row, (n, 1, 1, 1)."""
    return values.flatten(1).norm(dim=1)[:, None, None, None]


class InfluenceGuidance(Guidance):
    """Down the mean over checkpoints of 1 - cos(gradient of the predicted clean image, mean gradient of its class).

    Each step moves x by `strength` * sqrt(1 - ᾱ) of the noise's length, whatever the length of the slope, which varies
    by orders of magnitude over t.
    """

    def __init__(
        self,
        influence: Influence,
        normalisation: Normalisation,
        strength: float,
        low: float = 0.0,
        high: float = 1.0,
        through_denoiser: bool = True,
    ) -> None:
        super().__init__(strength, low, high)
        self.influence, self.normalisation, self.through_denoiser = influence, normalisation, through_denoiser
        self.losses: list[float] = []
        """The mean loss of every step, before it."""
        self._wanted: dict[int, Tensor] = {}

    def loss_and_slope(self, step: Step) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c h w"]]:
        """The loss of each row and a positive multiple, row by row, of its derivative in x_t.

        The derivative in the image is exact; it is brought to length 1 before it goes on through decoder and denoiser,
        where numbers of half precision would otherwise vanish.
        """
        x = step.x.detach().requires_grad_()
        clean = step.clean(x, step.noise(x) if self.through_denoiser else step.eps)
        images = normalised_unit(step.generator.decode(clean), self.normalisation)
        labels = torch.from_numpy(step.rows.labels).to(x.device)
        losses, slope = mean_loss_and_slope(self.influence.networks, images.detach(), labels, self._of(step))
        (found,) = torch.autograd.grad(images, x, slope / _length(slope).clamp_min(TINY))
        return losses, found

    def correct(self, step: Step) -> Correction:
        """One step down, of a length that is the same for every row but for that of its noise."""
        losses, slope = self.loss_and_slope(step)
        self.losses.append(float(losses.mean()))
        size = self.strength * math.sqrt(1 - step.alpha_bar) * _length(step.eps)
        return Correction(mean=-size * slope / _length(slope).clamp_min(TINY))

    def _of(self, step: Step) -> list[Tensor]:
        """For every checkpoint the class gradients of the rows, (n, p)."""
        device = step.x.device
        for label in np.unique(step.rows.labels).tolist():
            if label not in self._wanted:
                self._wanted[label] = torch.from_numpy(self.influence.gradients(label)).to(device)
        stacked = torch.stack([self._wanted[int(label)] for label in step.rows.labels], dim=1)
        # A batch holds at most its own classes' gradients: at ImageNet's size all of them would not fit.
        self._wanted = {label: self._wanted[label] for label in np.unique(step.rows.labels).tolist()}
        return list(stacked)


class DeviationGuidance(Guidance):
    """Down the highest cosine between x_t and the latents that were drawn for the class before.

    `strength` is the step's length in lengths of x_t where the two stand at right angles: the derivative of a cosine
    falls with that length, so that a fixed factor would mean another step for every size of latents.
    """

    def __init__(self, strength: float, memory: int, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(strength, low, high)
        self.memory = memory
        self.kept: dict[int, Tensor] = {}
        """Per class the last `memory` finished latents, (m, d)."""
        self.losses: list[float] = []
        """The mean highest cosine of every step, before it, over the rows whose class has a memory."""

    def correct(self, step: Step) -> Correction:
        """One step away from the nearest remembered latent; rows without a memory stay."""
        moved, seen = torch.zeros_like(step.x), []
        for row, label in enumerate(step.rows.labels.tolist()):
            if label not in self.kept:
                continue
            x = step.x[row].detach().flatten().requires_grad_()
            highest = torch.nn.functional.cosine_similarity(self.kept[label].to(x.device), x[None], dim=1).max()
            (slope,) = torch.autograd.grad(highest, x)
            moved[row] = (-self.strength * x.detach().square().sum() * slope).view(step.x.shape[1:])
            seen.append(highest.item())
        if seen:
            self.losses.append(float(np.mean(seen)))
        return Correction(mean=moved)

    def finished(self, rows: Batch, latents: Float[Tensor, "n c h w"]) -> None:
        """Remember a batch, first in, first out; also one that was read from a checkpoint."""
        for label, latent in zip(rows.labels.tolist(), latents.detach().flatten(1).float(), strict=True):
            earlier = [self.kept[label]] if label in self.kept else []
            self.kept[label] = torch.cat([*earlier, latent.cpu()[None]])[-self.memory :]


def synthesise(request: Request) -> SyntheticImages:
    """Sample all IPC indices of every class in turn under both guidances.

    Image k of a class depends on those before it, so that a set is one shard. Curves tell the objectives: the mean
    influence loss and the mean highest cosine at every guided step that ran here.
    """
    parameters: Parameters = request.parameters
    window = (parameters.low, parameters.high)
    influence = InfluenceGuidance(
        request.influence(), request.facts.normalisation, parameters.influence, *window, parameters.through_denoiser
    )
    deviation = DeviationGuidance(parameters.deviation, parameters.memory, *window)
    made = generate(request, [influence, deviation])
    curves = {"influence_loss": influence.losses, "deviation_loss": deviation.losses}
    further = {name: np.array(values) for name, values in curves.items() if values}
    return dataclasses.replace(made, curves={**made.curves, **further})
