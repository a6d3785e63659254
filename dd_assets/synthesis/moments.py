"""Mean and variance of feature maps, cheap enough to be taken of every layer at every iteration.

Belongs here: moments over given dimensions and by patch, with their gradient. Does not belong: which layers are
measured (bn_statistics.py, feature_statistics.py) and against what.

Source: the textbook formulas; no repository.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CELL = (-3, -1)
"""The dimensions of a cell's own pixels in what feature_statistics.cells cuts."""


def moments(inputs: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the dimensions `over`, which leave the shape; differentiable once.

    Those of bfloat16 maps (mixed precision) are float32. On a CPU torch.var_mean goes through several dimensions one
    number at a time and its gradient through five passes: up to twenty times as long as the sums here
    (docs/results/performance.md).
    """
    if inputs.dtype == torch.bfloat16:
        inputs = inputs.float()
    if inputs.device.type != "cpu":
        variance, mean = torch.var_mean(inputs, dim=over, correction=0)
        return mean, variance
    found: tuple[Tensor, Tensor] = _Moments.apply(inputs, over)
    return found


def patch_moments(cells: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The same over `over` and each patch's pixels together, for maps cut into (..., rows, p, columns, p).

    `over` names leading dimensions; results have shape (..., rows, columns) of what is left. A patch's variance is that
    of its pixels' values at one place, plus the spread of their means.
    """
    mean, variance = moments(cells, over)
    middle, spread = moments(mean, CELL)
    return middle, variance.mean(CELL) + spread


class _Moments(torch.autograd.Function):
    """Two passes forward (hence no cancellation), one back; keeps nothing that the network does not keep anyway."""

    @staticmethod
    def forward(context: Any, inputs: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        count = math.prod(inputs.shape[dimension] for dimension in over)
        mean = inputs.sum(over, keepdim=True) / count
        centred = inputs - mean
        context.save_for_backward(inputs, mean)
        context.count = count
        return mean.squeeze(over), centred.mul_(centred).sum(over) / count

    @staticmethod
    @once_differentiable
    def backward(context: Any, of_mean: Tensor, of_variance: Tensor) -> tuple[Tensor, None]:
        inputs, mean = context.saved_tensors
        slope = 2 * of_variance.reshape(mean.shape) / context.count
        return torch.addcmul(of_mean.reshape(mean.shape) / context.count - slope * mean, inputs, slope), None
