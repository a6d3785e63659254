"""Matching the batch statistics of synthetic images to a teacher's running statistics.

Belongs here: the hooks on batch norm inputs and the distance they measure. Does not belong: loss weights (recipes)
and the optimisation loop (methods/*/synthesis.py).

Source: DeepInversion (Yin et al. 2020, arXiv 1912.08795) as used by VILA-Lab/SRe2L 8d00cba, SRe2L/recover/utils.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dd_assets.errors import InputError
from dd_assets.shapes import Float
from dd_assets.synthesis.moments import moments


def statistics_distance(
    inputs: Float[Tensor, "n c h w"], layer: nn.BatchNorm2d, variance_weight: float = 1.0
) -> Float[Tensor, ""]:
    """w ‖var_run - var(inputs)‖₂ + ‖mean_run - mean(inputs)‖₂ over channels; inputs (N, C, H, W), result scalar.

    `variance_weight` w is 1 but for DWA, where it stands on the variance alone (distillation/utils.py).

    The batch variance is the biased one (divided by N·H·W) although the running one was accumulated unbiased, and the
    norms are neither squared nor averaged: the original does so, and the published weights depend on it.
    Raises InputError for a layer without running statistics.
    """
    if layer.running_var is None or layer.running_mean is None:
        raise InputError("a batch norm layer of the teacher tracks no running statistics", "use another teacher")
    mean, variance = moments(inputs, (0, 2, 3))
    off_variance = torch.linalg.vector_norm(layer.running_var - variance)
    return variance_weight * off_variance + torch.linalg.vector_norm(layer.running_mean - mean)


class BatchNormMatcher:
    """Hooks on the inputs of every BatchNorm2d of a model in evaluation mode, measuring in the ordinary forward pass.

    Use as a context manager: run the model once, then read `loss()`. Layers count in `model.modules()` order, the
    first one `first_multiplier` times (10 in the original), the variances `variance_weight` times. Raises InputError
    for a model without batch norm.
    """

    def __init__(self, model: nn.Module, first_multiplier: float = 10.0, variance_weight: float = 1.0) -> None:
        self.layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        if not self.layers:
            raise InputError(
                "the teacher has no batch norm layers, so there is nothing to match", "use another teacher"
            )
        self.first_multiplier, self.variance_weight = first_multiplier, variance_weight
        self._distances: dict[int, Tensor] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> BatchNormMatcher:
        for index, layer in enumerate(self.layers):
            self._handles.append(layer.register_forward_pre_hook(self._measure(index)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._distances.clear()

    def _measure(self, index: int) -> Callable[[nn.BatchNorm2d, tuple[Tensor, ...]], None]:
        def hook(layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
            self._distances[index] = statistics_distance(inputs[0], layer, self.variance_weight)

        return hook

    def loss(self) -> Tensor:
        """Σ_l w_l · distance_l of the latest forward pass, scalar, with w_0 = `first_multiplier` and 1 elsewhere."""
        first, *others = (self._distances[index] for index in range(len(self.layers)))
        return self.first_multiplier * first + sum(others)
