"""Herding: real images whose mean feature follows the class mean.

Paper: Welling, "Herding Dynamical Weights to Learn", ICML 2009; greedy form of Rebuffi et al., "iCaRL", CVPR 2017,
arXiv 1611.07725. Original code: none read; written from the formula.
Differs: features are the one teacher's, not scaled to unit length (iCaRL scales them). A shard is the whole set,
though images are nested in IPC, because the teacher's pass over the training images is nearly all of the cost.
Expected: no published value under RD3's protocol. Hardware and time: one teacher pass over the training images.

Belongs here: this text and the declaration. Does not belong: the walk (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from dd_assets.methods.contract import Method, Needs, Recipe
from dd_assets.methods.random import recipe as random


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Herding has nothing to choose."""


_RECIPE = Recipe(
    parameters=Parameters(),
    source="no parameters",
    cost="one teacher pass over the training images",
)

METHOD = Method(
    name="herding",
    title="Herding",
    family="selection",
    paper="Welling: Herding Dynamical Weights to Learn. ICML 2009; Rebuffi et al.: iCaRL. CVPR 2017, arXiv 1611.07725",
    code="none",
    differs="Features of the one teacher, not scaled to unit length.",
    fidelity="text",
    summary=(
        "Images are taken one by one so that the mean teacher feature of those taken stays next to the class mean μ: "
        "x_k = argmin_x ‖μ - (φ(x) + Σ_{j<k} φ(x_j)) / k‖, none twice."
    ),
    version=1,
    draws=1,
    per_index=False,
    needs=Needs(teacher=True, real_images=True),
    recipes={"default": _RECIPE},
    synthesis="dd_assets.methods.herding.synthesis:synthesise",
    refuse=random.refuse,
)
