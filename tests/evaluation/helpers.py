"""Small networks and image sets for the evaluation tests.

Belongs here: fixtures as functions. Does not belong: assertions.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import functional as tv

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.evaluation.view_presets import Views
from dd_assets.evaluation.views import ViewSchedule

NORMALISATION = Normalisation(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
GREY = Normalisation(mean=(0.5,), std=(0.25,))
PLAIN = Views(preset="plain", shuffle_factor=1, crop_scale_min=1.0, hflip=0.0, cutmix_alpha=0)


def images(count: int, size: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random uint8 images (count, size, size, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def convnet(channels: int = 3, classes: int = 4, size: int = 8, seed: int = 0, dropout: float = 0.0) -> nn.Module:
    """Two convolutions with one batch norm, then a linear layer; weights fixed by `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(8 * (size // 2) ** 2, classes),
        )


def two_tone(count: int, seed: int) -> ImageArrays:
    """Grey 8 px images of two classes: bright upper half or bright lower half, with noise."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(seed).integers(0, 100, (count, 8, 8, 1))
    bright = np.zeros((count, 8, 8, 1), dtype=np.int64)
    bright[labels == 0, :4] = 120
    bright[labels == 1, 4:] = 120
    return ImageArrays((noise + bright).astype(np.uint8), labels)


def reference_views(pixels: np.ndarray, schedule: ViewSchedule) -> Tensor:
    """Every view one at a time with torchvision, CutMix pixel by pixel; float32 (V, C, S, S) in [0, 1]."""
    orders = list(itertools.permutations(range(schedule.factor)))
    alone = []
    for row in range(len(schedule)):
        image = torch.from_numpy(pixels[schedule.image_id[row]]).permute(2, 0, 1).float() / 255
        code = int(schedule.patch_perm[row])
        columns = image.chunk(schedule.factor, dim=2)
        image = torch.cat([columns[k] for k in orders[code % len(orders)]], dim=2)
        strips = image.chunk(schedule.factor, dim=1)
        image = torch.cat([strips[k] for k in orders[code // len(orders)]], dim=1)
        image = tv.resized_crop(image, *(int(v) for v in schedule.crop[row]), [schedule.size] * 2, antialias=True)
        alone.append(tv.hflip(image) if schedule.flip[row] else image)
    mixed = [view.clone() for view in alone]
    starts = schedule.starts()
    for batch, (x1, y1, x2, y2) in enumerate(schedule.box.astype(int)):
        for row in range(starts[batch], starts[batch + 1]):
            partner = alone[starts[batch] + int(schedule.mix_slot[row])]
            for y in range(y1, y2):
                for x in range(x1, x2):
                    mixed[row][:, y, x] = partner[:, y, x]
    return torch.stack(mixed)


def normalised(views: Tensor, normalisation: Normalisation = NORMALISATION) -> Tensor:
    """(view - mean) / std per channel."""
    return tv.normalize(views, list(normalisation.mean), list(normalisation.std))
