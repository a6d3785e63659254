"""How varied an image set is, how well it covers the real images, and how near it comes to single ones of them.

Belongs here: the measures, on arrays and features. Does not belong: forward passes (synthesis/outputs.py), which
networks and images are compared (units/diversity.py).

Sources: precision and recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991), section 2; density and coverage: Naeem et
al. 2020 (arXiv 2002.09797), section 3; representativeness: DAP (arXiv 2510.17421). Balls are closed, as the first two
papers write them; clovaai's prdc (e320c1d) takes open ones, which differ only where a point lies on a sphere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 5
"""Both papers' choice for small sets; `neighbours` says what happens to smaller classes."""
MEASURES = (
    "cosine",
    "precision",
    "recall",
    "density",
    "coverage",
    "representativeness",
    "nearest_in_class",
    "nearest_overall",
)
CHUNK_BYTES = 2**27
"""Images are compared in pieces of at most this size, on either side."""
TIE = 1e-12
"""Share of the mean squared feature by which rounding may move a squared distance (float64)."""


def neighbours(points: int, wanted: int = NEIGHBOURS) -> int:
    """k for a set of that many points: the wanted one, or as many as each point has others; 0 for a single point."""
    return min(wanted, points - 1)


def squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Squared Euclidean distances, float64 (n, m), of rows (n, D) and (m, D); exact for whole numbers."""
    squares = left.square().sum(dim=1)[:, None] + right.square().sum(dim=1)[None]
    return (squares - 2 * left @ right.T).clamp_min(0)


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Points with, for each, the ball that just reaches its k-th nearest neighbour among them."""

    points: Tensor
    """float64 (n, D)."""
    k: int
    radii: Tensor
    """Squared, float64 (n,); empty where k is 0."""

    @classmethod
    def of(cls, features: Tensor, wanted: int = NEIGHBOURS) -> Cloud:
        """The cloud of float64 features (n, D)."""
        k = neighbours(len(features), wanted)
        if not k:
            return cls(points=features, k=0, radii=features.new_empty(0))
        # The smallest distance of a row is the point's to itself.
        radii = squared_distances(features, features).kthvalue(k + 1, dim=1).values
        return cls(points=features, k=k, radii=radii)


def manifold(real: Cloud, made: Cloud) -> dict[str, float]:
    """precision, recall, density and coverage of made points against real ones; NaN where a cloud has no balls.

    precision: share of made points in some real ball; density: real balls per made point over k; coverage: share of
    real balls with a made point in them; recall: share of real points in some made ball (none for a single made point).
    """
    off = squared_distances(real.points, made.points)
    slack = TIE * float(real.points.square().sum(dim=1).mean())
    found = dict.fromkeys(("precision", "recall", "density", "coverage"), math.nan)
    if real.k:
        inside = off <= real.radii[:, None] + slack
        found["precision"] = float(inside.any(dim=0).double().mean())
        found["density"] = float(inside.sum(dim=0).double().mean()) / real.k
        found["coverage"] = float(inside.any(dim=1).double().mean())
    if made.k:
        found["recall"] = float((off <= made.radii[None] + slack).any(dim=1).double().mean())
    return found


def cosine_similarity(features: Tensor) -> float:
    """Mean cosine between the features (n, D) of two different images, in [-1, 1]; NaN for a single image."""
    count = len(features)
    if count < 2:
        return math.nan
    units = torch.nn.functional.normalize(features, dim=1)
    # |Σ u|² sums the cosines of all pairs, those of each image with itself included.
    own = units.square().sum()
    return float((units.sum(dim=0).square().sum() - own) / (count * (count - 1)))


def of_class(real: Cloud, features: Tensor) -> dict[str, float]:
    """The feature-space measures of one class's images, whose features are float64 (n, D), against its real ones."""
    return {
        "cosine": cosine_similarity(features),
        **manifold(real, Cloud.of(features)),
        "representativeness": representativeness(real.points, features),
    }


def representativeness(real: Tensor, features: Tensor) -> float:
    """1 / mean distance of the images' features (n, D) from those of every real image of the class (m, D).

    The figure that DAP (arXiv 2510.17421, Figures 1 and 2) draws with the diffusion model's features; with a teacher's,
    as units/diversity.py has them, sets of different generators and of none compare. It is highest where all images
    are the same one in the middle, so it says nothing without a measure of variety beside it. NaN without images, or
    where all are the same as all the real ones.
    """
    off = squared_distances(features, real)
    # Of two equal points rounding leaves a rest.
    off = off.where(off > TIE * float(real.square().sum(dim=1).mean()), 0.0).sqrt()
    return 1 / float(off.mean()) if off.any() else math.nan


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """For each image the nearest training image; distances are root mean square over pixel values in [0, 1]."""

    in_class: np.ndarray
    """float64 (N,)."""
    in_class_row: np.ndarray
    """int64 (N,), row of the training images."""
    overall: np.ndarray
    overall_row: np.ndarray


def nearest(
    images: np.ndarray,
    labels: np.ndarray,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    device: str = "cpu",
    own_rows: np.ndarray | None = None,
) -> Nearest:
    """The nearest training image of the same class, and of any class; images uint8 (N, H, W, C), labels int64 (N,).

    The distance is sqrt(mean over H, W and C of ((a - b) / 255)²), so that 1 is black against white at any size, and
    exactly 0 is a copy. own_rows: for images that are training images themselves, the row of each, which is left out.
    """
    pixels = math.prod(images.shape[1:])
    step = max(1, CHUNK_BYTES // (8 * pixels))
    own = np.full(len(images), -1) if own_rows is None else own_rows
    parts = [slice(start, start + step) for start in range(0, len(images), step)]
    found = [
        _nearest(images[part], labels[part], own[part], train_images, train_labels, step, device) for part in parts
    ]
    squares, rows = (np.concatenate(values, axis=1) for values in zip(*found, strict=True))
    scaled = np.sqrt(squares / pixels) / 255
    return Nearest(in_class=scaled[0], in_class_row=rows[0], overall=scaled[1], overall_row=rows[1])


def _nearest(
    images: np.ndarray,
    labels: np.ndarray,
    own: np.ndarray,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    step: int,
    device: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances in 8-bit units, float64 (2, N), and training rows, int64 (2, N): of the class, of all."""
    made, truth, left_out = _pixels(images, device), *(torch.from_numpy(v).to(device)[:, None] for v in (labels, own))
    best = made.new_full((2, len(made)), math.inf)
    where = torch.full((2, len(made)), -1, dtype=torch.int64, device=device)
    for start in range(0, len(train_images), step):
        rows = torch.arange(start, min(start + step, len(train_images)), device=device)
        off = squared_distances(made, _pixels(train_images[start : start + step], device))
        off.masked_fill_(left_out == rows, math.inf)
        other = truth != torch.from_numpy(np.ascontiguousarray(train_labels[start : start + step])).to(device)
        for kind, candidates in enumerate((off.masked_fill(other, math.inf), off)):
            value, place = candidates.min(dim=1)
            closer = value < best[kind]
            best[kind] = torch.where(closer, value, best[kind])
            where[kind] = torch.where(closer, place + start, where[kind])
    return best.cpu().numpy(), where.cpu().numpy()


def _pixels(images: np.ndarray, device: str) -> Tensor:
    """uint8 (n, H, W, C) as float64 (n, H W C), in which their products and sums are exact."""
    return torch.from_numpy(np.ascontiguousarray(images)).flatten(1).to(device).double()


def means(per_class: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Each measure's mean over the classes that have it; None where none has."""
    return {
        name: float(np.nanmean(values)) if np.isfinite(values).any() else None for name, values in per_class.items()
    }
