"""Mosaics of crops of drawn images, chosen by the teacher: RDED on samples in place of real images.

Belongs here: the choice, which every generation method has by the field `mosaic`. Does not belong: drawing the images
(generate.py), scores and grids (synthesis/patches.py), RDED itself (methods/rded).

Source: sb3991/adaptive-diffusion-dd 7758e78, synthesize/main_2.py, synthesize/utils.py and argument.py: one crop of
every image, the most realistic of a class first, one cell per image as it stands. The original crops what Stable
Diffusion drew at 512 px; here an image has the setting's size when it is cropped.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.datasets.arrays import Normalisation
from dd_assets.models.pixels import normalised_unit, unit_to_uint8
from dd_assets.synthesis.batches import Batch
from dd_assets.synthesis.origins import Origins, index_major, origin_columns
from dd_assets.synthesis.patches import choose, score_patches, stitch
from dd_assets.synthesis.views import DRAWS_PER_CROP, Box, crop_box, resized_crop

SCALE = (0.08, 1.0)
"""Area of a crop as a share of the image's, torchvision's default."""


def crop_of(height: int, width: int, seed: int, label: int, index: int) -> Box:
    """The square crop of image `index` of a class; it does not depend on how many others there are."""
    draws = randomness.uniform(DRAWS_PER_CROP, seed, "diffusion", "mosaic", label, index)
    return crop_box(height, width, SCALE, (1.0, 1.0), draws)


def mosaics(
    teacher: nn.Module,
    images: np.ndarray,
    rows: Batch,
    *,
    ipc: int,
    factor: int,
    normalisation: Normalisation,
    seed: int,
    device: str,
) -> tuple[np.ndarray, Batch, dict[str, np.ndarray]]:
    """uint8 (ipc * classes, H, W, C) by (index, class), what the top left cell of each was drawn as, and its columns.

    images: uint8 (rows, H, W, C), drawn as `rows` say, at least ipc · factor² of each class. Columns drawn_index (an
    image's IPC index when it was drawn), crop and score, with suffix _k for cell k if there are several.
    """
    labels, size = np.unique(rows.labels), images.shape[1]
    made, found = [], []
    for label in labels:
        own = np.flatnonzero(rows.labels == label)
        indices = rows.indices[own]
        boxes = [crop_of(images.shape[1], images.shape[2], seed, int(label), int(index)) for index in indices]
        patches = _patches(images[own], boxes, size // factor, device)
        scores = score_patches(teacher, normalised_unit(patches, normalisation), int(label), size, "float64")
        best = choose(scores[:, None], ipc * factor**2)[0]
        chosen = best.cpu().numpy()
        made.append(unit_to_uint8(stitch(patches[best], factor)))
        found.append(
            Origins(
                rows=indices[chosen],
                boxes=np.array(boxes, dtype=np.int32)[chosen],
                scores=scores[best].double().cpu().numpy(),
            )
        )
    first = index_major([item.rows[:ipc] for item in found])
    columns = origin_columns(found, factor**2, source="drawn_index")
    return index_major(made), Batch(first, np.tile(labels, ipc)), columns


def _patches(images: np.ndarray, boxes: list[Box], side: int, device: str) -> Tensor:
    unit = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
    return torch.cat([resized_crop(image[None], box, side) for image, box in zip(unit, boxes, strict=True)])
