"""Nearest mean.

Paper: (authors, title, venue). Original code: (repository and commit).
Differs: (what is not as in the paper, and why). Expected: (published figures). Hardware and time: (of one image set).

Belongs here: this text and the declaration; imports nothing heavy. Does not belong: the computation (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from dd_assets.methods.contract import Facts, Method, Needs, Recipe


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What can be chosen; every field is part of the recipe, so another value is another result."""

    candidates: int = 3
    """Real images that are looked at for each one that is kept."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """Why this cell cannot apply, or None; asked before anything is computed."""
    if parameters.candidates < 1:
        return f"candidates={parameters.candidates} must be at least 1"
    fewest = min(facts.train_counts)
    return f"its smallest class has {fewest} images, IPC is {ipc}" if fewest < ipc else None


METHOD = Method(
    name="nearest_mean",
    title="Nearest mean",
    family="selection",
    paper="none: an example",
    code="none",
    differs="Nothing.",
    fidelity="text",
    summary="Of some random images of each class, the ones nearest to the class's mean image are kept.",
    version=1,
    draws=3,
    per_index=False,
    needs=Needs(real_images=True),
    recipes={"default": Recipe(parameters=Parameters(), source="own: an example")},
    synthesis="dd_assets_nearest_mean.synthesis:synthesise",
    refuse=refuse,
)
