"""Strong views: finished views changed further by FixMatch's RandAugment, for CRLD.

Belongs here: the operations, and drawing two of them and a cutout per view from a counter-based stream. Does not
belong: the views themselves (views.py), torchvision's RandAugment of a recipe (pixel_views.py), losses.

Source: RandAugment(2, 10) of haiduo/DeepKD 2ee37fa, mdistiller/dataset/imagenet.py. Traps: its magnitude 10 is never
read, each operation draws its own; brightness, color, contrast and sharpness only lower (factors .05 to .95); a cutout
of up to half the side always follows. There the strong view is a crop of its own; here it is the weak view, which
carries CutMix already, so that both networks see one mixture.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from dd_assets.datasets.arrays import Normalisation
from dd_assets.evaluation.views import normalise
from dd_assets.randomness import uniform

DRAWS = 7
"""Per view: operation and magnitude twice, the cutout's side and its place."""
CUTOUT = 0.5
"""The largest side of a cutout as a share of the image's."""
COLOUR = (125, 123, 114)
"""What a cutout is filled with; its grey, 123, for one channel."""


def _affine(image: Tensor, right: float = 0.0, down: float = 0.0, shear: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """About the top left corner as Pillow's transform has it, nearest pixel, zeros from outside."""
    angles = [math.degrees(math.atan(value)) for value in shear]
    return tv.affine(image, angle=0.0, translate=[right, down], scale=1.0, shear=angles, center=[0.0, 0.0])  # type: ignore[list-item]


Operation = Callable[[Tensor, float], Tensor]
"""uint8 (C, S, S) and a magnitude to the same shape and type."""

TABLE: dict[str, tuple[Operation, float, float]] = {
    "autocontrast": (lambda x, v: tv.autocontrast(x), 0.0, 1.0),
    "brightness": (tv.adjust_brightness, 0.05, 0.95),
    "color": (tv.adjust_saturation, 0.05, 0.95),
    "contrast": (tv.adjust_contrast, 0.05, 0.95),
    "equalize": (lambda x, v: tv.equalize(x), 0.0, 1.0),
    "identity": (lambda x, v: x, 0.0, 1.0),
    "posterize": (lambda x, v: tv.posterize(x, int(v)), 4.0, 8.0),
    "rotate": (lambda x, v: tv.rotate(x, v), -30.0, 30.0),
    "sharpness": (tv.adjust_sharpness, 0.05, 0.95),
    "shear_x": (lambda x, v: _affine(x, shear=(v, 0.0)), -0.3, 0.3),
    "shear_y": (lambda x, v: _affine(x, shear=(0.0, v)), -0.3, 0.3),
    "solarize": (lambda x, v: torch.where(x < v, x, 255 - x), 0.0, 256.0),
    "translate_x": (lambda x, v: _affine(x, right=-v * x.shape[-1]), -0.3, 0.3),
    "translate_y": (lambda x, v: _affine(x, down=-v * x.shape[-2]), -0.3, 0.3),
}
"""Operation and the range that its magnitude is drawn from."""


def cutout(image: Tensor, share: float, right: float, down: float) -> Tensor:
    """uint8 (C, S, S) with a square of `share` of the side filled, around (`right`, `down`) of it.

    As FixMatch cuts: the first pixel is cut off at the border, the last one then lies the whole side further, so that a
    square at the left or top border keeps its size.
    """
    side = image.shape[-1]
    extent = share * side
    left, top = (int(max(0.0, at * side - extent / 2)) for at in (right, down))
    end, bottom = (int(min(side, first + extent)) + 1 for first in (left, top))
    colour = image.new_tensor(COLOUR if len(image) == 3 else [COLOUR[1]] * len(image))
    made = image.clone()
    made[:, top:bottom, left:end] = colour[:, None, None]
    return made


def strong_views(inputs: Tensor, normalisation: Normalisation, seed: int, epoch: int, batch: int) -> Tensor:
    """The normalised views (B, C, S, S) of one batch after two drawn operations and a cutout each, normalised again.

    Pixels are rounded to uint8 first, since half of the operations are defined on bytes. Draws come from the stream
    'strong' keyed by seed, epoch and batch, whatever the views were drawn from.
    """
    mean, std = torch.tensor([normalisation.mean, normalisation.std], device=inputs.device)[..., None, None]
    pixels = ((inputs.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    draws = uniform(DRAWS * len(pixels), seed, "strong", epoch, batch).reshape(len(pixels), -1)
    operations, found = list(TABLE.values()), []
    for pixel_values, row in zip(pixels, draws.tolist(), strict=True):
        changed = pixel_values.contiguous()
        for choice, draw in (row[:2], row[2:4]):
            operation, low, high = operations[int(choice * len(operations))]
            changed = operation(changed, low + (high - low) * draw)
        found.append(cutout(changed, CUTOUT * row[4], row[5], row[6]))
    return normalise(torch.stack(found).permute(0, 2, 3, 1), normalisation)
