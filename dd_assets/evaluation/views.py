"""Views of training images: where every pixel of every epoch comes from, and the tensors that follow from it.

Belongs here: drawing the geometry (integers, from counter-based streams) and rendering it.
Does not belong: labels (labels.py), training (students.py), storage.

Order of a view, as RDED has it (LINs-lab/RDED 3f6453d, validation/main.py and utils.py): patch shuffle, random
resized crop, flip, CutMix, normalise. All but CutMix act on rows and columns apart: two axis maps. Some papers' recipes
change pixels before mixing (pixel_views.py) or have Mixup (mixing.py).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.evaluation.mixing import blend, cutmix_boxes, mixup_shares, paste
from dd_assets.evaluation.pixel_views import change, drawn_changes
from dd_assets.evaluation.view_presets import Views
from dd_assets.randomness import integers, permutation, uniform, words

LOG_RATIO = 0.28768207245178096
"""ln(4/3): a crop's aspect ratio is log-uniform between 3/4 and 4/3, as in torchvision's RandomResizedCrop."""
TRIES = 10
"""Crop proposals before the fallback to the whole (square) image, as in torchvision."""
SPAN_PIXELS = 2**19
"""Epochs are rendered together up to this many pixels; a larger epoch is rendered batch by batch."""


@dataclass(frozen=True)
class ViewSchedule:
    """The geometry of one or more consecutive epochs; integers only, but for `lam`.

    Rows are views sorted by (epoch, batch, slot), V in all; `batch_epoch` and what follows have one entry per batch.
    """

    size: int
    factor: int
    epoch: np.ndarray
    """uint16 (V,)."""
    batch: np.ndarray
    """uint16 (V,), counted from 0 in each epoch."""
    slot: np.ndarray
    """uint16 (V,), position in the batch."""
    image_id: np.ndarray
    """uint32 (V,), row of the training images."""
    mix_slot: np.ndarray
    """uint16 (V,), slot in the same batch whose view is pasted; the own slot without CutMix."""
    crop: np.ndarray
    """uint16 (V, 4): top, left, height, width in pixels of the patch-shuffled image."""
    flip: np.ndarray
    """bool (V,)."""
    patch_perm: np.ndarray
    """uint16 (V,): column order + factor! * row order, each the lexicographic rank of a permutation of the strips."""
    batch_epoch: np.ndarray
    """uint16 (B,)."""
    batch_index: np.ndarray
    """uint16 (B,)."""
    n: np.ndarray
    """uint16 (B,), views in the batch; the tail batch may be smaller."""
    lam: np.ndarray
    """float64 (B,), share of pixels that stay the base image's, from the clipped box."""
    box: np.ndarray
    """uint16 (B, 4): x1, y1, x2, y2 of the pasted box; x counts columns, ends are exclusive."""
    changes: np.ndarray
    """uint16 (V, K), drawn changes of pixels (pixel_views.py); K is 0 without RandAugment and jitter."""
    views: Views
    """What the schedule was drawn for."""

    def __len__(self) -> int:
        return len(self.image_id)

    def starts(self) -> np.ndarray:
        """Row of each batch's first view and, last, the number of views, int64 (B + 1,)."""
        return np.concatenate([[0], np.cumsum(self.n, dtype=np.int64)])


EpochGeometry = ViewSchedule  # of a single epoch


def check_views(views: Views, images: int, size: int, batch: int) -> None:
    """Raise InputError where views of `images` square images of `size` pixels cannot be made."""
    if min(images, batch) < 1:
        raise InputError(f"views of {images} images in batches of {batch}", "both must be at least 1")
    if size % views.shuffle_factor:
        raise InputError(
            f"patch shuffle by {views.shuffle_factor} would lose pixels at {size} px", "use a factor that divides it"
        )
    if max(size, batch, math.ceil(images / batch)) > 2**16 - 1:
        raise InputError(f"{images} images of {size} px in batches of {batch} exceed the 16-bit label schema")


def _crops(count: int, size: int, scale_min: float, seed: int, epoch: int) -> np.ndarray:
    """torchvision's RandomResizedCrop.get_params for `count` square images at once, int64 (count, 4).

    exp is an 8-term Taylor sum of IEEE operations (relative error below 4e-11), since library exps differ in the
    last bit between CPUs; sqrt and rint are exact everywhere.
    """
    whole = np.tile(np.array([0, 0, size, size]), (count, 1))
    if scale_min == 1:
        return whole
    drawn = words((2 * TRIES + 2) * count, seed, "crop", epoch).reshape(count, TRIES + 1, 2)
    draw = (drawn[:, :TRIES] >> np.uint64(11)) * 2.0**-53
    area = size * size * (scale_min + (1 - scale_min) * draw[..., 0])
    exponent = LOG_RATIO * (2 * draw[..., 1] - 1)
    ratio = np.ones_like(exponent)
    for term in range(8, 0, -1):
        ratio = 1 + exponent * ratio / term
    extent = np.rint(np.sqrt(np.stack([area / ratio, area * ratio], axis=2))).astype(np.int64)
    fits = np.all((extent > 0) & (extent <= size), axis=2)
    first = extent[np.arange(count), fits.argmax(axis=1)]
    room = (size - first + 1).clip(0).astype(np.uint64)
    corner = ((drawn[:, TRIES] >> np.uint64(32)) * room) >> np.uint64(32)
    return np.where(
        np.any(fits, axis=1, keepdims=True), np.concatenate([corner.astype(np.int64), first], axis=1), whole
    )


def epoch_geometry(views: Views, images: int, size: int, batch: int, seed: int, epoch: int) -> EpochGeometry:
    """Every view of one epoch: `images` square images of `size` pixels in batches of `batch`, tail kept.

    Each random choice has its own stream keyed by (seed, name, epoch), so an epoch does not depend on what was drawn
    before it. Raises InputError where the views cannot be made.
    """
    check_views(views, images, size, batch)
    batches = -(-images // batch)
    member = np.arange(images) // batch
    slot = np.arange(images) % batch
    orders = math.factorial(views.shuffle_factor)
    perm = integers(orders, 2 * images, seed, "patch", epoch).reshape(images, 2)
    mix_slot, box = slot, np.zeros((batches, 4), dtype=np.int64)
    if views.cutmix_alpha or views.mixup_alpha:
        mix_slot = np.lexsort((words(images, seed, "mix", epoch), member)) - member * batch
    if views.cutmix_alpha:
        box = cutmix_boxes(batches, size, int(views.cutmix_alpha), seed, epoch)
    lam = 1 - (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) / (size * size)
    if views.mixup_alpha:
        lam = mixup_shares(batches, views.mixup_alpha, seed, epoch)
    return EpochGeometry(
        size=size,
        factor=views.shuffle_factor,
        epoch=np.full(images, epoch, dtype=np.uint16),
        batch=member.astype(np.uint16),
        slot=slot.astype(np.uint16),
        image_id=permutation(images, seed, "order", epoch).astype(np.uint32),
        mix_slot=mix_slot.astype(np.uint16),
        crop=_crops(images, size, views.crop_scale_min, seed, epoch).astype(np.uint16),
        flip=uniform(images, seed, "flip", epoch) < views.hflip,
        patch_perm=(perm[:, 0] + orders * perm[:, 1]).astype(np.uint16),
        batch_epoch=np.full(batches, epoch, dtype=np.uint16),
        batch_index=np.arange(batches, dtype=np.uint16),
        n=np.bincount(member).astype(np.uint16),
        lam=lam,
        box=box.astype(np.uint16),
        changes=drawn_changes(views, images, seed, epoch),
        views=views,
    )


def checksum(geometry: ViewSchedule, batch: int) -> int:
    """The first 8 bytes (little-endian) of the sha256 over one batch's geometry; `batch` is a row of the batches."""
    starts = geometry.starts()
    rows = slice(starts[batch], starts[batch + 1])
    digest = hashlib.sha256(f"views-1/{geometry.size}/{geometry.factor}/".encode())
    for name in ("epoch", "batch", "slot", "image_id", "mix_slot", "crop", "flip", "patch_perm"):
        digest.update(np.ascontiguousarray(getattr(geometry, name)[rows]).tobytes())
    if geometry.changes.shape[1]:
        digest.update(np.ascontiguousarray(geometry.changes[rows]).astype("<u2").tobytes())
    digest.update(geometry.lam[batch : batch + 1].astype("<f8").tobytes() + geometry.box[batch].tobytes())
    return int.from_bytes(digest.digest()[:8], "little")


def epoch_spans(images: int, size: int, epochs: int) -> list[range]:
    """Ranges of epochs that are rendered together, counted from epoch 0 so that a resumed run has the same ones."""
    step = max(1, SPAN_PIXELS // (images * size * size))
    return [range(first, min(first + step, epochs)) for first in range(0, epochs, step)]


def span_geometry(views: Views, images: int, size: int, batch: int, seed: int, span: Sequence[int]) -> ViewSchedule:
    """The schedule of the epochs in `span`, one after the other."""
    parts = [epoch_geometry(views, images, size, batch, seed, epoch) for epoch in span]
    arrays = [item.name for item in fields(ViewSchedule) if item.name not in ("size", "factor", "views")]
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays}
    return replace(parts[0], **joined)


@lru_cache(maxsize=16)
def _strip_maps(size: int, factor: int, device: torch.device) -> Tensor:
    """For each order of the strips, the source position of every position, int64 (factor!, size)."""
    strips = np.arange(size).reshape(factor, -1)
    maps = np.stack([strips[list(order)].reshape(-1) for order in itertools.permutations(range(factor))])
    return torch.from_numpy(maps).to(device)


def _axis_taps(corner: Tensor, extent: Tensor, flip: Tensor, maps: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Source positions and weights along rows (axis 0) and columns (axis 1).

    corner, extent: int64 (V, 2); flip: int64 (V,); maps: int64 (V, 2, size). Returns taps int64 (2, V, 2, size)
    and the second tap's weight, float32 (V, 2, size). Both taps are clamped inside the crop, as resizing the cut-out
    crop does; an output pixel's centre is at ((2 y + 1) extent - size) / (2 size), kept as integers until the weight.
    """
    place = torch.arange(size, device=corner.device).expand(len(corner), 2, size)
    mirrored = torch.stack([torch.zeros_like(flip), flip], dim=1)[..., None]
    place = place + mirrored * (size - 1 - 2 * place)
    centre = (2 * place + 1) * extent[..., None] - size
    low = torch.div(centre, 2 * size, rounding_mode="floor")
    weight = (centre - low * (2 * size)).float() / (2 * size)
    last = extent[..., None] - 1
    taps = [corner[..., None] + torch.minimum((low + step).clamp_min(0), last) for step in (0, 1)]
    return torch.stack([maps.gather(2, tap) for tap in taps]), weight


def _gather(images: Tensor, image: Tensor, taps: Tensor, weight: Tensor, identity: bool) -> Tensor:
    """Pixels in 0..255, (V, S, S, C): uint8 where every crop is the whole image, else float32 (bilinear)."""
    size, channels = images.shape[1], images.shape[3]
    flat = images.reshape(-1, channels)

    def tap(row: int, column: int) -> Tensor:
        line = image[:, None] * size + taps[row][:, 0]
        index = line[:, :, None] * size + taps[column][:, 1][:, None, :]
        return flat.index_select(0, index.reshape(-1)).reshape(*index.shape, channels)

    if identity:
        return tap(0, 0)
    down, right = weight[:, 0, :, None, None], weight[:, 1, None, :, None]
    above = torch.lerp(tap(0, 0).float(), tap(0, 1).float(), right)
    below = torch.lerp(tap(1, 0).float(), tap(1, 1).float(), right)
    return torch.lerp(above, below, down)


def render(
    images: Tensor,
    geometry: ViewSchedule,
    normalisation: Normalisation,
    batch: int | None = None,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.channels_last,
) -> Tensor:
    """Network inputs (B, C, S, S) for one batch (a row of the schedule's batches), or for all its views.

    images: uint8 (N, S, S, C) on the device that renders. Equal to torchvision's tensor path (crop, bilinear resize,
    flip) to 1e-6; exact where the crop is the whole image. Raises InputError if the image shape does not fit.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1:3] != (geometry.size, geometry.size):
        raise InputError(f"images {tuple(images.shape)} {images.dtype}", f"uint8 (N, {geometry.size}, …, C) expected")
    starts = geometry.starts()
    chosen = slice(0, len(starts) - 1) if batch is None else slice(batch, batch + 1)
    rows = slice(starts[chosen.start], starts[chosen.stop])
    counts = geometry.n[chosen].astype(np.int64)
    partner = np.repeat(starts[chosen.start : chosen.stop], counts) + geometry.mix_slot[rows] - rows.start
    box = np.repeat(geometry.box[chosen], counts, axis=0)
    orders = math.factorial(geometry.factor)
    columns = (geometry.image_id, geometry.crop, geometry.flip, geometry.patch_perm % orders)
    packed = np.column_stack([*(c[rows] for c in columns), geometry.patch_perm[rows] // orders, partner, box])
    table = torch.from_numpy(packed.astype(np.int64)).to(images.device)
    crop = table[:, 1:5]
    maps = _strip_maps(geometry.size, geometry.factor, images.device)[table[:, [7, 6]]]
    taps, weight = _axis_taps(crop[:, :2], crop[:, 2:], table[:, 5], maps, geometry.size)
    identity = bool((geometry.crop[rows, 2:] == geometry.size).all())
    pixels = _gather(images, table[:, 0], taps, weight, identity)
    if geometry.changes.shape[1]:
        pixels = change(pixels, geometry.changes[rows], geometry.views)
    if geometry.views.mixup_alpha:
        share = torch.from_numpy(np.repeat(geometry.lam[chosen], counts).astype(np.float32))
        pixels = blend(pixels, table[:, 8], share.to(images.device))
    elif box.any():
        pixels = paste(pixels, table[:, 8], table[:, 9:])
    return normalise(pixels, normalisation, dtype, memory_format)


def normalise(
    pixels: Tensor,
    normalisation: Normalisation,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.channels_last,
) -> Tensor:
    """(pixels / 255 - mean) / std as a network input (B, C, H, W); pixels: 0..255, (B, H, W, C), any dtype."""
    mean, std = torch.tensor([normalisation.mean, normalisation.std], device=pixels.device)
    scaled = pixels.float().div(255).sub(mean).div(std)
    return scaled.permute(0, 3, 1, 2).to(dtype).contiguous(memory_format=memory_format)
