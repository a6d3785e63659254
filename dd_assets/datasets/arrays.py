"""Images in memory, as every torch-side function receives them.

Belongs here: the array types and what normalisation means. Does not belong: reading files, torch, Dagster.
"""

from __future__ import annotations

from dataclasses import dataclass

from dd_assets.lazy import np


@dataclass(frozen=True)
class ImageArrays:
    """Labelled images: `images` uint8 (N, H, W, C), `labels` int64 (N,), class ids in the setting's class order."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def of_class(self, label: int) -> np.ndarray:
        """Row indices of one class, ascending, int64 (n,)."""
        return np.flatnonzero(self.labels == label)


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Channel means and standard deviations in [0, 1] pixel units; network input is (pixel / 255 - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
