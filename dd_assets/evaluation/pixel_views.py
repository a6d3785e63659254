"""Changes of a view's pixels beyond RD3's: RandAugment and colour jitter, as some papers' own recipes have them.

Belongs here: drawing them per view from counter-based streams, and applying them to batches. Does not belong: where a
view's pixels come from (views.py), CRLD's strong views (strong_views.py), which recipe has what (paper_presets.py).

RandAugment: Cubuk et al. 2020 in torchvision's operations and 31 magnitudes, nearest pixel, zeros from outside, shears
about the corner. Jitter: ColorJitter of tensors without hue, as Minimax's train.py has it at .4. Both as torchvision
computes them, with draws of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from dd_assets.evaluation.view_presets import MAX_MAGNITUDE, Views
from dd_assets.randomness import words

JITTERS = 3
"""Brightness, contrast, saturation."""
ORDERS = tuple(itertools.permutations(range(JITTERS)))
GREY = (0.2989, 0.587, 0.114)
"""torchvision's weights of red, green and blue."""

Operation = Callable[[Tensor, float], Tensor]
"""uint8 (N, C, S, S) and a signed magnitude in [-1, 1] to the same shape and type."""


def _shear(images: Tensor, x: float = 0.0, y: float = 0.0) -> Tensor:
    angles = [math.degrees(math.atan(0.3 * value)) for value in (x, y)]
    return tv.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=angles, center=[0.0, 0.0])


def _translate(images: Tensor, x: float = 0.0, y: float = 0.0) -> Tensor:
    by = [int(150 / 331 * value * images.shape[-1]) for value in (x, y)]
    return tv.affine(images, angle=0.0, translate=by, scale=1.0, shear=[0.0, 0.0])


OPERATIONS: dict[str, Operation] = {
    "Identity": lambda x, m: x,
    "ShearX": lambda x, m: _shear(x, x=m),
    "ShearY": lambda x, m: _shear(x, y=m),
    "TranslateX": lambda x, m: _translate(x, x=m),
    "TranslateY": lambda x, m: _translate(x, y=m),
    "Rotate": lambda x, m: tv.rotate(x, 30 * m),
    "Brightness": lambda x, m: tv.adjust_brightness(x, 1 + 0.9 * m),
    "Color": lambda x, m: tv.adjust_saturation(x, 1 + 0.9 * m),
    "Contrast": lambda x, m: tv.adjust_contrast(x, 1 + 0.9 * m),
    "Sharpness": lambda x, m: tv.adjust_sharpness(x, 1 + 0.9 * m),
    "Posterize": lambda x, m: tv.posterize(x, 8 - round(4 * abs(m))),
    "Solarize": lambda x, m: tv.solarize(x, 255 * (1 - abs(m))),
    "AutoContrast": lambda x, m: tv.autocontrast(x),
    "Equalize": lambda x, m: tv.equalize(x),
}
"""By torchvision's names; those that have no direction take the magnitude alone."""


def drawn_changes(views: Views, count: int, seed: int, epoch: int) -> np.ndarray:
    """The draws of `count` views in one epoch, uint16 (count, K).

    Columns: for each RandAugment operation 2 * its place in OPERATIONS + 1 if its direction is negative; for jitter
    three factors in 65,536 steps and the rank of their order. Streams 'randaugment' and 'jitter', keyed by epoch.
    """
    columns = []
    if views.rand_operations:
        drawn = words(count * views.rand_operations, seed, "randaugment", epoch).reshape(count, -1)
        chosen = ((drawn >> np.uint64(32)) * np.uint64(len(OPERATIONS))) >> np.uint64(32)
        columns.append(2 * chosen + (drawn & np.uint64(1)))
    if views.jitter:
        drawn = words(count * (JITTERS + 1), seed, "jitter", epoch).reshape(count, -1) >> np.uint64(32)
        order = (drawn[:, JITTERS:] * np.uint64(len(ORDERS))) >> np.uint64(32)
        columns += [drawn[:, :JITTERS] >> np.uint64(16), order]
    found = np.concatenate(columns, axis=1) if columns else np.zeros((count, 0))
    return found.astype(np.uint16)


def change(pixels: Tensor, changes: np.ndarray, views: Views) -> Tensor:
    """Views (V, S, S, C) in 0..255 after their drawn changes, (V, K); uint8 after RandAugment alone, else float32."""
    drawn = torch.from_numpy(changes.astype(np.int64)).to(pixels.device)
    found = pixels.permute(0, 3, 1, 2)
    if views.rand_operations:
        found = rand_augment(found, drawn[:, : views.rand_operations], views.rand_magnitude)
    if views.jitter:
        factors, order = drawn[:, -JITTERS - 1 : -1], drawn[:, -1]
        steps = 1 + views.jitter * (2 * (factors.float() + 0.5) / 2**16 - 1)
        found = jittered(found.float() / 255, steps, order) * 255
    return found.permute(0, 2, 3, 1)


def rand_augment(images: Tensor, codes: Tensor, magnitude: int) -> Tensor:
    """uint8 (N, C, S, S) after each image's operations in turn; codes int64 (N, n) as in `drawn_changes`.

    Other types are rounded first, since half of the operations are defined on bytes.
    """
    found = images.round().to(torch.uint8).contiguous().clone()
    names = list(OPERATIONS)
    for column in codes.unbind(dim=1):
        for code in torch.unique(column).tolist():
            mine = column == code
            signed = (1 - 2 * (code % 2)) * magnitude / MAX_MAGNITUDE
            found[mine] = OPERATIONS[names[code // 2]](found[mine], signed)
    return found


def jittered(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """float (N, C, S, S) in [0, 1] with brightness, contrast and saturation multiplied by factors (N, 3).

    order: int64 (N,), place in ORDERS. Contrast is about the mean grey of the image as it then is, as in torchvision.
    """
    found = images
    turns = torch.tensor(ORDERS, device=images.device)[order]
    for turn in range(JITTERS):
        which = turns[:, turn]
        factor = factors.gather(1, which[:, None])[:, :, None, None]
        grey = _grey(found)
        about = torch.where((which == 1)[:, None, None, None], grey.mean(dim=(1, 2, 3), keepdim=True), grey)
        about = torch.where((which == 0)[:, None, None, None], torch.zeros_like(grey), about)
        found = (factor * found + (1 - factor) * about).clamp(0, 1)
    return found


def _grey(images: Tensor) -> Tensor:
    """(N, 1, S, S); an image of one channel is its own."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(GREY)[:, None, None]).sum(dim=1, keepdim=True)
