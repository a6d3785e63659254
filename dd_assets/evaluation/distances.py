"""How far two sets of images lie apart as a whole, in a teacher's features.

Belongs here: the Fréchet and the kernel distance of feature clouds. Does not belong: features (synthesis/outputs.py),
measures per class (diversity.py), which sets are compared (units/distances.py).

The features are those of this project's teacher, never Inception's, so the figures are no FID and no KID and compare
with none from elsewhere; what they mean is what they are beside the same figures of as many real images.
"""

from __future__ import annotations

import numpy as np

from dd_assets.errors import InputError


def frechet_distance(one: np.ndarray, two: np.ndarray) -> float:
    """Squared Fréchet distance of the normal distributions with the clouds' means and covariances, (n, D) and (m, D).

    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) (Dowson and Landau 1982; Heusel et al. 2017 for images). With Σ = AᵀA the
    last trace is the sum of the singular values of A₁ A₂ᵀ, so that no root of an ill-conditioned product is taken:
    below D + 1 images Σ has no full rank, and a matrix root returns complex or wrong values. Few images
    bias it upwards.
    Raises InputError for fewer than two images or different features.
    """
    _checked(one, two)
    left, right = _factor(one), _factor(two)
    shared = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    off = one.mean(axis=0) - two.mean(axis=0)
    value = float(off @ off + (left**2).sum() + (right**2).sum() - 2 * shared)
    return max(value, 0.0)


def kernel_distance(one: np.ndarray, two: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x·y / D + 1)³ (Bińkowski et al. 2018), (n, D) and
    (m, D).

    Its expectation does not depend on the number of images and is 0 for equal distributions, so it may be below 0.
    Raises InputError for fewer than two images or different features.
    """
    _checked(one, two)
    within = sum(_off_diagonal(cloud) for cloud in (one, two))
    return float(within - 2 * _kernel(one, two).mean())


def _checked(one: np.ndarray, two: np.ndarray) -> None:
    if min(len(one), len(two)) < 2 or one.shape[1] != two.shape[1]:
        raise InputError(
            f"no distance between features of shape {one.shape} and {two.shape}",
            "give two images or more of each, under the same teacher",
        )


def _factor(cloud: np.ndarray) -> np.ndarray:
    """A with AᵀA the unbiased covariance and at most D rows, (min(n, D), D)."""
    centred = (cloud - cloud.mean(axis=0)) / np.sqrt(len(cloud) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if len(cloud) > cloud.shape[1] else centred


def _kernel(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return (one @ two.T / one.shape[1] + 1) ** 3


def _off_diagonal(cloud: np.ndarray) -> float:
    count = len(cloud)
    kernel = _kernel(cloud, cloud)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
