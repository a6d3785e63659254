"""What the layers of a network see in the real training images: the targets of G-VBSM and EDC.

Belongs here: one pass over the training split and its moments. Does not belong: the moments of a batch
(feature_statistics.py), the unit that keeps the arrays (units/statistics.py), matching (committee_matching.py).

Source: shaoshitong/G_VBSM_Dataset_Condensation 8dbdeec and shaoshitong/EDC 80116a7, Branch_*/recover/utils.py.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.models.pixels import normalised, normalised_unit
from dd_assets.shapes import Float
from dd_assets.synthesis.feature_statistics import Observer, cells
from dd_assets.synthesis.moments import moments, patch_moments
from dd_assets.synthesis.views import DRAWS_PER_CROP, crop_box, resized_crop

PATCH_SIZE = "patch"
"""Name of the array that holds the patch size, of one number."""


class _Moments:
    """Running sums of one layer's moments, float64: over batches for the whole set, over images for the classes."""

    def __init__(self, rows: int, counts: Tensor) -> None:
        self.rows, self.counts = rows, counts
        self.batches: list[Tensor] = []
        self.classes: list[Tensor] = []

    def add(self, variance: Float[Tensor, "n k"], mean: Float[Tensor, "n k"], labels: Tensor) -> None:
        """One batch by its images' own moments; a batch's variance is theirs plus the spread of their means."""
        variance, mean = variance.double(), mean.double()
        share = len(mean) / self.rows
        whole = (mean.mean(dim=0) * share, (variance.mean(dim=0) + mean.var(dim=0, correction=0)) * share)
        if not self.batches:
            self.batches = [torch.zeros_like(value) for value in whole]
            self.classes = [mean.new_zeros(len(self.counts), mean.shape[1]) for _ in range(3)]
        for total, value in zip(self.batches, whole, strict=True):
            total += value
        for total, value in zip(self.classes, (mean, variance, mean * mean), strict=True):
            total.index_add_(0, labels, value)

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """The finished moments by name, float32; see `measure`."""
        mean, variance, square = (total / self.counts[:, None] for total in self.classes)
        named = {
            f"{prefix}mean": self.batches[0],
            f"{prefix}var": self.batches[1],
            f"class_{prefix}mean": mean,
            f"class_{prefix}var": variance,
            f"class_{prefix}spread": (square - mean * mean).clamp_min(0),
        }
        return {name: value.float().cpu().numpy() for name, value in named.items()}


def measure(
    model: nn.Module,
    images_u8: np.ndarray,
    labels: np.ndarray,
    *,
    normalisation: Normalisation,
    classes: int,
    patch: int,
    batch: int,
    pad_crop: int,
    hflip: bool,
    seed: int,
    device: str,
    crop_scale_min: float = 1.0,
) -> dict[str, np.ndarray]:
    """Moments of every layer's input over the training images, float32 arrays named "<layer>/<moment>".

    images_u8: uint8 (N, H, W, C), labels: int64 (N,). `model` must be in evaluation mode. Every image is seen once, in
    a seeded order and batches of `batch`, moved by up to `pad_crop` pixels (black comes in), or cropped down to
    `crop_scale_min` of its area where that is below 1, and mirrored with probability 1/2 if `hflip`.

    mean, var (C,): the batches' means and biased variances, averaged in proportion to their sizes; hence not the
    variance of the whole set. class_mean, class_var (classes, C): the mean over a class's images of an image's own mean
    and variance; class_spread: the variance of those image means, so that class_var + class_spread is the class's
    pooled variance. A convolution has the same with `patch_` before the moment, of shape (patches,) and
    (classes, patches): patches of `patch` pixels, over channels and pixels. "patch" holds the patch size.
    Raises InputError for a model in training mode, a class without images and a layer that no image reaches.
    """
    counts = np.bincount(labels, minlength=classes)
    if model.training:
        raise InputError("statistics are taken in evaluation mode, the model is in training mode", "call model.eval()")
    if (counts == 0).any():
        raise InputError(f"class {int(counts.argmin())} has no training images, so it has no statistics")
    order = randomness.permutation(len(labels), seed, "statistics", "order")
    class_sizes = torch.from_numpy(counts).to(device)
    channel: dict[str, _Moments] = {}
    patches: dict[str, _Moments] = {}
    members = torch.from_numpy(labels).to(device)
    rows = order

    def take(name: str, layer: nn.Module, inputs: Tensor) -> None:
        of_batch = members[torch.from_numpy(rows).to(device)]
        mean, variance = moments(inputs, (2, 3))
        channel.setdefault(name, _Moments(len(labels), class_sizes)).add(variance, mean, of_batch)
        if isinstance(layer, nn.Conv2d):
            mean, variance = patch_moments(cells(inputs, patch), (1,))
            sums = patches.setdefault(name, _Moments(len(labels), class_sizes))
            sums.add(variance.flatten(1), mean.flatten(1), of_batch)

    views = _Views(normalisation, len(labels), pad_crop, hflip, crop_scale_min, seed, device)
    with torch.no_grad(), Observer(model, take) as observer:
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            model(views.of(images_u8[rows], rows))
        unseen = [name for name in observer.layers if name not in channel]
    if unseen:
        raise InputError(f"layer {unseen[0]!r} takes no part in the model's forward pass", "use another teacher")
    arrays = {f"{name}/{moment}": value for name, sums in channel.items() for moment, value in sums.arrays("").items()}
    for name, sums in patches.items():
        arrays |= {f"{name}/{moment}": value for moment, value in sums.arrays("patch_").items()}
    return arrays | {PATCH_SIZE: np.array([patch], dtype=np.float32)}


class _Views:
    """How each training image is seen, decided by its row alone."""

    def __init__(
        self, normalisation: Normalisation, count: int, pad: int, hflip: bool, scale: float, seed: int, device: str
    ) -> None:
        self.normalisation, self.pad, self.scale, self.seed, self.device = normalisation, pad, scale, seed, device
        self.offsets = randomness.integers(2 * pad + 1, 2 * count, seed, "statistics", "crop").reshape(count, 2)
        self.flips = (randomness.uniform(count, seed, "statistics", "flip") < 0.5) & hflip

    def of(self, images: np.ndarray, rows: np.ndarray) -> Tensor:
        """Network input for these images, which are the training rows `rows`; uint8 (n, H, W, C) to (n, C, H, W)."""
        if self.scale < 1:
            seen = self._resized(images, rows)
        else:
            seen = normalised(self._moved(images, rows), self.normalisation, self.device)
        flips = torch.from_numpy(self.flips[rows]).to(self.device)
        return torch.where(flips[:, None, None, None], seen.flip(-1), seen)

    def _moved(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        count, height, width, _ = images.shape
        padded = np.pad(images, ((0, 0), (self.pad, self.pad), (self.pad, self.pad), (0, 0)))
        lines = self.offsets[rows, :1] + np.arange(height)
        columns = self.offsets[rows, 1:] + np.arange(width)
        return padded[np.arange(count)[:, None, None], lines[:, :, None], columns[:, None, :]]

    def _resized(self, images: np.ndarray, rows: np.ndarray) -> Tensor:
        height, width = images.shape[1:3]
        unit = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 255
        crops = []
        for image, row in zip(unit, rows, strict=True):
            draws = randomness.uniform(DRAWS_PER_CROP, self.seed, "statistics", "crop", int(row))
            box = crop_box(height, width, (self.scale, 1.0), (3 / 4, 4 / 3), draws)
            crops.append(resized_crop(image[None], box, height))
        return normalised_unit(torch.cat(crops), self.normalisation)
