"""The contract every method signs: what a recipe states, what a synthesis receives and what it returns.

Belongs here: light, typed descriptions; nothing that imports torch, pandas or Dagster.
Does not belong: any one method's numbers (its `recipe.py`) or computation (its `synthesis.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent

Family = Literal["baseline", "selection", "optimisation", "generation"]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a synthesis reads; the asset's dependencies are derived from this."""

    teacher: bool = False
    committee: bool = False
    statistics: bool = False
    real_images: bool = False
    images_of: str | None = None
    """Another method whose image set is the initialisation (an edge in the graph)."""

    def names(self) -> list[str]:
        """The needs that are set, as words for listings."""
        words = [name for name in ("teacher", "committee", "statistics", "real_images") if getattr(self, name)]
        return words + ([f"images of {self.images_of}"] if self.images_of else [])


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a method may know of a dataset setting before any computation."""

    setting: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    size: int
    channels: int
    normalisation: Normalisation
    hflip: bool
    """Whether a mirrored image still belongs to its class (False for digits)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Parameters for one dataset, with where each set of values comes from."""

    parameters: Any
    """A frozen dataclass of JSON-able fields, the method's own type."""
    source: str
    """Paper table, repository path, or 'own: ...' for values found here."""
    expected: str = ""
    """Published or measured accuracy, with its setting."""
    cost: str = ""
    """Hardware and time."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One published method or baseline."""

    name: str
    title: str
    family: Family
    paper: str
    """Citation with arXiv number or venue."""
    code: str
    """Original repository and commit, or 'none'."""
    differs: str
    """What differs here and why."""
    fidelity: Literal["code", "text"]
    """Checked against the original code, or re-derived from text."""
    summary: str
    """Two sentences and the formula, for the asset description."""
    version: int
    """Bumped by hand when the same parameters would give other images."""
    draws: int
    """Synthesis seeds per cell."""
    per_index: bool
    """True if image k of a class does not depend on IPC: shards are then single IPC indices, shared by all IPCs."""
    needs: Needs
    recipes: Mapping[str, Recipe]
    """Dataset (the setting's `data`) to recipe; 'default' is the fallback for any other dataset."""
    synthesis: str
    """'module:function' of type `Synthesis`, imported only when it runs."""
    refuse: Callable[[Any, Facts, int], str | None] = field(default=lambda parameters, facts, ipc: None)
    """(parameters, facts, ipc) to the reason why this cell cannot apply, or None."""

    def recipe_for(self, data: str) -> Recipe:
        """The recipe for a dataset; 'default' where the paper has none for it."""
        return self.recipes.get(data) or self.recipes["default"]

    def shards_by_index(self, parameters: Any) -> bool:
        """Whether shards are single IPC indices under these parameters.

        A parameter type that can change the answer (a batch layout) decides with a `per_index` property of its own.
        """
        return bool(getattr(parameters, "per_index", self.per_index))


@dataclass(kw_only=True)
class Request:
    """One shard of synthesis: IPC indices `first` to `last` - 1 of every class, for one draw."""

    facts: Facts
    parameters: Any
    ipc: int
    first: int
    last: int
    seed: int
    """The draw's seed; every random choice comes from `dd_assets.randomness` keyed by it and named streams."""
    train: Callable[[], ImageArrays]
    """Loads the real training images; call only if `needs.real_images`."""
    teacher: Callable[[], Any]
    """Loads the teacher, a torch Module in eval mode on `device` (input: normalised NCHW float32)."""
    device: str = "cpu"
    progress: Progress = silent
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)


@dataclass(frozen=True, kw_only=True)
class SyntheticImages:
    """What a synthesis returns, rows ordered by (IPC index, class): row = (index - first) * classes + class."""

    images: np.ndarray
    """uint8 (rows, H, W, C)."""
    labels: np.ndarray
    """int64 (rows,)."""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further per-image facts: source_index (int64), crop (int32 (rows, 4): top, left, height, width), score…"""
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Figures over iterations (loss, bn_loss…), float64 (points,); measurements, not part of the content digest."""


Synthesis = Callable[[Request], SyntheticImages]


def with_overrides(parameters: Any, overrides: Mapping[str, Any], owner: str) -> Any:
    """`parameters` with fields replaced; raises UnknownNameError or InputError naming the field."""
    from dd_assets.errors import InputError, UnknownNameError

    known = {item.name: item for item in dataclasses.fields(parameters)}
    for name, value in overrides.items():
        if name not in known:
            raise UnknownNameError.of(f"parameter of {owner}", name, known)
        current = getattr(parameters, name)
        numeric = isinstance(current, (int, float)) and isinstance(value, (int, float))
        same_kind = type(value) is type(current) or (isinstance(current, float) and numeric)
        if isinstance(value, bool) is not isinstance(current, bool) or not same_kind:
            raise InputError(
                f"{owner}: {name}={value!r} is not a {type(current).__name__}", f"give a value like {current!r}"
            )
    return dataclasses.replace(parameters, **overrides)
