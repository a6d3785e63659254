"""Where the patches of stitched images came from.

Belongs here: what a choice of patches keeps of each, and the order and names of the columns that tell it. Does not
belong: scores and grids (patches.py), which patches are chosen (methods, diffusion/mosaics.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Origins:
    """A class's patches, best first; of ipc · cells of them cell k of image i is rank k · ipc + i."""

    rows: np.ndarray
    """The image that each was cut from, int64 (n,)."""
    boxes: np.ndarray
    """top, left, height, width in that image, int32 (n, 4)."""
    scores: np.ndarray
    """What it was chosen by, float64 (n,)."""


def origin_columns(classes: Sequence[Origins], cells: int, source: str = "source_index") -> dict[str, np.ndarray]:
    """Columns `source`, crop and score of images in (index, class) order; with suffix _k for cell k of several.

    classes: one for each class, of as many patches as all others.
    """
    columns: dict[str, list[np.ndarray]] = {}
    for item in classes:
        for name, values in ((source, item.rows), ("crop", item.boxes), ("score", item.scores)):
            for cell, part in enumerate(np.split(values, cells)):
                columns.setdefault(f"{name}_{cell}" if cells > 1 else name, []).append(part)
    return {name: index_major(values) for name, values in columns.items()}


def index_major(per_class: Sequence[np.ndarray]) -> np.ndarray:
    """An (ipc, …) array for each class to rows in (index, class) order."""
    joined = np.stack(per_class, axis=1)
    return np.ascontiguousarray(joined).reshape(-1, *joined.shape[2:])
