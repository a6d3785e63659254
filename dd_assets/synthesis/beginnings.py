"""Where the images of a batch begin: noise, real images or another method's.

Belongs here: first iterates as normalised tensors. Does not belong: which real images a method chooses (selection.py)
and what is done with them (recover.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.models.pixels import normalised
from dd_assets.synthesis.batches import Batch


def noise(request: Request, batch: Batch, name: str) -> Tensor:
    """N(0, 1) in normalised space, float32 (n, C, S, S), one stream per (index, class), hence free of the batching."""
    shape = (request.facts.channels, request.facts.size, request.facts.size)
    values = [
        randomness.normal(int(np.prod(shape)), request.seed, name, "init", int(index), int(label)).reshape(shape)
        for index, label in zip(batch.indices, batch.labels, strict=True)
    ]
    return torch.from_numpy(np.stack(values))


def starting_from(start: SyntheticImages, request: Request) -> Callable[[Batch], Tensor]:
    """Images of the request, rows in (index, class) order, as the normalised beginning of any batch of them.

    8-bit images survive the way to network input and back exactly, so that no iterations give back `start`.
    """
    classes = len(request.facts.classes)

    def initial(batch: Batch) -> Tensor:
        rows = (batch.indices - request.first) * classes + batch.labels
        return normalised(start.images[rows], request.facts.normalisation, request.device)

    return initial


def start_of(request: Request, real: Callable[[], SyntheticImages] | None = None) -> SyntheticImages | None:
    """The images that `parameters.init` names: None for noise, `real()` for "real", else another method's rows.

    Raises InputError for "real" where the method has no choice of real images of its own (`real` is None).
    """
    init = request.parameters.init
    if init == "noise":
        return None
    if init == "real":
        if real is None:
            raise InputError("this method has no choice of real images of its own", "use init: random")
        return real()
    rows = np.arange((request.last - request.first) * len(request.facts.classes))
    return SyntheticImages(images=request.initial(), labels=rows % len(request.facts.classes))


def beginning(request: Request, name: str, start: SyntheticImages | None) -> Callable[[Batch], Tensor]:
    """Where a batch begins, normalised: rows of `start`, or noise of the method's own stream where that is None."""
    return starting_from(start, request) if start else lambda batch: noise(request, batch, name)
