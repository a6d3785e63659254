"""Gaussian noise images, drawn.

Belongs here: the draw and its 8-bit form. Does not belong: parameters (recipe.py).
"""

from __future__ import annotations

import numpy as np
import torch

from dd_assets import randomness
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.models.pixels import to_uint8


def synthesise(request: Request) -> SyntheticImages:
    """N(0, sigma²) in normalised space, one stream per (index, class), clamped to valid pixels and truncated."""
    facts, classes = request.facts, len(request.facts.classes)
    shape = (facts.channels, facts.size, facts.size)
    rows = []
    for index in range(request.first, request.last):
        values = np.stack(
            [randomness.normal(int(np.prod(shape)), request.seed, "noise", index, label) for label in range(classes)]
        )
        latent = torch.from_numpy(values.reshape(classes, *shape)) * request.parameters.sigma
        rows.append(to_uint8(latent, facts.normalisation))
        request.progress(index + 1 - request.first, request.last - request.first)
    labels = np.tile(np.arange(classes, dtype=np.int64), request.last - request.first)
    return SyntheticImages(images=np.concatenate(rows), labels=labels)
