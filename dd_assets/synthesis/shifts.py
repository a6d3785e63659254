"""Zero-padded shifts, the random crop of small images in G-VBSM's loop.

Belongs here: the shift as a tensor operation and how its offsets are drawn. Does not belong: crops that change the
size, mirrors and rolls (views.py).

Source: shaoshitong/G_VBSM_Dataset_Condensation 8dbdeec, Branch_CIFAR_100/recover (padded crops of normalised images).
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from dd_assets import randomness
from dd_assets.methods.request import Request
from dd_assets.shapes import Float
from dd_assets.synthesis.batches import Batch


def shifted(images: Float[Tensor, "n c h w"], down: int, right: int) -> Float[Tensor, "n c h w"]:
    """Images (n, C, H, W) moved by whole pixels, zeros coming in.

    What a crop of the full size cuts from zero-padded images; zeros in normalised space, that is the mean colour.
    """
    if (down, right) == (0, 0):
        return images
    height, width = images.shape[-2:]
    moved = F.pad(images, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)))
    top, left = max(-down, 0), max(-right, 0)
    return moved[..., top : top + height, left : left + width]


def padded_shifts(request: Request, name: str) -> Callable[[Batch, int], tuple[int, int]]:
    """Shifts for `Recovery.shift`: both uniform in [-p, p] with p = `parameters.pad_crop`, common to the batch."""
    reach = request.parameters.pad_crop

    def shift(batch: Batch, at: int) -> tuple[int, int]:
        if reach == 0:
            return 0, 0
        down, right = randomness.integers(2 * reach + 1, 2, request.seed, name, "shift", *batch.key, at) - reach
        return int(down), int(right)

    return shift
