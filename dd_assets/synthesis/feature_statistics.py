"""What convolutions and batch norms see: moments by channel and by patch of their inputs.

Belongs here: which layers count, the moments, the hooks that take them in an ordinary forward pass. Does not belong:
moments of the real set (real_statistics.py), distances to them and moving averages (committee_matching.py).

Source: shaoshitong/G_VBSM_Dataset_Condensation 8dbdeec, Branch_full_ImageNet_1k/recover/utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets.errors import InputError
from dd_assets.shapes import Float
from dd_assets.synthesis.moments import moments, patch_moments

CHANNEL = ("mean", "var")
PATCH = ("patch_mean", "patch_var")


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Every Conv2d and BatchNorm2d by its name in the model, in `model.modules()` order.

    Raises InputError for a model that has neither.
    """
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    found: dict[str, nn.Module] = {name: each for name, each in model.named_modules() if isinstance(each, kinds)}
    if not found:
        raise InputError("a teacher has neither convolutions nor batch norm, so there is nothing to match")
    return found


def moments_of(layer: nn.Module) -> tuple[str, ...]:
    """Names of a layer's moments in their order: by channel, and by patch too for a convolution."""
    return (*CHANNEL, *PATCH) if isinstance(layer, nn.Conv2d) else CHANNEL


def cells(inputs: Float[Tensor, "n c h w"], patch: int) -> Float[Tensor, "n c u p v p"]:
    """Feature maps cut into squares of `patch` pixels: (n, C, H, W) to (n, C, rows, patch, columns, patch).

    Maps whose sides are no multiples of `patch` are first resized to the next ones, bilinearly and without antialias.
    A single pixel stays one: resizing would repeat it, which changes no moment.
    """
    count, channels, height, width = inputs.shape
    if (height, width) == (1, 1):
        return inputs.view(count, channels, 1, 1, 1, 1)
    rows, columns = math.ceil(height / patch), math.ceil(width / patch)
    if (height, width) != (rows * patch, columns * patch):
        size = (rows * patch, columns * patch)
        inputs = F.interpolate(inputs, size=size, mode="bilinear", align_corners=False)
    return inputs.reshape(count, channels, rows, patch, columns, patch)


def batch_moments(inputs: Float[Tensor, "n c h w"], patch: int | None) -> list[Tensor]:
    """Mean and biased variance of each channel, (C,) each; with `patch`, those of each patch too, (patches,) each.

    A patch's moments are over images, channels and its pixels together.
    """
    mean, variance = moments(inputs, (0, 2, 3))
    if patch is None:
        return [mean, variance]
    patch_mean, patch_variance = patch_moments(cells(inputs, patch), (0, 1))
    return [mean, variance, patch_mean.flatten(), patch_variance.flatten()]


class Observer:
    """Hooks on the inputs of a model's layers; use as a context manager, run the model, read `taken`.

    `wanted` chooses layers by position (None: all), `paused` lets a forward pass go by unmeasured.
    """

    def __init__(self, model: nn.Module, measure: Callable[[str, nn.Module, Tensor], Sequence[Tensor] | None]) -> None:
        self.layers = layers_of(model)
        self.measure = measure
        self.wanted: Sequence[bool] | None = None
        self.paused = False
        self.taken: dict[str, Sequence[Tensor] | None] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Observer:
        for index, (name, layer) in enumerate(self.layers.items()):
            self._handles.append(layer.register_forward_pre_hook(self._hook(index, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.taken.clear()

    def _hook(self, index: int, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if not self.paused and (self.wanted is None or self.wanted[index]):
                self.taken[name] = self.measure(name, layer, inputs[0])

        return hook
