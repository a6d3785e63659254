"""Gaussian noise images: the lower reference.

Paper: the starting point of SRe2L and its relatives (Yin et al. 2023), never optimised. Original code: none.
Differs: kept as a method of its own, so that every table shows what labels and protocol give without any images.
Expected: no published number; with hard labels it is chance. Hardware and time: any CPU, milliseconds per image.

Belongs here: this text and the declaration. Does not belong: the computation (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from dd_assets.bounds import NOT_NEGATIVE
from dd_assets.methods.contract import Method, Needs, Recipe


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The noise's spread in normalised space."""

    sigma: float = 1.0


def _recipe() -> Recipe:
    return Recipe(
        parameters=Parameters(),
        source="initial images of SRe2L/recover/data_synthesis.py: N(0, 1) in normalised space",
        expected="chance with hard labels",
        cost="any CPU, milliseconds per image",
    )


METHOD = Method(
    name="noise",
    title="Noise",
    family="baseline",
    paper="none; the initialisation of SRe2L, NeurIPS 2023, arXiv 2306.13092",
    code="none",
    differs="Nothing is optimised; the clamp to valid pixels and the 8-bit truncation are the project's usual ones.",
    fidelity="text",
    summary=(
        "Images of independent Gaussian noise, the lower reference of every table. "
        "Pixels are trunc(255 · clamp(mean + std · sigma · ε, 0, 1)) with ε ~ N(0, 1)."
    ),
    version=1,
    draws=3,
    per_index=True,
    needs=Needs(),
    recipes={
        name: _recipe()
        for name in (
            "digits",
            "mnist",
            "fashion_mnist",
            "cifar10",
            "cifar100",
            "tiny_imagenet",
            "imagenette",
            "imagewoof",
            "imagenet1k",
            "default",
        )
    },
    synthesis="dd_assets.methods.noise.synthesis:synthesise",
    ranges={"sigma": NOT_NEGATIVE},
)
