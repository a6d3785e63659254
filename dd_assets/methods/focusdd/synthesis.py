"""FocusDD's selection: key regions by a vision transformer's attention, stitched with a small whole image.

Belongs here: candidates, importance, the cells and the columns that say where each came from. Does not belong: reading
attention (models/attention.py), windows (synthesis/attention_patches.py), the grid (synthesis/patches.py), numbers and
refusals (recipe.py).

Source: arXiv 2501.06405, from its text alone; no code was published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.errors import InputError
from dd_assets.methods.focusdd.recipe import Parameters, refuse
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.models.attention import attend
from dd_assets.models.pixels import normalised_unit, unit_to_uint8
from dd_assets.shapes import Float
from dd_assets.synthesis.attention_patches import best_window, spread
from dd_assets.synthesis.origins import Origins, index_major, origin_columns
from dd_assets.synthesis.patches import stitch
from dd_assets.synthesis.views import Box, resized_crop

BATCH = 128


@dataclass(frozen=True)
class ClassSelection:
    """A class's images, most important key region first."""

    images: Float[Tensor, "n c h w"]
    """In [0, 1]."""
    rows: np.ndarray
    """Training rows, int64 (n,)."""
    windows: np.ndarray
    """Key regions: top, left, height, width in the training image, int32 (n, 4)."""
    scores: np.ndarray
    """Attention to the key region times the probability of the class, float64 (n,)."""


def importance(transformer: nn.Module, images: Float[Tensor, "n c h w"], label: int) -> Float[Tensor, "n h w"]:
    """Importance of the pixels of normalised images: attention of the class token, mean over heads, times p(label).

    float64; an image's sum is p(label) times the share of attention that falls on patches.
    """
    seen = attend(transformer, images)
    probability = seen.logits.double().softmax(dim=1)[:, label]
    maps = seen.patches.double().mean(dim=1) * probability[:, None, None]
    return spread(maps, seen.patch, *images.shape[-2:])


def select_class(
    request: Request, transformer: nn.Module, train: ImageArrays, label: int, count: int
) -> ClassSelection:
    """The `count` images of one class with the most important key regions, among `mipc` seeded candidates."""
    parameters, facts = request.parameters, request.facts
    side = parameters.window_pixels(facts.size)
    members = train.of_class(label)
    order = randomness.permutation(len(members), request.seed, "focusdd", "candidates", label)
    rows = members[order[: parameters.mipc]]
    images = torch.from_numpy(train.images[rows]).to(request.device).permute(0, 3, 1, 2).float() / 255
    found = [
        best_window(importance(transformer, normalised_unit(part, facts.normalisation), label), side)
        for part in images.split(BATCH)
    ]
    top, left, score = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    best = torch.sort(score, descending=True, stable=True).indices[:count]
    sides = torch.full_like(top, side)
    return ClassSelection(
        images=images[best.to(images.device)],
        rows=rows[best.numpy()],
        windows=torch.stack([top, left, sides, sides], dim=1)[best].numpy().astype(np.int32),
        scores=score[best].numpy(),
    )


def box_of(kind: str, window: np.ndarray, size: int) -> Box:
    """What a cell shows of an image: its key region, or all of it."""
    if kind == "whole":
        return 0, 0, size, size
    top, left, height, width = map(int, window)
    return top, left, height, width


def cells_of(
    selection: ClassSelection, parameters: Parameters, size: int
) -> tuple[Float[Tensor, "n c s s"], np.ndarray]:
    """Each selected image as its cell shows it, and the boxes in training pixels, int32 (n, 4).

    Of ipc · cells images in order of rank, cell k of distilled image i is rank k · ipc + i, so that every cell of a
    distilled image comes from another image.
    """
    ipc = len(selection.rows) // len(parameters.layout)
    kinds = [kind for kind in parameters.layout for _ in range(ipc)]
    boxes = [box_of(kind, window, size) for kind, window in zip(kinds, selection.windows, strict=True)]
    side = size // parameters.factor
    shown = [resized_crop(image[None], box, side) for image, box in zip(selection.images, boxes, strict=True)]
    return torch.cat(shown), np.array(boxes, dtype=np.int32)


def synthesise(request: Request) -> SyntheticImages:
    """Select and stitch; columns source_index, crop and score, with suffix _k for cell k if there are several.

    A shard is the whole set, since image n takes ranks n, IPC + n, … of its class. Raises InputError with the text of
    `refuse` where the data at hand has too few candidates, and for a member that is no vision transformer.
    """
    parameters, facts = request.parameters, request.facts
    reason = refuse(parameters, facts, request.ipc)
    if reason:
        raise InputError(f"focusdd: {reason}", "lower the IPC, raise mipc or choose another layout")
    if (request.first, request.last) != (0, request.ipc):
        raise InputError("focusdd: cannot be computed in parts", "request all IPC indices at once")
    cells = len(parameters.layout)
    train, (transformer,) = request.train(), request.committee().values()
    images, origins = [], []
    for label in range(len(facts.classes)):
        selection = select_class(request, transformer, train, label, request.ipc * cells)
        shown, boxes = cells_of(selection, parameters, facts.size)
        images.append(unit_to_uint8(stitch(shown, parameters.factor)))
        origins.append(Origins(selection.rows, boxes, selection.scores))
        request.progress(label + 1, len(facts.classes), score=float(selection.scores.mean()))
    return SyntheticImages(
        images=index_major(images),
        labels=np.tile(np.arange(len(facts.classes), dtype=np.int64), request.ipc),
        columns=origin_columns(origins, cells),
    )
