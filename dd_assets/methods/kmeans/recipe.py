"""k-means coreset: the real image next to each cluster centre.

Paper: none of its own; Lloyd 1982, used as a coreset by the comparisons of dataset distillation. Original code: none.
Differs: features are those of the one teacher; the image of the largest cluster comes first.
Expected: no published value under RD3's protocol. Hardware and time: one teacher pass over the training images, then
under a second per class of 5,000 on a CPU core (full k-means, 512 features, estimate).

Belongs here: this text and the declaration. Does not belong: the clustering (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dd_assets.bounds import COUNT
from dd_assets.methods.contract import Facts, Method, Needs, Recipe
from dd_assets.methods.random import recipe as random


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The clustering's settings."""

    algorithm: Literal["full", "minibatch"] = "full"
    """scikit-learn's KMeans, or MiniBatchKMeans for classes too large for it."""
    restarts: int = 3
    """Seeded beginnings, of which the best is kept."""
    iterations: int = 100
    """At most, per beginning (minibatch: passes over the class)."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why a class cannot give `ipc` different images, or None."""
    return random.refuse(random.Parameters(), facts, ipc)


_RECIPE = Recipe(
    parameters=Parameters(),
    source="own: full k-means, three beginnings; not tuned",
    cost="one teacher pass over the training images",
)
_DATA = ("mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet", "imagenette", "imagewoof", "imagenet1k")

METHOD = Method(
    name="kmeans",
    title="k-means",
    family="selection",
    paper="none of its own; Lloyd: Least squares quantization in PCM. IEEE Trans. Inf. Theory 1982",
    code="none",
    differs="Seeded; on the one teacher's penultimate features; one thread, so that sums do not depend on timing.",
    fidelity="text",
    summary=(
        "Each class is clustered into IPC clusters in the teacher's penultimate features φ by k-means, "
        "min Σ_i min_k ‖φ(x_i) - μ_k‖²; the nearest real image stands for each centre, none twice; "
        "column `weight` is the cluster's size."
    ),
    version=2,
    draws=3,
    per_index=False,
    needs=Needs(teacher=True, real_images=True),
    recipes={
        "digits": _RECIPE,
        **dict.fromkeys(_DATA, _RECIPE),
        "default": _RECIPE,
    },
    synthesis="dd_assets.methods.kmeans.synthesis:synthesise",
    ranges={"restarts": COUNT, "iterations": COUNT},
    refuse=refuse,
)
