"""RDED's selection.

Belongs here: candidates, crops and the columns that say where each patch came from. Does not belong: scoring and
stitching (dd_assets/synthesis/patches.py), numbers and refusals (recipe.py).

Source: LINs-lab/RDED 3f6453d, synthesize/main.py and synthesize/utils.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.errors import InputError
from dd_assets.methods.rded.recipe import SMALL, Parameters, refuse
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.models.pixels import normalised_unit, unit_to_uint8
from dd_assets.synthesis.origins import index_major
from dd_assets.synthesis.patches import choose, score_patches, stitch
from dd_assets.synthesis.views import DRAWS_PER_CROP, Box, crop_box, resized_crop


@dataclass(frozen=True)
class ClassSelection:
    """A class's patches, most realistic first: `patches` float32 (n, C, s, s) in [0, 1], and where they came from."""

    patches: Tensor
    rows: np.ndarray
    """Training rows, int64 (n,)."""
    boxes: np.ndarray
    """top, left, height, width in the training image, int32 (n, 4)."""
    scores: np.ndarray
    """Teacher cross-entropy, float64 (n,)."""


def crop_boxes(parameters: Parameters, height: int, width: int, seed: int, row: int) -> list[Box]:
    """The candidate crops of training row `row`: square, keyed by the row, so they do not depend on the others."""
    if parameters.crop_small == "paper" and max(height, width) <= SMALL:
        return [(0, 0, height, width)]
    draws = randomness.uniform(parameters.num_crops * DRAWS_PER_CROP, seed, "rded", "crop", row)
    scale = (parameters.crop_scale_min, parameters.crop_scale_max)
    return [
        crop_box(height, width, scale, (1.0, 1.0), part) for part in draws.reshape(parameters.num_crops, DRAWS_PER_CROP)
    ]


def select_class(request: Request, teacher: nn.Module, train: ImageArrays, label: int, count: int) -> ClassSelection:
    """The `count` most realistic patches of one class among `mipc` seeded candidates."""
    parameters, size = request.parameters, request.facts.size
    members = train.of_class(label)
    order = randomness.permutation(len(members), request.seed, "rded", "candidates", label)
    rows = members[order[: parameters.mipc]]
    images = torch.from_numpy(train.images[rows]).to(request.device).permute(0, 3, 1, 2).float() / 255
    boxes = [crop_boxes(parameters, images.shape[2], images.shape[3], request.seed, int(row)) for row in rows]
    side = size // parameters.factor
    patches = torch.cat(
        [resized_crop(image[None], box, side) for image, own in zip(images, boxes, strict=True) for box in own]
    )
    scores = score_patches(
        teacher,
        normalised_unit(patches, request.facts.normalisation),
        label,
        size,
        parameters.score_dtype,
        precision=parameters.precision,
    ).view(len(rows), -1)
    image, crop = choose(scores, count)
    chosen = (image * scores.shape[1] + crop).cpu().numpy()
    return ClassSelection(
        patches=patches[torch.from_numpy(chosen).to(patches.device)],
        rows=rows[image.cpu().numpy()],
        boxes=np.array(boxes, dtype=np.int32).reshape(-1, 4)[chosen],
        scores=scores.flatten()[image * scores.shape[1] + crop].double().cpu().numpy(),
    )


def synthesise(request: Request) -> SyntheticImages:
    """Select and stitch; columns source_index, crop and score, with suffix _k for cell k if there are several.

    A shard is the whole set, since image n takes ranks n, IPC + n, … of its class. Raises InputError with the text of
    `refuse` where the data at hand has too few candidates.
    """
    parameters, facts = request.parameters, request.facts
    reason = refuse(parameters, facts, request.ipc)
    if reason:
        raise InputError(f"rded: {reason}", "lower the IPC or the factor, or raise mipc")
    if (request.first, request.last) != (0, request.ipc):
        raise InputError("rded: cannot be computed in parts", "request all IPC indices at once")
    cells = parameters.factor**2
    train, teacher = request.train(), request.teacher()
    selections = []
    images = []
    for label in range(len(facts.classes)):
        selection = select_class(request, teacher, train, label, request.ipc * cells)
        images.append(unit_to_uint8(stitch(selection.patches, parameters.factor)))
        selections.append(selection)
        request.progress(label + 1, len(facts.classes), score=float(selection.scores.mean()))
    return SyntheticImages(
        images=index_major(images),
        labels=np.tile(np.arange(len(facts.classes), dtype=np.int64), request.ipc),
        columns=_columns(selections, cells, request.ipc),
    )


def _columns(selections: list[ClassSelection], cells: int, ipc: int) -> dict[str, np.ndarray]:
    """Where every cell of every image came from; cell k of image n is rank k · ipc + n."""
    columns = {}
    for cell in range(cells):
        ranks, suffix = slice(cell * ipc, (cell + 1) * ipc), f"_{cell}" if cells > 1 else ""
        columns[f"source_index{suffix}"] = index_major([item.rows[ranks] for item in selections])
        columns[f"crop{suffix}"] = index_major([item.boxes[ranks] for item in selections])
        columns[f"score{suffix}"] = index_major([item.scores[ranks] for item in selections])
    return columns
