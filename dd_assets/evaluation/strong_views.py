"""Strong views: finished views changed further by RandAugment, for CRLD.

Belongs here: drawing two operations per view from a counter-based stream and applying them. Does not belong: the views
themselves (views.py), losses.

Source: Cubuk et al. 2020, RandAugment(n=2, m=10), in torchvision's scale of 31 magnitudes; CRLD's strong view is its
weak view with RandAugment (haiduo/DeepKD). Here the weak view carries CutMix already, so both networks see one mixture.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from dd_assets.datasets.arrays import Normalisation
from dd_assets.evaluation.views import normalise
from dd_assets.randomness import words

OPERATIONS = 2
STRENGTH = 10 / 30
"""Magnitude 10 of 0 to 30."""


def _affine(
    images: Tensor, angle: float = 0.0, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0, 0)
) -> Tensor:
    """Around the centre, nearest pixel, zeros from outside, as torchvision's RandAugment fills."""
    return tv.affine(images, angle=angle, translate=list(shift), scale=1.0, shear=list(shear))


def _degrees(tangent: float) -> float:
    return math.degrees(math.atan(tangent))


def _shift(images: Tensor, sign: int) -> int:
    return int(sign * 150 / 331 * STRENGTH * images.shape[-1])


Operation = Callable[[Tensor, int], Tensor]
"""uint8 (N, C, S, S) and a sign, +1 or -1, to the same shape and type."""

TABLE: dict[str, Operation] = {
    "identity": lambda x, sign: x,
    "shear_x": lambda x, sign: _affine(x, shear=(sign * _degrees(0.3 * STRENGTH), 0.0)),
    "shear_y": lambda x, sign: _affine(x, shear=(0.0, sign * _degrees(0.3 * STRENGTH))),
    "translate_x": lambda x, sign: _affine(x, shift=(_shift(x, sign), 0)),
    "translate_y": lambda x, sign: _affine(x, shift=(0, _shift(x, sign))),
    "rotate": lambda x, sign: _affine(x, angle=sign * 30 * STRENGTH),
    "brightness": lambda x, sign: tv.adjust_brightness(x, 1 + sign * 0.9 * STRENGTH),
    "color": lambda x, sign: tv.adjust_saturation(x, 1 + sign * 0.9 * STRENGTH),
    "contrast": lambda x, sign: tv.adjust_contrast(x, 1 + sign * 0.9 * STRENGTH),
    "sharpness": lambda x, sign: tv.adjust_sharpness(x, 1 + sign * 0.9 * STRENGTH),
    "posterize": lambda x, sign: tv.posterize(x, 8 - round(4 * STRENGTH)),
    "solarize": lambda x, sign: tv.solarize(x, 255 * (1 - STRENGTH)),
    "autocontrast": lambda x, sign: tv.autocontrast(x),
    "equalize": lambda x, sign: tv.equalize(x),
}


def strong_views(inputs: Tensor, normalisation: Normalisation, seed: int, epoch: int, batch: int) -> Tensor:
    """The normalised views (B, C, S, S) of one batch after two drawn operations each, normalised again.

    Pixels are rounded to uint8 first, since half of the operations are defined on bytes. Draws come from the stream
    'strong' keyed by seed, epoch and batch, whatever the views were drawn from.
    """
    mean, std = torch.tensor([normalisation.mean, normalisation.std], device=inputs.device)[..., None, None]
    pixels = ((inputs.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).contiguous()
    drawn = words(OPERATIONS * len(inputs), seed, "strong", epoch, batch).reshape(OPERATIONS, len(inputs))
    names = list(TABLE)
    for row in drawn:
        # The top half chooses the operation, the lowest bit its sign.
        chosen = torch.from_numpy(((row >> 32) * len(names) >> 32).astype("int64")).to(pixels.device)
        signs = torch.from_numpy((row & 1).astype("int64")).to(pixels.device)
        for code in torch.unique(2 * chosen + signs).tolist():
            mine = 2 * chosen + signs == code
            pixels[mine] = TABLE[names[code // 2]](pixels[mine], 1 - 2 * (code % 2))
    return normalise(pixels.permute(0, 2, 3, 1), normalisation)
