"""Mercer kernels and the distances that they induce.

Belongs here: closed forms on rows of features. Does not belong: where features come from (synthesis.py).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dd_assets.shapes import Float

SMALLEST = 1e-8
"""Added under the root: its slope at two equal points would be infinite."""

Gram = Callable[[Tensor, Tensor], Tensor]
"""Rows (n, d) and (m, d) to K, (n, m)."""


def linear(a: Tensor, b: Tensor) -> Tensor:
    """<a, b>; the distance it induces is Euclid's."""
    return a @ b.T


def polynomial(a: Tensor, b: Tensor) -> Tensor:
    """(<a, b> / d + 1)², d the number of features."""
    return (a @ b.T / a.shape[1] + 1).pow(2)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> / (|a| |b|): the linear kernel of directions."""
    return torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).T


def rbf(width: float) -> Gram:
    """exp(-|a - b|² / (2 width²))."""

    def gram(a: Tensor, b: Tensor) -> Tensor:
        squared = a.pow(2).sum(dim=1)[:, None] + b.pow(2).sum(dim=1)[None] - 2 * a @ b.T
        return torch.exp(-squared.clamp(min=0) / (2 * width**2))

    return gram


def laplacian(width: float) -> Gram:
    """exp(-|a - b|₁ / width)."""
    return lambda a, b: torch.exp(-torch.cdist(a, b, p=1) / width)


def gram_of(name: str, references: Float[Tensor, "m d"]) -> Gram:
    """The kernel of that name; of rbf and laplacian the width is the references' mean distance from each other.

    Distances in thousands of dimensions are all alike, so that a width that does not follow them gives a kernel of
    zeros or of ones.
    """
    if name not in ("rbf", "laplacian"):
        return {"linear": linear, "polynomial": polynomial, "cosine": cosine}[name]
    between = torch.pdist(references, p=2 if name == "rbf" else 1)
    width = max(float(between.mean()) if len(between) else 0.0, 1e-6)
    return rbf(width) if name == "rbf" else laplacian(width)


def distances(gram: Gram, own: Float[Tensor, "n d"], references: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """D_K(x, y) = sqrt(K(x, x) + K(y, y) - 2 K(x, y)), differentiable in `own`, also where x = y."""
    same = torch.stack([gram(row[None], row[None])[0, 0] for row in own])
    theirs = torch.stack([gram(row[None], row[None])[0, 0] for row in references])
    squared = same[:, None] + theirs[None] - 2 * gram(own, references)
    return (squared.clamp(min=0) + SMALLEST).sqrt()
