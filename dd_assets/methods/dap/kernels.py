"""Mercer kernels and the distances that they induce.

Belongs here: closed forms on rows of features. Does not belong: where features come from (synthesis.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dd_assets.shapes import Float

SMALLEST = 1e-8
"""Added under the root: its slope at two equal points would be infinite."""
EQUAL = 1e-6
"""Mean distance up to which references do not differ."""


@dataclass(frozen=True)
class Kernel:
    """K of rows (n, d) and (m, d), as (n, m), and of each row with itself, as (n,)."""

    gram: Callable[[Tensor, Tensor], Tensor]
    diagonal: Callable[[Tensor], Tensor]


def _ones(rows: Tensor) -> Tensor:
    return rows.new_ones(len(rows))


LINEAR = Kernel(lambda a, b: a @ b.T, lambda a: a.pow(2).sum(dim=1))
"""<a, b>; the distance it induces is Euclid's."""
POLYNOMIAL = Kernel(
    lambda a, b: (a @ b.T / a.shape[1] + 1).pow(2), lambda a: (a.pow(2).sum(dim=1) / a.shape[1] + 1).pow(2)
)
"""(<a, b> / d + 1)², d the number of features."""
COSINE = Kernel(lambda a, b: torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).T, _ones)
"""<a, b> / (|a| |b|): the linear kernel of directions."""


def rbf(width: float) -> Kernel:
    """exp(-|a - b|² / (2 width²))."""

    def gram(a: Tensor, b: Tensor) -> Tensor:
        squared = a.pow(2).sum(dim=1)[:, None] + b.pow(2).sum(dim=1)[None] - 2 * a @ b.T
        return torch.exp(-squared.clamp(min=0) / (2 * width**2))

    return Kernel(gram, _ones)


def laplacian(width: float) -> Kernel:
    """exp(-|a - b|₁ / width)."""
    return Kernel(lambda a, b: torch.exp(-torch.cdist(a, b, p=1) / width), _ones)


def kernel_of(name: str, references: Float[Tensor, "m d"]) -> Kernel:
    """The kernel of that name; of rbf and laplacian the width is the references' mean distance from each other.

    Distances in thousands of dimensions are all alike, so that a width that does not follow them gives a kernel of
    zeros or of ones. Of references that do not differ it is their mean length.
    """
    if name not in ("rbf", "laplacian"):
        return {"linear": LINEAR, "polynomial": POLYNOMIAL, "cosine": COSINE}[name]
    order = 2 if name == "rbf" else 1
    between = torch.pdist(references, p=order)
    width = float(between.mean()) if len(between) else 0.0
    if width <= EQUAL:
        width = float(references.norm(p=order, dim=1).mean()) or 1.0
    return rbf(width) if name == "rbf" else laplacian(width)


def distances(kernel: Kernel, own: Float[Tensor, "n d"], references: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """D_K(x, y) = sqrt(K(x, x) + K(y, y) - 2 K(x, y)), differentiable in `own`, also where x = y."""
    squared = kernel.diagonal(own)[:, None] + kernel.diagonal(references)[None] - 2 * kernel.gram(own, references)
    return (squared.clamp(min=0) + SMALLEST).sqrt()
