"""CutMix and Mixup: shares, boxes, and joining two views.

Belongs here: drawing them per batch from counter-based streams, and the mixed pixels. Does not belong: which view is
mixed with which, any other geometry (views.py), labels of mixtures (losses.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dd_assets.randomness import integers, uniform

PROPOSALS = 64
"""Of a Beta draw; each is taken with a probability above a half for a parameter up to 1, of a sixth for 2."""


def cutmix_boxes(batches: int, size: int, alpha: int, seed: int, epoch: int) -> np.ndarray:
    """CutMix boxes, int64 (batches, 4): x1, y1, x2, y2, clipped to the image.

    lam ~ Beta(alpha, alpha), which for a whole alpha is the median of 2 alpha - 1 uniforms; the box has side
    int(size sqrt(1 - lam)), halved towards zero, around a uniform pixel (RDED:validation/utils.py).
    """
    draws = uniform(batches * (2 * alpha - 1), seed, "lam", epoch).reshape(batches, -1)
    lam = np.sort(draws, axis=1)[:, alpha - 1]
    half = (size * np.sqrt(1 - lam)).astype(np.int64)[:, None] // 2
    centre = integers(size, 2 * batches, seed, "box", epoch).reshape(batches, 2)
    return np.concatenate([centre - half, centre + half], axis=1).clip(0, size)


def mixup_shares(batches: int, alpha: float, seed: int, epoch: int) -> np.ndarray:
    """Mixup's lam ~ Beta(alpha, alpha), float64 (batches,): the share of the base image (Zhang et al. 2018).

    Johnk's method: of U^(1/alpha) and V^(1/alpha) with a sum of at most 1, the first's share of the sum. Rounded to
    multiples of 2^-16, since powers differ in the last bit between libraries.
    """
    draws = uniform(2 * PROPOSALS * batches, seed, "mixup", epoch).reshape(batches, PROPOSALS, 2)
    powers = draws ** (1 / alpha)
    total = powers.sum(axis=2)
    taken = (total <= 1).argmax(axis=1)
    rows = np.arange(batches)
    return np.rint(powers[rows, taken, 0] / total[rows, taken] * 2**16) / 2**16


def paste(pixels: Tensor, partner: Tensor, box: Tensor) -> Tensor:
    """CutMix: inside each view's box, the partner's finished view; pixels (V, S, S, C), box int64 (V, 4)."""
    place = torch.arange(pixels.shape[1], device=pixels.device)
    inside = (place >= box[:, :2, None]) & (place < box[:, 2:, None])
    mask = inside[:, 1, :, None] & inside[:, 0, None, :]
    return torch.where(mask[..., None], pixels[partner], pixels)


def blend(pixels: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Mixup: `share` of each view and the rest of its partner's; pixels (V, S, S, C), share (V,); float32."""
    whole = pixels.float()
    return torch.lerp(whole[partner], whole, share[:, None, None, None])
