"""What would have to be computed, without computing it.

Belongs here: the status of asset partitions against the store. Does not belong: launching anything (sync.py), Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dd_assets.datasets.registry import settings
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.registry import GENERATORS
from dd_assets.errors import REFUSALS, DDError, InputError, UnknownNameError
from dd_assets.methods.contract import Facts, Method
from dd_assets.methods.registry import method
from dd_assets.planning.cells import STUDIES, declared_parameters
from dd_assets.planning.checkpoints import area_of, checkpoint_path, seconds_held
from dd_assets.planning.committees import NEED_COMMITTEE, without_committee
from dd_assets.planning.engine import Engine, MissingFiles, MissingUnits
from dd_assets.planning.explain import explain
from dd_assets.planning.generation import misfit, samples_of
from dd_assets.planning.generation_cost import peak_of, sampling_seconds
from dd_assets.planning.generators import (
    CENTROIDS,
    GENERATOR_ASSETS,
    REFERENCE_LATENTS,
    generator_asset,
    without_centroids,
    without_generator,
)
from dd_assets.planning.graph import Cell, Stage, stage, stages
from dd_assets.planning.influence import INFLUENCE
from dd_assets.planning.scoring import scored_draws
from dd_assets.planning.unit import Manifest, Reference, Unit, require_usable
from dd_assets.report.formats import duration
from dd_assets.units import dataset
from dd_assets.units.surrogate import without_surrogate
from dd_resources.files import Entry

Target = tuple[str, str]
"""(asset, partition key)."""
STATUSES = ("fresh", "missing", "stale", "pending", "blocked", "refused")
READS = "reads "
"""What the reason of a cell begins with that is blocked for what it reads."""
MARKED = "it is marked as made with overridden parameters; results of the declared recipe are in the store already"
UNMADE = ("missing", "stale", "pending")
"""What a sync would compute."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One asset partition's status.

    fresh, missing, stale, pending (below something not fresh), blocked (it, or something it reads, can never apply) or
    refused (its inputs or what was made of them may not be used, or it waits for such).
    """

    asset: str
    partition: str
    status: str
    reason: str
    seconds_estimate: float | None = None
    """CPU-process seconds of the units to compute, from what the same kind cost before or, of images to be generated,
    from what the generator's samples cost, less what their checkpoints took; None if nothing is known."""
    bytes_estimate: int | None = None
    memory_estimate: int | None = None
    """Bytes at the peak of a synthesis (planning/memory.py, generation_cost.py); None for other stages and finished
    partitions."""


@dataclass
class Planner:
    """Resolves targets against a store; `found` keeps the references of what is complete."""

    engine: Engine
    namespace: str
    found: dict[Target, Reference] = field(default_factory=dict)
    rows: dict[Target, Row] = field(default_factory=dict)
    missing: dict[Target, Sequence[Unit]] = field(default_factory=dict)
    """Units to compute of targets whose inputs are complete, as far as they can be known before the first is there."""
    refusals: dict[Target, DDError] = field(default_factory=dict)
    """Why targets are refused; of one that waits for another, that one's error."""
    _costs: dict[str, tuple[float, float] | None] = field(default_factory=dict)

    def visit(self, target: Target) -> Row:
        """The row of a target; its inputs are visited first, each target once."""
        if target in self.rows:
            return self.rows[target]
        asset, partition = target
        stage, cell = stages()[asset], Cell.of(partition)
        inputs: dict[str, Reference] = {}
        waiting: list[Target] = []
        for name in stage.reads(cell):
            upstream = input_target(name, cell)
            row = self.visit(upstream)
            if row.status == "fresh" or upstream in self.found:
                inputs[name] = self.found[upstream]
            elif row.status != "blocked" or name not in stage.optional:
                waiting.append(upstream)
        try:
            row = self._row(stage, cell, inputs, waiting)
        except REFUSALS as error:
            return self.refuse(target, error)
        self.rows[target] = row
        return row

    def refuse(self, target: Target, error: DDError) -> Row:
        """Note that a target may not be used, or cannot be made, until it is forgotten; its row."""
        self.refusals[target] = error
        self.rows[target] = Row(asset=target[0], partition=target[1], status="refused", reason=str(error))
        return self.rows[target]

    def forget(self, targets: Iterable[Target]) -> None:
        """Drop rows so that the next visit looks again, after something was computed."""
        for target in targets:
            self.rows.pop(target, None)
            self.found.pop(target, None)
            self.missing.pop(target, None)
            self.refusals.pop(target, None)

    def _row(self, stage: Stage, cell: Cell, inputs: Mapping[str, Reference], waiting: Sequence[Target]) -> Row:
        def row(status: str, reason: str, cost: tuple[float, float] | None = None) -> Row:
            return Row(
                asset=stage.asset,
                partition=cell.partition,
                status=status,
                reason=reason,
                seconds_estimate=round(cost[0], 1) if cost else None,
                bytes_estimate=round(cost[1]) if cost else None,
                memory_estimate=self._memory(stage, cell) if status in UNMADE else None,
            )

        blocked = {target: self.rows[target].reason for target in waiting if self.rows[target].status == "blocked"}
        reason = self.blocked_reason(stage, cell) or _through(blocked)
        if reason:
            return row("blocked", reason)
        stage.examine(cell, self.engine.raw)
        refused = [target for target in waiting if target in self.refusals]
        if refused:
            self.refusals[(stage.asset, cell.partition)] = self.refusals[refused[0]]
            return row("refused", f"waits for {_named(refused)}, refused")
        previous = self.engine.store.read_reference(self.namespace, stage.asset, cell.partition)
        if waiting:
            return row("pending" if previous else "missing", f"waits for {_named(waiting)}", self._cost(stage, cell))
        try:
            reference = stage.resolve(cell, inputs, self.engine)
        except MissingFiles as missing:
            return row("pending" if previous else "missing", str(missing), self._cost(stage, cell))
        except MissingUnits as missing:
            self.missing[(stage.asset, cell.partition)] = missing.units
            held = self._held(missing.units)
            cost = self._cost(stage, cell, missing.share)
            left = cost and (max(cost[0] - held, 0.0), cost[1])
            begun = f", of which checkpoints hold {duration(held)}" if held else ""
            if previous is None:
                return row("missing", f"units to compute: {len(missing.units)}{begun}", left)
            return row("stale", self._why(stage, cell, previous, missing.units) + begun, left)
        # Found all the same: of several units what is below may use the others.
        self.found[(stage.asset, cell.partition)] = reference
        require_usable(
            manifest for digest in reference.units.values() if (manifest := self.engine.store.lookup(digest))
        )
        if previous is None:
            return row("missing", "complete in the store, not yet adopted", (0.0, 0.0))
        if previous.content != reference.content or previous.recipe != reference.recipe:
            return row("stale", "another recipe; its results are in the store already", (0.0, 0.0))
        if previous.declared != reference.declared:
            return row("stale", MARKED, (0.0, 0.0))
        return row("fresh", "", (0.0, 0.0))

    @cached_property
    def _checkpoints(self) -> Mapping[str, Entry]:
        """By path, as they were at the first look."""
        return {entry.path: entry for entry in self.engine.store.entries("work")}

    def _held(self, units: Sequence[Unit]) -> float:
        """Wall seconds of these units that need not be computed again."""
        paths = {checkpoint_path(area_of(unit.recipe)) for unit in units}
        files = [self._checkpoints[path] for path in paths if path in self._checkpoints]
        return sum(seconds_held(self.engine.store, file) for file in files)

    def _why(self, stage: Stage, cell: Cell, previous: Reference, missing: Sequence[Unit]) -> str:
        """What changed, from the recipes behind the old reference to the first unit that is missing."""
        lines = explain(self.engine.store, self._recipes_behind(previous), missing[0])
        if not previous.declared:
            lines = ["it was made with overridden parameters", *lines]
        verb = "is" if len(missing) == 1 else "are"
        return "; ".join(lines) or f"{len(missing)} of its units {verb} gone from the store"

    def _recipes_behind(self, reference: Reference) -> list[str]:
        """The reference's units and, one step below, what those were made from (shards of an image set)."""
        recipes = list(reference.units.values())
        manifests = [manifest for digest in recipes if (manifest := self.engine.store.lookup(digest)) is not None]
        return recipes + [source for manifest in manifests for source in manifest.sources.values()]

    def _cost(self, stage: Stage, cell: Cell, share: float = 1.0) -> tuple[float, float] | None:
        """(seconds, bytes) of that share of a partition, per image of the IPC as its other partitions cost, or None."""
        if stage.asset not in self._costs:
            self._costs[stage.asset] = self._mean_cost(stage)
        per_index = self._costs[stage.asset]
        if per_index is None:
            whole = self._sampling_cost(stage, cell)
        else:
            whole = (per_index[0] * max(cell.ipc, 1), per_index[1] * max(cell.ipc, 1))
        return (whole[0] * share, whole[1] * share) if whole else None

    def _mean_cost(self, stage: Stage) -> tuple[float, float] | None:
        seconds, size, indices = 0.0, 0.0, 0
        for entry in settings().values():
            for key in partitions_of(stage, entry):
                reference = self.engine.store.read_reference(self.namespace, stage.asset, key)
                for digest in reference.units.values() if reference else ():
                    manifest = self.engine.store.lookup(digest)
                    if manifest is not None:
                        seconds += manifest.seconds + manifest.measurements.get("synthesis_seconds", 0.0)
                        size += manifest.total_bytes
                indices += max(Cell.of(key).ipc, 1) if reference else 0
        return (seconds / indices, size / indices) if indices else None

    def _memory(self, stage: Stage, cell: Cell) -> int | None:
        """Bytes at the peak of one shard of images, once the dataset is known."""
        described = self._facts(cell)
        if described is None or not stage.unit_kind.startswith("images/"):
            return None
        chosen = method(stage.tags["dd/method"])
        parameters = declared_parameters(chosen, cell.setting)
        samples = self._samples(chosen, parameters, cell)
        return peak_of(chosen, parameters, described, cell.ipc, cell.setting, samples).total

    def _samples(self, chosen: Method, parameters: Any, cell: Cell) -> Manifest | None:
        """What its generator's samples tell of a generation method's cost."""
        name = chosen.generator_of(parameters)
        asset = generator_asset(name)
        known = self.engine.store.read_reference(self.namespace, asset, cell.setting.name) if name else None
        return samples_of(chosen, parameters, {asset: known} if known else {}, self.engine)

    def _sampling_cost(self, stage: Stage, cell: Cell) -> tuple[float, float] | None:
        """(seconds, bytes) of images that no cell has been generated of, from the generator's samples."""
        described = self._facts(cell)
        if described is None or not stage.unit_kind.startswith("images/"):
            return None
        chosen = method(stage.tags["dd/method"])
        parameters = declared_parameters(chosen, cell.setting)
        samples = self._samples(chosen, parameters, cell)
        draws = scored_draws(chosen, cell.setting)
        seconds = sampling_seconds(chosen, parameters, described, cell.ipc, samples, draws)
        if samples is None or seconds is None:
            return None
        images = draws * cell.ipc * len(described.classes)
        return seconds, samples.total_bytes / samples.summary["rows"] * images

    def _facts(self, cell: Cell) -> Facts | None:
        """What the stored dataset says of itself; None before it is there."""
        source = self.found.get(("dataset", cell.setting.name))
        manifest = self.engine.store.lookup(source.units["dataset"]) if source else None
        return dataset.facts(cell.setting, manifest) if manifest else None

    def blocked_reasons(self, targets: Sequence[Target]) -> dict[Target, str]:
        """Why each target can never apply, or ''; targets: upstream before downstream, with all that they read."""
        reasons: dict[Target, str] = {}
        for target in targets:
            asset, partition = target
            stage, cell = stages()[asset], Cell.of(partition)
            read = [input_target(name, cell) for name in stage.reads(cell) if name not in stage.optional]
            blocked = {upstream: reasons[upstream] for upstream in read if reasons[upstream]}
            reasons[target] = self.blocked_reason(stage, cell) or _through(blocked)
        return reasons

    def blocked_reason(self, stage: Stage, cell: Cell) -> str:
        """Why a cell can never apply of itself, or ''; method limits are known once the dataset is in the store."""
        if stage.space == "dataset":
            return self._without_asset(stage, cell)
        if stage.group == STUDIES:
            return stage.blocked(cell)
        student = stage.tags.get("dd/student")
        if student and student not in cell.setting.students:
            return f"{cell.setting.name} does not score {student}"
        described = self._facts(cell)
        if stage.asset in (CENTROIDS, REFERENCE_LATENTS):
            return without_centroids(cell, described.train_counts if described else ())
        if described is None:
            return ""
        chosen = method(stage.tags["dd/method"])
        parameters = declared_parameters(chosen, cell.setting)
        reason = chosen.reason_against(parameters, described, cell.ipc)
        sampled = chosen.generator_of(parameters)
        if not reason and sampled in GENERATORS:
            reason = without_generator(cell.setting, sampled)
        return reason or misfit(chosen, parameters, cell.setting, self.engine.raw)

    @staticmethod
    def _without_asset(stage: Stage, cell: Cell) -> str:
        if stage.asset in GENERATOR_ASSETS:
            return without_generator(cell.setting, stage.asset.removeprefix("generator_"))
        if stage.asset == INFLUENCE:
            return without_surrogate(cell.setting)
        return without_committee(cell.setting) if stage.asset in NEED_COMMITTEE else stage.blocked(cell)


def _through(blocked: Mapping[Target, str]) -> str:
    """Why what reads these blocked inputs is blocked too, named by the one that is so of itself; '' without any."""
    for (asset, _), reason in blocked.items():
        return reason if reason.startswith(READS) else f"{READS}{asset}: {reason}"
    return ""


def _named(targets: Iterable[Target]) -> str:
    return ", ".join(f"{asset} [{partition}]" for asset, partition in targets)


def target_of(asset: str, partition: str) -> Target:
    """The asset partition of that name; raises UnknownNameError for an unknown part, InputError if both do not fit."""
    below = [name for name in stages() if name.startswith(f"{asset}/")]
    if asset not in stages() and below:
        raise UnknownNameError(f"unknown asset {asset!r}", f"its assets are {', '.join(below)}")
    space, chosen = stage(asset).space, Cell.of(partition).setting
    if (space == "dataset") == ("|" in partition):
        like = chosen.name if space == "dataset" else f"{chosen.name}|{chosen.ipc[0]}"
        raise InputError(f"{asset} has no partition {partition!r}", f"its partitions are like '{like}'")
    return asset, partition


def partitions_of(stage: Stage, entry: Setting) -> list[str]:
    """A stage's partition keys within one setting."""
    return [entry.name] if stage.space == "dataset" else [f"{entry.name}|{ipc}" for ipc in entry.ipc]


def all_targets(with_studies: bool = False) -> list[Target]:
    """Every asset partition of the graph, upstream before downstream; studies, which are large, only if asked for."""
    return [
        (stage.asset, key)
        for stage in stages().values()
        if with_studies or stage.group != STUDIES
        for entry in settings().values()
        for key in partitions_of(stage, entry)
    ]


def with_upstream(targets: Iterable[Target]) -> list[Target]:
    """The targets and all they read, upstream before downstream, each once."""
    ordered: dict[Target, None] = {}

    def add(target: Target) -> None:
        asset, partition = target
        cell = Cell.of(partition)
        for name in stages()[asset].reads(cell):
            add(input_target(name, cell))
        ordered[target] = None

    for target in targets:
        add(target)
    return list(ordered)


def input_target(asset: str, cell: Cell) -> Target:
    """The partition of an input that a cell reads: the same cell, or its setting."""
    return asset, cell.setting.name if stages()[asset].space == "dataset" else cell.partition
