"""The moments of the two-layer network's layers, and distances between them, by hand in float64.

Belongs here: the worked example of committee matching. Does not belong: assertions.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.methods.request import Request
from dd_assets.synthesis.real_statistics import measure
from tests.methods.requests import request
from tests.synthesis.two_layers import FACTS, Weights, images, network, normalised

PATCH = 2
Moments = list[list[np.ndarray]]
"""Of each layer, of each of its moments: BN (mean, var), convolution (mean, var, patch_mean, patch_var), BN."""


def cut(y: np.ndarray) -> np.ndarray:
    """(n, C, 4, 4) to (n, C, 2, 2, 2, 2): rows of patches, pixels within, columns of patches, pixels within."""
    return y.reshape(*y.shape[:2], 2, 2, 2, 2)


def of_batch(x: np.ndarray) -> Moments:
    """What a batch of normalised images (n, 1, 4, 4) gives, biased variances."""
    weights = Weights()
    y = weights.inner(x)
    z = y * weights.kernel.reshape(1, 2, 1, 1)
    patches = cut(y)
    return [
        [x.mean((0, 2, 3)), x.var((0, 2, 3))],
        [
            y.mean((0, 2, 3)),
            y.var((0, 2, 3)),
            patches.mean((0, 1, 3, 5)).ravel(),
            patches.var((0, 1, 3, 5)).ravel(),
        ],
        [z.mean((0, 2, 3)), z.var((0, 2, 3))],
    ]


def of_whole_set(x: np.ndarray) -> Moments:
    """Targets when the real images are one batch: running statistics for batch norm, measured for the convolution."""
    weights = Weights()
    first, last = [np.array([weights.MEAN1]), np.array([weights.VAR1])], [weights.MEAN2, weights.VAR2]
    return [first, of_batch(x)[1], last]


def of_classes(x: np.ndarray, labels: np.ndarray, wanted: np.ndarray) -> Moments:
    """Class targets of a batch with labels `wanted`: means over a class's images of each image's own moments."""
    own = [of_batch(image[None]) for image in x]
    return mean([mean([own[row] for row in np.flatnonzero(labels == label)]) for label in wanted])


def mean(several: list[Moments]) -> Moments:
    """The mean of several networks' moments, entry by entry."""
    return [
        [np.mean([one[layer][moment] for one in several], axis=0) for moment in range(len(several[0][layer]))]
        for layer in range(len(several[0]))
    ]


def scaled(moments: Moments, factor: float) -> Moments:
    """Every number times `factor`."""
    return [[value * factor for value in layer] for layer in moments]


def distance(value: Moments, target: Moments, first: float = 10.0) -> float:
    """Σ_l w_l Σ_s ‖target - value‖₂, w = `first` on the first layer, 1 elsewhere."""
    layers = [
        sum(np.linalg.norm(b - a) for a, b in zip(*pair, strict=True)) for pair in zip(value, target, strict=True)
    ]
    return float(first * layers[0] + sum(layers[1:]))


def statistics(real: ImageArrays | None = None) -> dict[str, np.ndarray]:
    """The network's measured statistics of the example images, all in one batch, unmoved."""
    real = real or images()
    return measure(
        network(),
        real.images,
        real.labels,
        normalisation=FACTS.normalisation,
        classes=2,
        patch=PATCH,
        batch=len(real),
        pad_crop=0,
        hflip=False,
        seed=0,
        device="cpu",
    )


def committee_request(parameters: object, ipc: int, start: np.ndarray | None = None, **changes: object) -> Request:
    """A request with a committee of two equal members, "one" and "two", and optionally images to start from."""
    given = request(parameters, ipc, facts=FACTS, train=images, **changes)
    return dataclasses.replace(
        given,
        committee=lambda: {"one": network(), "two": network()},
        statistics=lambda name: statistics(),
        **({} if start is None else {"initial": lambda: start}),
    )


def real() -> np.ndarray:
    """The example images as float64 network input (12, 1, 4, 4)."""
    return normalised(images().images)
