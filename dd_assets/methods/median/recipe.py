"""Median coreset: real images that the teacher finds neither easy nor hard.

Paper: the initialisation of DELT (Shen et al., CVPR 2025, arXiv 2411.19946) by itself. Original code: VILA-Lab/DELT
f2f81ca, data_selection.py, criterion "medium".
Differs: probabilities are compared in float64, where float32 ties at 1; the setting's images and the teacher's own
normalisation. A shard is the whole set, though images are nested in IPC, because the teacher's pass over the training
images is all of the cost.
Expected: no published value under RD3's protocol. Hardware and time: one teacher pass over the training images.

Belongs here: this text and the declaration. Does not belong: the choice (synthesis/selection.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from dd_assets.methods.contract import Method, Needs, Recipe
from dd_assets.methods.random import recipe as random


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The median has nothing to choose."""


_RECIPE = Recipe(
    parameters=Parameters(),
    source="DELT data_selection.py, criterion medium; no parameters",
    cost="one teacher pass over the training images",
)

METHOD = Method(
    name="median",
    title="Median",
    family="selection",
    paper="Shen et al.: DELT (its initialisation). CVPR 2025, arXiv 2411.19946",
    code="VILA-Lab/DELT f2f81ca",
    differs="Float64 ranking; the teacher's own normalisation and the setting's images.",
    fidelity="code",
    summary=(
        "The training images of a class are ranked by the teacher's probability p(y | x) and taken from the middle "
        "outwards: ranks m, m + 1, m - 1, m + 2, … with m = ceil(n / 2)."
    ),
    version=1,
    draws=1,
    per_index=False,
    needs=Needs(teacher=True, real_images=True),
    recipes={"default": _RECIPE},
    synthesis="dd_assets.methods.median.synthesis:synthesise",
    refuse=random.refuse,
)
