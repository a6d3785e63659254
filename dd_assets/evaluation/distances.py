"""How far two sets of images lie apart as a whole, in a teacher's features.

Belongs here: the Fréchet and the kernel distance of feature clouds. Does not belong: features (synthesis/outputs.py),
measures per class (diversity.py), which sets are compared (units/diversity.py).

The features are those of this project's teacher, never Inception's, so the figures are no FID and no KID and compare
with none from elsewhere; what they mean is what they are beside the same figures of as many real images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dd_assets.errors import InputError

MEASURES = ("frechet_teacher", "kernel_teacher")
PIECE = 2048
"""Rows of a kernel matrix that exist at once, on either side."""


@dataclass(frozen=True, kw_only=True)
class Normal:
    """The normal distribution with a cloud's mean and covariance."""

    mean: np.ndarray
    """float64 (D,)."""
    factor: np.ndarray
    """A with AᵀA the unbiased covariance and at most D rows, (min(n, D), D)."""

    @classmethod
    def of(cls, cloud: np.ndarray) -> Normal:
        """The distribution of a cloud (n, D), n > 1."""
        mean = cloud.mean(axis=0)
        centred = (cloud - mean) / np.sqrt(len(cloud) - 1)
        reduced = np.asarray(np.linalg.qr(centred, mode="r")) if len(cloud) > cloud.shape[1] else centred
        return cls(mean=mean, factor=reduced)

    def distance(self, other: Normal) -> float:
        """The squared Fréchet distance (`frechet_distance`)."""
        shared = np.linalg.svd(self.factor @ other.factor.T, compute_uv=False).sum()
        off = self.mean - other.mean
        return max(float(off @ off + (self.factor**2).sum() + (other.factor**2).sum() - 2 * shared), 0.0)


def teacher_distances(made: np.ndarray, real: Normal, sample: np.ndarray) -> dict[str, float]:
    """Both distances of a set's features (n, D) from the real ones, by the names of MEASURES; NaN for n < 2.

    sample: features of real images that stand for all in the kernel distance, whose cost grows with their square; its
    expectation does not depend on how many they are. Ten images give a Fréchet distance far above 0 even if they are
    real ones (their covariance has rank 9), so it is read beside that of an equally large real subset, and never across
    IPC values.
    """
    if len(made) < 2:
        return dict.fromkeys(MEASURES, math.nan)
    return {
        "frechet_teacher": Normal.of(made).distance(real),
        "kernel_teacher": kernel_distance(made, sample),
    }


def frechet_distance(one: np.ndarray, two: np.ndarray) -> float:
    """Squared Fréchet distance of the normal distributions with the clouds' means and covariances, (n, D) and (m, D).

    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) (Dowson and Landau 1982; Heusel et al. 2017 for images). With Σ = AᵀA the
    last trace is the sum of the singular values of A₁ A₂ᵀ, so that no root of an ill-conditioned product is taken:
    below D + 1 images Σ has no full rank, and a matrix root returns complex or wrong values. It is biased upwards by
    few images, the more the fewer they are: two sets compare only if they are equally large.
    Raises InputError for fewer than two images or different features.
    """
    _checked(one, two)
    return Normal.of(one).distance(Normal.of(two))


def kernel_distance(one: np.ndarray, two: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x·y / D + 1)³ (Bińkowski et al. 2018), (n, D) and
    (m, D).

    Its expectation does not depend on the number of images and is 0 for equal distributions, so it may be below 0.
    Raises InputError for fewer than two images or different features.
    """
    _checked(one, two)
    within = sum(_off_diagonal(cloud) for cloud in (one, two))
    return within - 2 * _kernel_sum(one, two) / (len(one) * len(two))


def _checked(one: np.ndarray, two: np.ndarray) -> None:
    if min(len(one), len(two)) < 2 or one.shape[1] != two.shape[1]:
        raise InputError(
            f"no distance between features of shape {one.shape} and {two.shape}",
            "give two images or more of each, under the same teacher",
        )


def _kernel(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return (one @ two.T / one.shape[1] + 1) ** 3


def _kernel_sum(one: np.ndarray, two: np.ndarray) -> float:
    """The sum over all pairs, piece by piece."""
    firsts, seconds = ([cloud[at : at + PIECE] for at in range(0, len(cloud), PIECE)] for cloud in (one, two))
    return math.fsum(float(_kernel(first, second).sum()) for first in firsts for second in seconds)


def _off_diagonal(cloud: np.ndarray) -> float:
    """The mean over pairs of different images."""
    count = len(cloud)
    own = float((((cloud**2).sum(axis=1) / cloud.shape[1] + 1) ** 3).sum())
    return (_kernel_sum(cloud, cloud) - own) / (count * (count - 1))
