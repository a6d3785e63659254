"""Several samples for each image that is kept: the teacher chooses.

Belongs here: the choice, which every generation method has by the fields `candidates` and `keep`. Does not belong:
drawing them (generate.py), what happens to the chosen latents (refinement.py).

Source: objective-guided sample selection of CaO2 (ICCV 2025; hatchetProject/CaO2 6381e50, sample_imagenet.py), by the
project's description of it. The original shows its classifier pixels in [-1, 1], which that was not trained on; here
the teacher sees what would be saved, normalised as in its training.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn

from dd_assets.datasets.arrays import Normalisation
from dd_assets.models.pixels import normalised


@torch.no_grad()
def probabilities(
    teacher: nn.Module, images: np.ndarray, normalisation: Normalisation, batch: int, device: str
) -> np.ndarray:
    """The teacher's softmax, float64 (n, classes), of uint8 images (n, H, W, C)."""
    parts = [
        torch.softmax(teacher(normalised(images[start : start + batch], normalisation, device)).double(), dim=1)
        for start in range(0, len(images), batch)
    ]
    return torch.cat(parts).cpu().numpy()


def kept(
    chances: np.ndarray, indices: np.ndarray, labels: np.ndarray, ipc: int, keep: Literal["confident", "uncertain"]
) -> np.ndarray:
    """Row numbers of the `ipc` chosen images of each class, int64 (ipc * classes,), ordered by (rank, class).

    chances: (rows, classes); indices, labels: of each row. Of those whose most probable class is their own the most
    ("confident") or the least ("uncertain") probable ones; where they are too few, the others follow, likeliest first.
    Ties by index.
    """
    own = chances[np.arange(len(labels)), labels]
    right = chances.argmax(axis=1) == labels
    preferred = own if keep == "confident" else -own
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank = np.where(right[rows], preferred[rows], own[rows])
        order = np.lexsort((indices[rows], -rank, ~right[rows]))
        chosen.append(rows[order[:ipc]])
    return np.stack(chosen, axis=1).reshape(-1)
