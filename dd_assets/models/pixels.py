"""Between 8-bit pixels and network input.

Belongs here: the one normalisation, its inverse and the valid range, used by training, synthesis and evaluation.
Does not belong: augmentation (training.py, synthesis/views.py, evaluation/views.py) and file decoding (datasets/).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.shapes import Float, UInt8

# Float32 arithmetic moves a pixel by less than 1e-4 grey levels; without this guard, truncation would turn such a
# 200 into a 199, differently on each device.
GREY_LEVEL_GUARD = 1e-3


FORWARD_PIXELS = {"cpu": 2**16, "cuda": 2**20}
"""Pixels of a forward pass without gradients. On a CPU activations should stay in the cache: 64 CIFAR images at a time
take two thirds of the time of 500 with a ResNet-20 (docs/results/performance.md), with the same bits."""
FORWARD_IMAGES = 16
"""No forward pass has fewer images than this, however large they are."""


def images_together(device: str, size: int) -> int:
    """Images of side `size` in a forward pass of a network in evaluation mode, on a device type."""
    return max(FORWARD_IMAGES, FORWARD_PIXELS.get(device, FORWARD_PIXELS["cuda"]) // size**2)


def _channel_tensor(values: tuple[float, ...], device: torch.device | str) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


def normalised(
    images: np.ndarray | Tensor, normalisation: Normalisation, device: torch.device | str
) -> Float[Tensor, "n c h w"]:
    """Network input from 8-bit images: uint8 (N, H, W, C) to float32 (N, C, H, W), (pixel / 255 - mean) / std.

    Raises InputError if the images are not uint8 NHWC or their channels differ from the normalisation's.
    """
    pixels = torch.as_tensor(images)
    if pixels.dtype != torch.uint8 or pixels.ndim != 4:
        raise InputError(
            f"images are {str(pixels.dtype).removeprefix('torch.')} {tuple(pixels.shape)}", "pass uint8 (N, H, W, C)"
        )
    if pixels.shape[3] != len(normalisation.mean):
        raise InputError(
            f"images have {pixels.shape[3]} channels, the normalisation has {len(normalisation.mean)}",
            "give one mean and std per channel",
        )
    scaled = pixels.to(device).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 255
    return normalised_unit(scaled, normalisation)


def normalised_unit(images: Float[Tensor, "n c h w"], normalisation: Normalisation) -> Float[Tensor, "n c h w"]:
    """Network input from float images in [0, 1]: (N, C, H, W) to (image - mean) / std of the same shape."""
    mean = _channel_tensor(normalisation.mean, images.device)
    std = _channel_tensor(normalisation.std, images.device)
    return (images - mean) / std


def valid_range(
    normalisation: Normalisation, device: torch.device | str
) -> tuple[Float[Tensor, "c 1 1"], Float[Tensor, "c 1 1"]]:
    """The normalised values of black and white, each float32 (C, 1, 1): (0 - mean) / std and (1 - mean) / std."""
    mean, std = _channel_tensor(normalisation.mean, device), _channel_tensor(normalisation.std, device)
    return (0.0 - mean) / std, (1.0 - mean) / std


def to_uint8(images: Float[Tensor, "n c h w"], normalisation: Normalisation) -> UInt8[np.ndarray, "n h w c"]:
    """8-bit images from network input: float (N, C, H, W) to uint8 (N, H, W, C), clamped, then truncated.

    Truncation, not rounding, as every original repository does (SRe2L:recover/utils.py, RDED:synthesize/utils.py).
    """
    mean = _channel_tensor(normalisation.mean, images.device)
    std = _channel_tensor(normalisation.std, images.device)
    return unit_to_uint8(images.detach() * std + mean)


def unit_to_uint8(images: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n h w c"]:
    """8-bit images from float images in [0, 1]: (N, C, H, W) to uint8 (N, H, W, C), clamped, then truncated."""
    levels = images.detach().clamp(0, 1) * 255 + GREY_LEVEL_GUARD
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
