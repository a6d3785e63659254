"""EL2N: real images with the smallest or largest error of the teacher.

Paper: Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet", NeurIPS 2021, arXiv 2107.07075. Original code: none
read; written from definition 2.2.
Differs: the norm is that of the one trained teacher, where the paper averages ten networks after a few epochs; choices
are per class. By default the smallest norms are kept: the paper keeps the largest when it prunes a part of a large
set, but with few images per class the easy ones serve better (Sorscher et al. 2022, arXiv 2206.14486). A shard is the
whole set, though images are nested in IPC, because the teacher's pass is all of the cost.
Expected: no published value under RD3's protocol. Hardware and time: one teacher pass over the training images.

Belongs here: this text and the declaration. Does not belong: the norm (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dd_assets.methods.contract import Method, Needs, Recipe
from dd_assets.methods.random import recipe as random


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Which end of the ranking to keep."""

    keep: Literal["smallest", "largest"] = "smallest"


_RECIPE = Recipe(
    parameters=Parameters(),
    source="own: smallest, after Sorscher et al. 2022 for few images per class",
    cost="one teacher pass over the training images",
)

METHOD = Method(
    name="el2n",
    title="EL2N",
    family="selection",
    paper="Paul, Ganguli, Dziugaite: Deep Learning on a Data Diet. NeurIPS 2021, arXiv 2107.07075",
    code="none",
    differs="One trained teacher instead of ten young ones; per class; smallest norms by default.",
    fidelity="text",
    summary=(
        "The training images of a class are ranked by the length of the teacher's error vector "
        "‖softmax f(x) - e_y‖₂; the smallest (or largest) IPC of them are kept."
    ),
    version=1,
    draws=1,
    per_index=False,
    needs=Needs(teacher=True, real_images=True),
    recipes={"default": _RECIPE},
    synthesis="dd_assets.methods.el2n.synthesis:synthesise",
    refuse=random.refuse,
)
