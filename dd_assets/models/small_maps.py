"""3x3 convolutions onto small maps as products of matrices, in bf16 on a CPU.

Belongs here: the convolution's three passes over copied windows, and which layers of a network take them. Does not
belong: what else bf16 changes (training.py, evaluation/).

oneDNN's kernels fill AMX's tiles with a row of pixels: 4 of 16 rows on a ResNet-18's last maps at 32 px, whose weight
gradient runs at a tenth of a product's rate (docs/results/performance.md). Products of bf16 matrices add up in float32,
as those kernels do; sums come in another order, so the last bits differ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import grad

from dd_assets.shapes import Float

LARGEST = 4
"""Side of the output map in pixels up to which products are faster; from 8 px on copying the windows costs more."""


def choose_products(network: nn.Module, precision: str) -> None:
    """Under `bf16_products` let 3x3 convolutions onto small maps be products wherever autocast is on, on a CPU.

    In place; parameters and their names stay. Under any other precision they are the library's again.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and type(module) in (nn.Conv2d, _SmallMapConv2d) and _fits(module):
            module.__class__ = _SmallMapConv2d if precision == "bf16_products" else nn.Conv2d


def _fits(module: nn.Conv2d) -> bool:
    square = (module.kernel_size, module.padding, module.dilation) == ((3, 3), (1, 1), (1, 1))
    return square and module.stride in ((1, 1), (2, 2)) and module.groups == 1 and module.padding_mode == "zeros"


class _SmallMapConv2d(nn.Conv2d):
    """nn.Conv2d but on small maps."""

    def forward(self, input: Tensor) -> Tensor:
        side = -(-max(input.shape[2:]) // self.stride[0])
        if side > LARGEST or input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        half = torch.get_autocast_dtype("cpu")
        mapped: Tensor = _Products.apply(input.to(half), self.weight.to(half), self.stride[0])  # type: ignore[no-untyped-call]
        return mapped if self.bias is None else mapped + self.bias.to(half)[:, None, None]


def windows(maps: Float[Tensor, "b c h w"], stride: int) -> Float[Tensor, "p k"]:
    """Every 3x3 window of zero-padded maps as a row: (B H' W', 9 C), by position, then channel.

    H' and W' are H and W over the stride, rounded up.
    """
    count, channels, height, width = maps.shape
    padded = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    image, row, column, channel = padded.stride()
    shape = (count, -(-height // stride), -(-width // stride), 3, 3, channels)
    seen = padded.as_strided(shape, (image, stride * row, stride * column, row, column, channel))
    return seen.reshape(-1, 9 * channels)


class _Products(torch.autograd.Function):
    """conv2d(maps (B, C, H, W), weight (O, C, 3, 3), stride, padding=1), channels last in and out."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.stride = stride
        out, (count, _, height, width) = len(weight), maps.shape
        found = windows(maps, stride) @ weight.permute(0, 2, 3, 1).reshape(out, -1).t()
        return found.view(count, -(-height // stride), -(-width // stride), out).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        maps, weight = ctx.saved_tensors
        stride, (out, channels) = ctx.stride, weight.shape[:2]
        by_maps = by_weight = None
        if ctx.needs_input_grad[0] and stride == 1:
            # Each pixel gathers what it gave: the windows of the gradient under the mirrored kernel.
            mirrored = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(9 * out, channels)
            gathered = windows(gradient, 1) @ mirrored
            by_maps = gathered.view(len(maps), *maps.shape[2:], channels).permute(0, 3, 1, 2)
        elif ctx.needs_input_grad[0]:
            by_maps = grad.conv2d_input(maps.shape, weight, gradient, stride, 1)
        if ctx.needs_input_grad[1]:
            rows = gradient.permute(0, 2, 3, 1).reshape(-1, out)
            by_weight = (rows.t() @ windows(maps, stride)).view(out, 3, 3, channels).permute(0, 3, 1, 2)
        return by_maps, by_weight, None
