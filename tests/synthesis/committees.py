"""Small committees: networks of the worked example with other weights, and one without batch norm.

Belongs here: what tests of several teachers run and compute by hand. Does not belong: assertions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from dd_assets.methods.request import Request, SyntheticImages
from tests.methods.requests import request
from tests.synthesis.two_layers import FACTS, Weights, images, network, normalised

WEIGHTS = {
    "a": Weights(),
    "b": Weights(kernel=np.array([0.5, 1.5]), beta2=np.array([0.7, -0.4])),
    "c": Weights(kernel=np.array([-1.0, 3.0]), gamma2=np.array([0.4, 0.8])),
    "d": Weights(gamma1=np.array([0.6]), beta1=np.array([-0.5])),
    "e": Weights(gamma1=np.array([2.0]), kernel=np.array([1.0, 1.5])),
}
FLAT_KERNEL = np.array([0.6, -0.3])


def member(name: str) -> nn.Module:
    """The worked example's network with `WEIGHTS[name]`; "flat" is a convolution and a mean, without batch norm."""
    if name == "flat":
        flat = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        with torch.no_grad():
            flat[0].weight.copy_(torch.tensor(FLAT_KERNEL).view(2, 1, 1, 1))
        return flat.eval().requires_grad_(False)
    weights, model = WEIGHTS[name], network()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(weights.gamma1))
        model[0].bias.copy_(torch.tensor(weights.beta1))
        model[1].weight.copy_(torch.tensor(weights.kernel).view(2, 1, 1, 1))
        model[2].weight.copy_(torch.tensor(weights.gamma2))
        model[2].bias.copy_(torch.tensor(weights.beta2))
    return model


def committee(*names: str) -> dict[str, nn.Module]:
    """Fresh members by name, in this order."""
    return {name: member(name) for name in names}


def ce(name: str, x: np.ndarray, labels: np.ndarray) -> float:
    """A member's cross-entropy by hand, x normalised (n, 1, 4, 4)."""
    if name != "flat":
        return WEIGHTS[name].ce(x, labels)
    logits = FLAT_KERNEL * x.mean(axis=(1, 2, 3))[:, None]
    return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(x)), labels]).mean())


def bn(name: str, x: np.ndarray) -> float:
    """A member's BN distance by hand; 0 for the one that has none."""
    return 0.0 if name == "flat" else WEIGHTS[name].bn(x)


def tiny(parameters: Any, ipc: int, members: Mapping[str, nn.Module], **changes: Any) -> Request:
    """A request on six 4x4 images per class with this committee; further fields of Request by name."""
    for_request = {name: changes.pop(name) for name in ("first", "last", "seed", "checkpoints") if name in changes}
    base = request(parameters, ipc, facts=FACTS, train=images, teacher=network, **for_request)
    first, last = base.first, base.last
    given: dict[str, Any] = {
        "committee": lambda: dict(members),
        "priors": lambda: dict.fromkeys(members, 50.0),
        "initial": lambda: initial(ipc)[2 * first : 2 * last],
        **changes,
    }
    for name, value in given.items():
        setattr(base, name, value)
    return base


def initial(ipc: int) -> np.ndarray:
    """Images to start from, uint8 (2 · ipc, 4, 4, 1), all different."""
    levels = (50 + (np.arange(2 * ipc * 16) * 29) % 151).astype(np.uint8)
    return levels.reshape(2 * ipc, 4, 4, 1)


def beginning_of(result: SyntheticImages, rows: slice = slice(None)) -> np.ndarray:
    """A result's images as network input, float64."""
    return normalised(result.images[rows])


class Calls:
    """Which members ran, in order, by forward hooks that stay."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        self.names: list[str] = []
        for name, model in members.items():
            model.register_forward_hook(self._noting(name))

    def _noting(self, name: str) -> Callable[..., None]:
        def note(*_: object) -> None:
            self.names.append(name)

        return note
