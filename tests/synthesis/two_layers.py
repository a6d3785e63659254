"""A network of two batch norm layers, and its loss by hand in float64.

Belongs here: the worked example that recovery methods are checked on. Does not belong: assertions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.methods.contract import Facts

EPS = 1e-5
FACTS = Facts(
    setting="tiny",
    classes=("a", "b"),
    train_counts=(6, 6),
    size=4,
    channels=1,
    normalisation=Normalisation(mean=(0.5,), std=(0.25,)),
    hflip=False,
)


@dataclass
class Weights:
    """BN (one channel), 1x1 convolution to two channels, BN, mean over pixels: every parameter, float64."""

    gamma1: np.ndarray = field(default_factory=lambda: np.array([1.2]))
    beta1: np.ndarray = field(default_factory=lambda: np.array([0.1]))
    kernel: np.ndarray = field(default_factory=lambda: np.array([2.0, -1.0]))
    gamma2: np.ndarray = field(default_factory=lambda: np.array([0.9, 1.1]))
    beta2: np.ndarray = field(default_factory=lambda: np.array([-0.2, 0.3]))

    MEAN1, VAR1 = 0.3, 2.0
    MEAN2, VAR2 = np.array([0.5, -0.5]), np.array([3.0, 0.25])

    def inner(self, x: np.ndarray) -> np.ndarray:
        """The first BN's output for normalised images (n, 1, 4, 4)."""
        return self.gamma1 * (x - self.MEAN1) / np.sqrt(self.VAR1 + EPS) + self.beta1

    def standardised(self, x: np.ndarray) -> np.ndarray:
        """What the second BN scales and shifts, averaged over pixels: (n, 2)."""
        level = self.inner(x).mean(axis=(1, 2, 3))[:, None]
        return (self.kernel * level - self.MEAN2) / np.sqrt(self.VAR2 + EPS)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        logits = self.gamma2 * self.standardised(x) + self.beta2
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def ce(self, x: np.ndarray, labels: np.ndarray) -> float:
        return float(-np.log(self.probabilities(x)[np.arange(len(x)), labels]).mean())

    def bn(self, x: np.ndarray, r_var: float = 1.0) -> float:
        """10 · first layer + second layer, biased variances, r_var on them alone."""
        y = self.inner(x)
        first = r_var * abs(self.VAR1 - x.var()) + abs(self.MEAN1 - x.mean())
        second_var = np.linalg.norm(self.VAR2 - self.kernel**2 * y.var())
        return float(10 * first + r_var * second_var + np.linalg.norm(self.MEAN2 - self.kernel * y.mean()))

    def gradients(self, x: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """∂CE / ∂parameter by the chain rule; every path goes through the mean level of an image."""
        off = (self.probabilities(x) - np.eye(2)[labels]) / len(x)
        raw = ((x - self.MEAN1) / np.sqrt(self.VAR1 + EPS)).mean(axis=(1, 2, 3))
        level, slope = self.gamma1 * raw + self.beta1, self.gamma2 / np.sqrt(self.VAR2 + EPS)
        back = off @ (slope * self.kernel)
        return {
            "gamma1": np.array([back @ raw]),
            "beta1": np.array([back.sum()]),
            "kernel": slope * (off.T @ level),
            "gamma2": (off * self.standardised(x)).sum(axis=0),
            "beta2": off.sum(axis=0),
        }


def network() -> nn.Module:
    """The network with `Weights()`, in evaluation mode, frozen."""
    weights = Weights()
    model = nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    with torch.no_grad():
        model[0].running_mean.fill_(weights.MEAN1)
        model[0].running_var.fill_(weights.VAR1)
        model[0].weight.copy_(torch.tensor(weights.gamma1))
        model[0].bias.copy_(torch.tensor(weights.beta1))
        model[1].weight.copy_(torch.tensor(weights.kernel).view(2, 1, 1, 1))
        model[2].running_mean.copy_(torch.tensor(weights.MEAN2))
        model[2].running_var.copy_(torch.tensor(weights.VAR2))
        model[2].weight.copy_(torch.tensor(weights.gamma2))
        model[2].bias.copy_(torch.tensor(weights.beta2))
    return model.eval().requires_grad_(False)


def images() -> ImageArrays:
    """Six different 4x4 images of each class, grey levels 60 to 200, far from black and white."""
    levels = (60 + (np.arange(12 * 16) * 37) % 141).astype(np.uint8)
    return ImageArrays(levels.reshape(12, 4, 4, 1), np.repeat(np.arange(2), 6))


def normalised(pixels: np.ndarray) -> np.ndarray:
    """uint8 (n, 4, 4, 1) to float64 (n, 1, 4, 4) network input."""
    return (pixels.astype(np.float64).transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
