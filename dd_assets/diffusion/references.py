"""Which real images a guidance compares samples with, and their latents.

Belongs here: the two choices, from images to `ReferenceLatents`. Does not belong: storage (units/reference_latents.py),
features of them: those depend on the timestep and are computed where they are used, once per step.

Stored are clean latents, the posterior's mode, as for centroids. A bank of features per timestep would be fifty times
as many numbers of a layer's width (a DiT-XL block at 256 px: 1.2 MB per image and step), more than computing it saves.
"""

from __future__ import annotations

import numpy as np

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.generator import Generator
from dd_assets.methods.request import ClassCentroids, ReferenceLatents
from dd_assets.progress import Progress, silent

CHOICES = ("class", "kmeans")
DRAWN = 128
"""Images per class at most of choice "class"; more starts than that begin from the same ones again (starts.py)."""
MEMBERS = 8
"""Images per centroid at most of choice "kmeans"."""


def drawn(
    generator: Generator, train: ImageArrays, classes: int, seed: int, progress: Progress = silent
) -> ReferenceLatents:
    """`DRAWN` images of each class, or all, in a random order of which every beginning is a random sample."""
    rows = []
    for label in range(classes):
        own = train.of_class(label)
        rows.append(own[randomness.permutation(len(own), seed, "reference_latents", label)][:DRAWN])
        progress(label + 1, classes)
    source = np.concatenate(rows)
    return _encoded(generator, train, source, np.full(len(source), -1, dtype=np.int64))


def members(
    generator: Generator, train: ImageArrays, centroids: ClassCentroids, progress: Progress = silent
) -> ReferenceLatents:
    """For each centroid the `MEMBERS` images of its class (or all) whose latents are nearest to it, nearest first.

    An image may be near several centroids; ties by training row.
    """
    rows, indices = [], []
    for label in range(centroids.classes):
        own = train.of_class(label)
        points = generator.encode(train.images[own]).cpu().numpy().reshape(len(own), -1)
        for index, row in enumerate(centroids.of_class(label)):
            off = ((points - centroids.centers[row].reshape(-1)) ** 2).sum(axis=1)
            rows.append(own[np.argsort(off, kind="stable")[:MEMBERS]])
            indices.append(np.full(len(rows[-1]), index, dtype=np.int64))
        progress(label + 1, centroids.classes)
    return _encoded(generator, train, np.concatenate(rows), np.concatenate(indices))


def _encoded(generator: Generator, train: ImageArrays, source: np.ndarray, indices: np.ndarray) -> ReferenceLatents:
    return ReferenceLatents(
        latents=generator.encode(train.images[source]).cpu().numpy(),
        source_index=source,
        labels=train.labels[source],
        indices=indices,
    )
