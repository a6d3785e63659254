"""What would have to be computed, without computing it.

Belongs here: the status of asset partitions against the store. Does not belong: launching anything (sync.py), Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dd_assets.datasets.registry import settings
from dd_assets.methods.registry import method
from dd_assets.planning.engine import Engine, MissingUnits
from dd_assets.planning.graph import Cell, Stage, stages
from dd_assets.planning.unit import Reference, Unit
from dd_assets.units import dataset

Target = tuple[str, str]
"""(asset, partition key)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One asset partition's status: fresh, missing, stale, pending (below something not fresh) or blocked."""

    asset: str
    partition: str
    status: str
    reason: str
    units_missing: int = 0


@dataclass
class Planner:
    """Resolves targets against a store; `found` keeps the references of what is complete."""

    engine: Engine
    namespace: str
    found: dict[Target, Reference] = field(default_factory=dict)
    rows: dict[Target, Row] = field(default_factory=dict)

    def visit(self, target: Target) -> Row:
        """The row of a target; its inputs are visited first, each target once."""
        if target in self.rows:
            return self.rows[target]
        asset, partition = target
        stage, cell = stages()[asset], Cell.of(partition)
        inputs: dict[str, Reference] = {}
        waiting = []
        for name in stage.inputs:
            upstream = input_target(name, cell)
            if self.visit(upstream).status == "fresh" or upstream in self.found:
                inputs[name] = self.found[upstream]
            else:
                waiting.append(upstream)
        row = self._row(stage, cell, inputs, waiting)
        self.rows[target] = row
        return row

    def forget(self, targets: Iterable[Target]) -> None:
        """Drop rows so that the next visit looks again, after something was computed."""
        for target in targets:
            self.rows.pop(target, None)
            self.found.pop(target, None)

    def _row(self, stage: Stage, cell: Cell, inputs: Mapping[str, Reference], waiting: Sequence[Target]) -> Row:
        def row(status: str, reason: str, missing: Sequence[Unit] = ()) -> Row:
            return Row(
                asset=stage.asset,
                partition=cell.partition,
                status=status,
                reason=reason,
                units_missing=len(missing),
            )

        blocked = self.blocked_reason(stage, cell)
        if blocked:
            return row("blocked", blocked)
        previous = self.engine.store.read_reference(self.namespace, stage.asset, cell.partition)
        if waiting:
            names = ", ".join(f"{asset} [{partition}]" for asset, partition in waiting)
            return row("pending" if previous else "missing", f"waits for {names}")
        try:
            reference = stage.resolve(cell, inputs, self.engine)
        except MissingUnits as missing:
            if previous is None:
                return row("missing", f"{len(missing.units)} units not in the store", missing.units)
            return row("stale", f"{len(missing.units)} units have another recipe or are gone", missing.units)
        self.found[(stage.asset, cell.partition)] = reference
        if previous is None or previous.content != reference.content or previous.recipe != reference.recipe:
            return row("missing" if previous is None else "stale", "complete in the store, not yet adopted")
        return row("fresh", "")

    def blocked_reason(self, stage: Stage, cell: Cell) -> str:
        """Why a cell can never apply, or ''; method limits are known once the dataset is in the store."""
        if stage.space == "dataset":
            return ""
        student = stage.tags.get("dd/student")
        if student and student not in cell.setting.students:
            return f"{cell.setting.name} does not score {student}"
        source = self.found.get(("dataset", cell.setting.name))
        manifest = self.engine.store.lookup(source.units["dataset"]) if source else None
        if manifest is None:
            return ""
        chosen = method(stage.tags["dd/method"])
        parameters = chosen.recipe_for(cell.setting.data).parameters
        return chosen.refuse(parameters, dataset.facts(cell.setting, manifest), cell.ipc) or ""


def all_targets() -> list[Target]:
    """Every asset partition of the graph, upstream before downstream."""
    targets = []
    for stage in stages().values():
        for entry in settings().values():
            keys = [entry.name] if stage.space == "dataset" else [f"{entry.name}|{ipc}" for ipc in entry.ipc]
            targets += [(stage.asset, key) for key in keys]
    return targets


def with_upstream(targets: Iterable[Target]) -> list[Target]:
    """The targets and all they read, upstream before downstream, each once."""
    ordered: dict[Target, None] = {}

    def add(target: Target) -> None:
        asset, partition = target
        for name in stages()[asset].inputs:
            add(input_target(name, Cell.of(partition)))
        ordered[target] = None

    for target in targets:
        add(target)
    return list(ordered)


def input_target(asset: str, cell: Cell) -> Target:
    """The partition of an input that a cell reads: the same cell, or its setting."""
    return asset, cell.setting.name if stages()[asset].space == "dataset" else cell.partition
