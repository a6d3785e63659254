"""Top-1 accuracy of a network on uint8 images, prepared as RDED prepares its test set.

Belongs here: test preprocessing and counting hits. Does not belong: training (students.py), training views (views.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

from dd_assets.datasets.arrays import Normalisation
from dd_assets.evaluation.views import normalise
from dd_assets.models.pixels import images_together

RESIZE_FROM = 56
"""Below this size `size // 7 * 8` is the size itself or the rule is not meant (28 px would become 32)."""


def enlarged_size(size: int) -> int:
    """Pixels of the side to which test images are resized before the centre is cut; `size` where they are not."""
    return size if size < RESIZE_FROM else size // 7 * 8


def prepare_test(images: np.ndarray) -> Tensor:
    """Test images as RDED sees them: shorter side to `size // 7 * 8`, then the centre; uint8 (N, S, S, C).

    224 px goes over 256, 64 px over 72. Below 56 px this is the identity: exactly so in RDED for 8 and 32 px; other
    small sizes would only be enlarged or cut by the rounding of the rule, which is not done here.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    size = images.shape[1]
    larger = enlarged_size(size)
    if larger == size:
        return tensor
    enlarged = [
        tv.center_crop(tv.resize(part.permute(0, 3, 1, 2), [larger, larger], antialias=True), [size, size])
        for part in tensor.split(images_together("cpu", size))
    ]
    return torch.cat(enlarged).permute(0, 2, 3, 1).contiguous()


def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, normalisation: Normalisation, precision: str = "fp32"
) -> Tensor:
    """Which images are classified correctly, bool (N,); images uint8 (N, S, S, C). Leaves the model in eval mode."""
    model.eval()
    hits = []
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=precision != "fp32"):
        step = images_together(images.device.type, images.shape[1])
        for part, truth in zip(images.split(step), labels.split(step), strict=True):
            hits.append(model(normalise(part, normalisation)).argmax(dim=1) == truth)
    return torch.cat(hits)
