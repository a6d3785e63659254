"""Where the images of a batch begin.

Belongs here: from a request's parameters to a `Start` per batch. Does not belong: the noise that is added there
(sampling.py), centroids, references and distributions (their modules).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
import torch

from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.inversion import drawn_group, most_typical
from dd_assets.diffusion.sampling import Start
from dd_assets.errors import InputError
from dd_assets.methods.request import ClassCentroids, ClassGaussians, ReferenceLatents, Request
from dd_assets.synthesis.batches import Batch

Starts = Callable[[Batch], Start | None]
"""A batch to where it begins, None for noise."""


def starts_of(request: Request) -> Starts:
    """Where each batch of a request begins.

    Raises InputError where random real images are asked for and there are none of the class.
    """
    parameters: Sampling = request.parameters
    if parameters.start == "noise":
        return lambda rows: None
    if parameters.start == "random":
        return from_random(parameters, request.reference_latents(), request.seed)
    if parameters.start == "gaussian":
        return from_gaussians(parameters, request.class_gaussians(), request.ipc, request.seed)
    return from_centroids(parameters, request.centroids(), request.ipc)


def from_centroids(parameters: Sampling, centroids: ClassCentroids, ipc: int) -> Starts:
    """Centroids, or the real latents nearest to them; of several candidates each `ipc` begin from every one."""
    chosen = centroids.centers if parameters.start == "centroid" else centroids.nearest

    def start(rows: Batch) -> Start:
        latents = torch.from_numpy(chosen[centroids.rows(rows.indices % ipc, rows.labels)])
        return Start(latents=latents, level=parameters.start_level)

    return start


def from_random(parameters: Sampling, references: ReferenceLatents, seed: int) -> Starts:
    """Real latents of the class in their random order; another draw begins elsewhere in it.

    Kept are `references.DRAWN` of a class, or all. Who draws more images begins again with the same ones, under other
    noise.
    """
    own = {int(label): references.of(int(label)) for label in np.unique(references.labels)}
    if not all(len(rows) for rows in own.values()):
        raise InputError("start: random reads references of whole classes, not of centroids", "set references: class")

    def start(rows: Batch) -> Start:
        picked = [
            own[int(label)][(int(index) + 31 * seed) % len(own[int(label)])]
            for index, label in zip(rows.indices, rows.labels, strict=True)
        ]
        return Start(latents=torch.from_numpy(references.latents[np.array(picked)]), level=parameters.start_level)

    return start


def from_gaussians(parameters: Sampling, gaussians: ClassGaussians, ipc: int, seed: int) -> Starts:
    """Draws from each class's distribution: its most typical group, candidate by candidate.

    A class's group is chosen when it is first asked for, so that a set that goes on after a kill chooses no others.
    """
    shape = gaussians.means.shape[1:]
    count, size = ipc * parameters.candidates, int(np.prod(shape))

    @cache
    def chosen(label: int) -> int:
        if parameters.group_score == "units":
            return most_typical(count, size, parameters.groups, seed, label)
        widths = gaussians.deviations[label].flatten().astype(np.float64)
        return most_typical(count, size, parameters.groups, seed, label, widths)

    # Rows of a class lie side by side. One that comes back, larger than a batch, is drawn again: all classes' draws
    # would be gigabytes.
    @lru_cache(maxsize=1)
    def group(label: int) -> np.ndarray:
        return drawn_group(count, size, seed, label, chosen(label))

    def start(rows: Batch) -> Start:
        drawn = np.stack(
            [group(int(label))[int(index)] for index, label in zip(rows.indices, rows.labels, strict=True)]
        )
        scaled = gaussians.means[rows.labels] + gaussians.deviations[rows.labels] * drawn.reshape(-1, *shape)
        return Start(latents=torch.from_numpy(scaled), level=gaussians.level, noised=True)

    return start
