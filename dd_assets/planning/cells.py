"""Cells and stages: what an asset and one of its partitions are, before anybody says which there are.

Belongs here: the two types and what every stage's `resolve` needs. Does not belong: the stages (graph.py,
committees.py), Dagster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dd_assets.datasets.registry import setting, settings
from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.methods.contract import Method, with_overrides
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Manifest, Reference, Unit
from dd_resources.raw_data import RawData

Space = Literal["dataset", "grid"]
STUDIES = "studies"
"""The group of the studies' assets, and the first part of their keys."""
OTHERWISE = re.compile(r"(\w+)[^\w|]+(\d+)")
"""A dataset and an IPC, joined by something else than '|'."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One asset partition to resolve."""

    setting: Setting
    ipc: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def partition(self) -> str:
        """Dagster's partition key in the cell's space."""
        return f"{self.setting.name}|{self.ipc}" if self.ipc else self.setting.name

    @classmethod
    def of(cls, partition: str, overrides: Mapping[str, Any] | None = None) -> Cell:
        """The cell of a partition key such as 'digits' or 'digits|10'; raises UnknownNameError or InputError."""
        name, bar, ipc = partition.partition("|")
        otherwise = OTHERWISE.fullmatch(partition)
        # A setting may itself be called like a dataset and a number.
        if partition not in settings() and otherwise is not None and otherwise[1] in settings():
            raise UnknownNameError(
                f"unknown partition {partition!r}", f"write it as '{otherwise[1]}|{otherwise[2]}', in quotes"
            )
        chosen = setting(name)
        # Compared as text: int() takes digits of other scripts and leading zeros, and fails at superscripts.
        if bar and ipc not in map(str, chosen.ipc):
            raise InputError(f"{name} has no IPC {ipc[:40]!r}", f"its IPC values are {list(chosen.ipc)}")
        return cls(setting=chosen, ipc=int(ipc or 0), overrides=dict(overrides or {}))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One asset: its key, its space, what it reads and how a cell becomes units."""

    asset: str
    space: Space
    inputs: tuple[str, ...]
    resolve: Callable[[Cell, Mapping[str, Reference], Engine], Reference]
    unit_kind: str
    """The kind whose version is the asset's code version."""
    checks: tuple[tuple[str, bool, str], ...]
    """(verdict name, blocking, description), shown as asset checks."""
    description: str
    group: str
    kinds: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    takes_parameters: bool = False
    """Whether a launch may override parameters of it: where its units have a recipe of their own."""
    skippable: tuple[str, ...] = ()
    """Inputs that some cells do without, such as the generators that their recipes do not name."""
    unread: Callable[[Cell], frozenset[str]] = lambda cell: frozenset()
    """Those of `skippable` that a cell does without."""
    optional: tuple[str, ...] = ()
    """Those of `skippable` that a cell which reads them can do without where they are blocked: a study scores the
    other methods."""
    blocked: Callable[[Cell], str] = lambda cell: ""
    """Why a cell can never apply, or '', as far as its setting tells."""
    examine: Callable[[Cell, RawData], None] = lambda cell, raw: None
    """Raises InputError where files from elsewhere, such as a generator's weights, are not there: asked before anything
    that the cell reads is computed."""

    def reads(self, cell: Cell) -> tuple[str, ...]:
        """The inputs of one cell."""
        left_out = self.unread(cell)
        return tuple(name for name in self.inputs if name not in left_out)


def declared_parameters(method: Method, chosen: Setting, overrides: Mapping[str, Any] | None = None) -> Any:
    """A method's parameters in a setting: its recipe, then the setting's own values, then a launch's overrides.

    A variant follows what the setting states for its base, but for what makes it a variant.
    Raises UnknownNameError or InputError for a parameter that does not exist or has another type.
    """
    recipe = method.recipe_for(chosen.data).parameters
    of_base = chosen.recipes.get(method.variant_of, {})
    own = {name: value for name, value in of_base.items() if name not in method.changes}
    own |= chosen.recipes.get(method.name, {})
    stated = with_overrides(recipe, own, f"{method.name} in setting {chosen.name}")
    return with_overrides(stated, overrides or {}, method.name)


def starts_of(method: Method) -> list[str]:
    """Every method whose images some recipe or enabled setting starts this one from, sorted: edges of the graph."""
    stated = {method.images_of(declared_parameters(method, entry)) for entry in settings().values()}
    return sorted({*method.starts(), *(name for name in stated if name)})


def reference_of(
    asset: str, cell: Cell, manifests: Mapping[str, Manifest], inputs: Mapping[str, Reference]
) -> Reference:
    """The reference of a resolved cell; not declared if the cell or any input was overridden."""
    return Reference(
        asset=asset,
        partition=cell.partition,
        units={key: manifest.recipe_digest for key, manifest in manifests.items()},
        contents={key: manifest.content for key, manifest in manifests.items()},
        declared=not cell.overrides and all(reference.declared for reference in inputs.values()),
    )


def usable(engine: Engine, reference: Reference, key: str) -> Manifest:
    """A unit of an input reference; raises VerdictError if it may not be used."""
    manifest = engine.store.lookup(reference.units[key])
    if manifest is None:
        raise InputError(
            f"{reference.asset} [{reference.partition}]: its unit {key} is not in store {engine.store.root}",
            "materialize that asset again",
        )
    manifest.require_usable()
    return manifest


def run_named(units: Mapping[str, Unit], engine: Engine) -> dict[str, Manifest]:
    """The manifests of these units under the same names; missing ones are computed."""
    return dict(zip(units, engine.run(list(units.values())), strict=True))
