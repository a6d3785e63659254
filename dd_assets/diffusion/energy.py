"""Guidance by a teacher's energy.

Belongs here: the energy of images and its gradient through decoder and denoiser. Does not belong: strengths and windows
(methods/*/recipe.py), the loop (sampling.py).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import Normalisation
from dd_assets.diffusion.sampling import Correction, Guidance, Step
from dd_assets.models.pixels import normalised_unit
from dd_assets.shapes import Float, Int

TINY = 1e-12


def energy(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], class_weight: float) -> Float[Tensor, " n"]:
    """E(x) = -logsumexp f(x), and with a weight w also w times -log p(y | x); low is what the teacher has met.

    w = 0 knows no class, so that guidance may lead to whichever class the teacher is surest of; w = 1 is -f_y(x).
    """
    free = -torch.logsumexp(logits, dim=1)
    if not class_weight:
        return free
    return free - class_weight * torch.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]


class EnergyGuidance(Guidance):
    """Lowers the teacher's energy of the image that a step would end in.

    ε' = ε + strength sqrt(1 - ᾱ) (|ε| / |g|) g with g = ∇_x E(D(x̂0(x))), norms per image; without `unit_norm` the
    bracket is left out. The gradient passes through the teacher, the decoder and the denoiser. The teacher sees what
    would be saved: pixels clipped to [0, 1], so that values outside gain nothing (an energy has no lower bound).
    """

    def __init__(
        self,
        teacher: nn.Module,
        normalisation: Normalisation,
        strength: float,
        low: float = 0.0,
        high: float = 1.0,
        *,
        class_weight: float = 0.0,
        unit_norm: bool = True,
    ) -> None:
        """The teacher must be frozen and in evaluation mode, so that an image's energy does not depend on others."""
        super().__init__(strength, low, high)
        self.teacher, self.normalisation = teacher, normalisation
        self.class_weight, self.unit_norm = class_weight, unit_norm

    def energies(self, step: Step, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """E of the clean images that x implies at the step's t, differentiable in x."""
        clean = step.clean(x, step.noise(x))
        images = step.generator.decode(clean).clamp(0, 1)
        labels = torch.from_numpy(step.rows.labels).to(x.device)
        return energy(self.teacher(normalised_unit(images, self.normalisation)), labels, self.class_weight)

    def correct(self, step: Step) -> Correction:
        """What is added to ε; 0 for an image whose energy has no gradient."""
        x = step.x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.energies(step, x).sum(), x)
        if self.unit_norm:
            sizes = gradient.flatten(1).norm(dim=1)
            scale = torch.where(sizes > TINY, step.eps.flatten(1).norm(dim=1) / sizes.clamp(min=TINY), 0.0)
            gradient = gradient * scale[:, None, None, None]
        return Correction(eps=self.strength * math.sqrt(1 - step.alpha_bar) * gradient)
