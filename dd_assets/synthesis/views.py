"""Differentiable views of images under synthesis.

Belongs here: random resized crops, mirrors and rolls as tensor operations with recorded parameters. Does not belong:
the views of student training (evaluation/views.py), which replay against stored labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dd_assets import randomness

CROP_TRIES = 10
DRAWS_PER_CROP = 4 * CROP_TRIES
"""Uniform numbers that `crop_box` consumes."""

Box = tuple[int, int, int, int]
"""top, left, height, width in pixels."""


def crop_box(height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], draws: np.ndarray) -> Box:
    """A random crop as torchvision's RandomResizedCrop chooses it, from `DRAWS_PER_CROP` uniform numbers.

    Ten tries of area share in `scale` and log-uniform aspect ratio in `ratio`, sides rounded; the first that fits is
    placed uniformly, otherwise the largest central crop of a permitted ratio is taken.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for area_draw, ratio_draw, top_draw, left_draw in draws.reshape(CROP_TRIES, 4):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * area_draw)
        aspect = math.exp(low + (high - low) * ratio_draw)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(top_draw * (height - h + 1)), int(left_draw * (width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - h) // 2, (width - w) // 2, h, w


def resized_crop(images: Tensor, box: Box, size: int) -> Tensor:
    """One crop of every image, (N, C, H, W) to (N, C, size, size), bilinear with antialias.

    The antialias switch is explicit because torchvision's default changed in 0.17, and with it the gradient's kernel.
    """
    top, left, height, width = box
    crop = images[:, :, top : top + height, left : left + width]
    if (height, width) == (size, size):
        return crop
    return F.interpolate(crop, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


@dataclass(frozen=True, kw_only=True)
class SharedView:
    """One view for a whole batch: the same crop, mirror and roll for every image."""

    crop: Box | None
    """None leaves the images whole."""
    flip: bool
    roll: tuple[int, int]
    """Cyclic shift in pixels, down and right."""


def draw_shared_view(
    size: int,
    seed: int,
    *stream: randomness.Stream,
    crop_scale: tuple[float, float] | None,
    hflip: bool,
    jitter: int,
    symmetric: bool,
) -> SharedView:
    """The view of stream (seed, *stream) for square images of side `size`.

    `crop_scale` None means no crop; the ratio is (3/4, 4/3). The mirror has probability 1/2 if `hflip`. Both roll
    offsets are uniform integers in [0, jitter], or in [-jitter, jitter] if `symmetric`, both ends included.
    """
    draws = randomness.uniform(DRAWS_PER_CROP + 3, seed, *stream)
    box = None if crop_scale is None else crop_box(size, size, crop_scale, (3 / 4, 4 / 3), draws[:DRAWS_PER_CROP])
    flip_draw, *roll_draws = draws[DRAWS_PER_CROP:]
    low = -jitter if symmetric else 0
    down, right = (low + int(draw * (jitter - low + 1)) for draw in roll_draws)
    return SharedView(crop=box, flip=bool(hflip and flip_draw < 0.5), roll=(down, right))


def apply_shared_view(images: Tensor, view: SharedView) -> Tensor:
    """Crop back to the images' own size, mirror, roll, in this order; (N, C, H, W) to the same, differentiable."""
    if view.crop is not None:
        images = resized_crop(images, view.crop, images.shape[-1])
    if view.flip:
        images = images.flip(-1)
    if view.roll != (0, 0):
        images = torch.roll(images, view.roll, dims=(-2, -1))
    return images
