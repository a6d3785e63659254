"""Nearest mean, computed.

Belongs here: the choice of images. Does not belong: parameters and refusals (recipe.py).
"""

from __future__ import annotations

import numpy as np

from dd_assets import randomness
from dd_assets.methods.request import Request, SyntheticImages


def synthesise(request: Request) -> SyntheticImages:
    """The images of each class nearest to its mean among a random `candidates` per image, nearest first.

    Column source_index (rows,) is the training row. All randomness is keyed by the seed and a named stream.
    """
    train, classes = request.train(), range(len(request.facts.classes))
    chosen = np.empty((request.ipc, len(classes)), dtype=np.int64)
    for label in classes:
        rows = train.of_class(label)
        pixels = train.images[rows].astype(np.float64)
        order = randomness.permutation(len(rows), request.seed, "nearest_mean", label)
        looked_at = order[: request.ipc * request.parameters.candidates]
        distances = ((pixels[looked_at] - pixels.mean(axis=0)) ** 2).sum(axis=(1, 2, 3))
        chosen[:, label] = rows[looked_at[np.argsort(distances, kind="stable")[: request.ipc]]]
        request.progress(label + 1, len(classes))
    source = chosen[request.first : request.last].reshape(-1)
    return SyntheticImages(images=train.images[source], labels=train.labels[source], columns={"source_index": source})
