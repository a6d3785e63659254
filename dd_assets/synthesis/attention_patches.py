"""The part of an image that matters most, by a map over its patches.

Belongs here: from a value per patch to pixels, the window with the largest sum. Does not belong: where the values come
from (models/attention.py), ranking images and stitching (methods/focusdd, patches.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dd_assets.shapes import Float, Int

DECIMALS = 12
"""To which window sums are compared, so that rounding does not decide between equal ones."""


def spread(
    values: Float[Tensor, "n rows cols"], patch: tuple[int, int], height: int, width: int
) -> Float[Tensor, "n {height} {width}"]:
    """A value per patch spread evenly over the pixels it covers, float64; a map's sum stays the same.

    Patch (0, 0) begins at the top left. Pixels beyond the last patch, which the network never saw, get 0: resizing the
    map to the image instead would move every patch. Patches that reach beyond the image (padded input) are cut.
    """
    tall, wide = patch
    pixels = (values.double() / (tall * wide)).repeat_interleave(tall, dim=1).repeat_interleave(wide, dim=2)
    pixels = pixels[:, :height, :width]
    return F.pad(pixels, (0, width - pixels.shape[2], 0, height - pixels.shape[1]))


def window_sums(importance: Float[Tensor, "n h w"], side: int) -> Float[Tensor, "n tops lefts"]:
    """Sums over every square window of `side` pixels, by an integral image: (n, h - side + 1, w - side + 1)."""
    integral = F.pad(importance, (1, 0, 1, 0)).cumsum(dim=1).cumsum(dim=2)
    ends = integral[:, side:]
    begins = integral[:, :-side]
    rows = ends - begins
    return rows[:, :, side:] - rows[:, :, :-side]


def best_window(
    importance: Float[Tensor, "n h w"], side: int
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Top, left and sum of the square window with the largest sum; of equal ones the first in reading order."""
    sums = window_sums(importance, side)
    flat = torch.round(sums.flatten(1), decimals=DECIMALS)
    place = flat.argmax(dim=1)
    best = sums.flatten(1).gather(1, place[:, None])[:, 0]
    return place // sums.shape[2], place % sums.shape[2], best
