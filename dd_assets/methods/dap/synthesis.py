"""DAP: the diffusion model's own features say how well a sample represents its class.

Belongs here: the guidance and its figure. Does not belong: kernels (kernels.py), which real images are compared with
(diffusion/references.py), the loop (diffusion/sampling.py), numbers (recipe.py).

Features of the references depend on t and are computed once per step and batch; where the whole class is compared
with, all of its images are drawn in one batch, so that this happens once for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from dd_assets import randomness
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generate import Generated, conditions, generate
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.guiding import Along, stretched
from dd_assets.diffusion.sampling import Correction, Guidance, Step, noised
from dd_assets.methods.dap.kernels import distances, kernel_of
from dd_assets.methods.dap.recipe import Parameters, part_of
from dd_assets.methods.request import ReferenceLatents, Request, SyntheticImages
from dd_assets.synthesis.batches import Batch

PASS = 64
"""Reference latents per pass of the network; each is treated alone."""


def synthesise(request: Request) -> SyntheticImages:
    """Denoise under the class, every step followed by one towards the references in feature space.

    DAP (arXiv 2510.17421), Algorithm 1. Curves: distance along the steps; representativeness, the inverse of the mean
    distance of each finished image from its references, by class.
    """
    parameters: Parameters = request.parameters
    generator = request.generator()
    guide = Representativeness(parameters, request.reference_latents(), request.ipc)
    made = generate(request, [guide], generator=generator)
    figure = representativeness(guide, generator, made, request)
    return dataclasses.replace(made, curves={**made.curves, "representativeness": figure})


class Representativeness(Guidance):
    """x_{t-1} moves by γ down the gradient, with respect to x_t, of the mean distance D_K from the references.

    Features are those of one block for x_t and for references noised to the same t, each with a noise of its own that
    is the same at every t, both under the class (never the null class).
    """

    def __init__(self, parameters: Parameters, references: ReferenceLatents, ipc: int) -> None:
        """`ipc` parts of the references; of several candidates as many share each."""
        super().__init__(parameters.gamma, parameters.guided_from, parameters.guided_until)
        self.parameters, self.references, self.ipc = parameters, references, ipc
        self.along = Along("distance")
        self._noise: dict[int, Tensor] = {}

    def correct(self, step: Step) -> Correction:
        """One step of length γ (by `length`)."""
        x = step.x.clone().requires_grad_()
        found = self.distance(
            step.generator, x, step.rows, step.condition, step.timestep, step.alpha_bar, seed=step.seed
        )
        self.along.add(step.index, found.detach())
        (slope,) = torch.autograd.grad(found.sum(), x)
        return Correction(mean=-self.strength * stretched(slope, self.parameters.length, step.alpha_bar))

    def distance(
        self,
        generator: Generator,
        x: Tensor,
        rows: Batch,
        condition: Condition,
        timestep: int,
        alpha_bar: float,
        *,
        seed: int,
    ) -> Tensor:
        """Mean D_K of each sample from its references at t, float32 (n,), differentiable in x (n, c, h, w)."""
        layer = int(self.parameters.layer * len(generator.denoiser.layers()))
        own = self._flat(generator.features(x, timestep, condition, layer))
        groups = self._groups(rows)
        chosen = np.concatenate([references for _, references in groups])
        latents = noised(self._latents(chosen, own.device), self._normals(chosen, seed, own.device), alpha_bar)
        asked = torch.tensor([members[0] for members, references in groups for _ in references], device=own.device)
        with torch.no_grad():
            parts = zip(latents.split(PASS), asked.split(PASS), strict=True)
            theirs = torch.cat(
                [self._flat(generator.features(y, timestep, condition.rows(of), layer)) for y, of in parts]
            )
        means: list[Tensor] = [own.new_zeros(())] * len(own)
        sizes = [len(references) for _, references in groups]
        for (members, _), near in zip(groups, theirs.split(sizes), strict=True):
            found = distances(kernel_of(self.parameters.kernel, near), own[members], near).mean(dim=1)
            for member, mean in zip(members, found, strict=True):
                means[member] = mean
        return torch.stack(means)

    def curves(self) -> Mapping[str, np.ndarray]:
        """Mean distance from the references, by step."""
        return self.along.curves()

    def finished(self, rows: Batch, latents: Tensor) -> None:
        """Forgets the noise of this batch's references."""
        self._noise.clear()

    def _groups(self, rows: Batch) -> list[tuple[list[int], np.ndarray]]:
        """Rows of the batch that share references, and those references' row numbers."""
        groups: dict[tuple[int, int], list[int]] = {}
        for number, (index, label) in enumerate(zip(rows.indices, rows.labels, strict=True)):
            key = (int(label), -1 if self.parameters.references == "class" else int(index) % self.ipc)
            groups.setdefault(key, []).append(number)
        return [(own, self._chosen(label, index)) for (label, index), own in groups.items()]

    def _chosen(self, label: int, index: int) -> np.ndarray:
        known = self.references.of(label, index if self.parameters.references == "kmeans" else -1)
        return known[part_of(self.parameters, index)]

    def _latents(self, chosen: np.ndarray, device: torch.device) -> Tensor:
        return torch.from_numpy(self.references.latents[chosen]).to(device)

    def _normals(self, chosen: np.ndarray, seed: int, device: torch.device) -> Tensor:
        shape = self.references.latents.shape[1:]
        for row in self.references.source_index[chosen]:
            if int(row) not in self._noise:
                drawn = randomness.normal(int(np.prod(shape)), seed, "diffusion", "reference", int(row))
                self._noise[int(row)] = torch.from_numpy(drawn).view(*shape)
        return torch.stack([self._noise[int(row)] for row in self.references.source_index[chosen]]).to(device)

    def _flat(self, features: Tensor) -> Tensor:
        if not self.parameters.pooled:
            return features.flatten(1)
        return features.mean(dim=1) if features.dim() == 3 else features.mean(dim=(2, 3))


def representativeness(
    guide: Representativeness, generator: Generator, made: Generated, request: Request
) -> np.ndarray:
    """1 / mean D_K between clean synthetic images and clean references, float64 (classes,), as the paper's Figure 1.

    At the last timestep, under the class. Its scale is the layer's and the kernel's: compare sets of one generator.
    Images of a class pass together, since each pass asks for the features of its classes' references.
    """
    parameters: Parameters = request.parameters
    schedule, classes = generator.schedule(parameters.steps), len(request.facts.classes)
    found = np.zeros(len(made.labels))
    by_class = np.argsort(made.labels, kind="stable")
    for start in range(0, len(found), parameters.batch):
        part = by_class[start : start + parameters.batch]
        rows = Batch(made.rows.indices[part], made.labels[part])
        condition, _ = conditions(generator, rows, parameters)
        with torch.no_grad():
            latents = generator.encode(made.images[part])
            distance = guide.distance(
                generator, latents, rows, condition, int(schedule.timesteps[-1]), 1.0, seed=request.seed
            )
        found[part] = distance.double().cpu().numpy()
        guide.finished(rows, latents)
    return np.array([1 / found[made.labels == label].mean() for label in range(classes)])
