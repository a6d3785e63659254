"""What several guidances share: figures along the steps, the length of a gradient step.

Belongs here: those two. Does not belong: the guidances (methods/*, repulsion.py), the loop (sampling.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from torch import Tensor

from dd_assets.shapes import Float

Length = Literal["raw", "unit", "noise"]
LENGTHS = ("raw", "unit", "noise")


class Along:
    """Means of one figure by step, over all samples that were added."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._sums: dict[int, tuple[float, int]] = {}

    def add(self, index: int, values: Tensor) -> None:
        """Values of some samples at a step, by its spaced index."""
        total, count = self._sums.get(index, (0.0, 0))
        self._sums[index] = (total + float(values.double().sum()), count + values.numel())

    def curves(self) -> Mapping[str, np.ndarray]:
        """`name`: the means, noisiest step first; `name`_index: the spaced index of each, counted down."""
        indices = sorted(self._sums, reverse=True)
        means = [self._sums[index][0] / self._sums[index][1] for index in indices]
        return {self.name: np.array(means), f"{self.name}_index": np.array(indices, dtype=np.float64)}


def stretched(gradient: Float[Tensor, "n ..."], how: Length, alpha_bar: float) -> Float[Tensor, "n ..."]:
    """The gradient of each sample at the length that `how` gives it.

    raw: as it is. unit: root mean square 1. noise: root mean square sqrt(1 - ᾱ), as much as x_t has of noise. A
    gradient of zero stays zero.
    """
    if how == "raw":
        return gradient
    mean_square = gradient.flatten(1).pow(2).mean(dim=1)
    scale = mean_square.clamp(min=1e-24).rsqrt() * (1.0 if how == "unit" else math.sqrt(1 - alpha_bar))
    return gradient * scale.view(-1, *[1] * (gradient.dim() - 1))
