"""From a candidate of a sweep to units: images, labels, students, on the validation part or once on the test split.

Belongs here: resolving what a candidate reads, its trial, references that keep its results. Does not belong: which
candidates there are (dd_assets/sweeps), Dagster.

The units are those that assets ask for: a candidate with a recipe's own parameters is that recipe's score, found or to
be found. References go to a namespace of their own, so that no leaderboard shows a validation score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dd_assets.datasets.registry import setting
from dd_assets.datasets.setting import TUNE, Setting
from dd_assets.errors import REFUSALS, InputError
from dd_assets.evaluation.protocol import LabelMode
from dd_assets.methods.contract import Method, variant, with_overrides
from dd_assets.planning.cells import Cell, declared_parameters, usable
from dd_assets.planning.digests import plain, text_digest
from dd_assets.planning.engine import Engine
from dd_assets.planning.generation import ungenerated
from dd_assets.planning.graph import stages
from dd_assets.planning.image_sets import image_assets, made_sets
from dd_assets.planning.scoring import draws_of, labellers, pairs, protocol_for, trainings
from dd_assets.planning.unit import Manifest, Reference, Unit
from dd_assets.sweeps.halving import Trial
from dd_assets.units import dataset, labels, training

NAMESPACE = "sweeps"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A method with overridden parameters."""

    method: Method
    overrides: Mapping[str, Any]


@dataclass
class Bench:
    """One setting, IPC, student and label mode in which candidates are tried."""

    engine: Engine
    chosen: Setting
    ipc: int
    student: str
    mode: LabelMode
    _inputs: dict[str, Reference] = field(default_factory=dict)

    def attempt(self, candidate: Candidate, students: int) -> Trial | str:
        """The trial of that many students; the reason where the cell cannot apply or is refused."""
        cell = Cell(setting=self.chosen, ipc=self.ipc)
        method = candidate.method
        stated = declared_parameters(method, self.chosen)
        parameters = with_overrides(stated, candidate.overrides, method.name)
        try:
            facts = dataset.facts(self.chosen, usable(self.engine, self._resolved("dataset", cell), "dataset"))
            reason = method.reason_against(parameters, facts, self.ipc)
            if reason:
                return reason
            sets = self._images(cell, method, parameters, facts, min(students, draws_of(method, self.chosen)))
            made = self._students(cell, method, sets, students)
        except REFUSALS as error:
            return str(error)
        self._keep(candidate, {**sets, **made})
        chosen = [manifest for key, manifest in made.items() if key.startswith("training")]
        # Of the device and not the wall's, so that what else the machine does takes no candidate out of the race.
        shards = (self.engine.store.lookup(digest) for entry in sets.values() for digest in entry.sources.values())
        seconds = sum(entry.device_seconds for entry in (*made.values(), *shards) if entry)
        return Trial(accuracies=tuple(float(m.summary["accuracy"]) for m in chosen), seconds=seconds)

    def _resolved(self, asset: str, cell: Cell) -> Reference:
        """An asset partition that candidates read, with all it reads itself, computed where it is missing."""
        if asset not in self._inputs:
            stage = stages()[asset]
            wanted = {name: self._resolved(name, cell) for name in stage.reads(cell)}
            at = cell if stage.space == "grid" else Cell(setting=cell.setting)
            self._inputs[asset] = stage.resolve(at, wanted, self.engine)
        return self._inputs[asset]

    def _images(self, cell: Cell, method: Method, parameters: Any, facts: Any, draws: int) -> dict[str, Manifest]:
        changed = _changed(method, parameters, cell.setting)
        own = Cell(setting=cell.setting, ipc=cell.ipc, overrides=changed)
        # The graph's edges are those of declared recipes; a candidate may begin elsewhere or let a teacher choose.
        asked = variant(method, method.name, method.title, method.differs, **changed)
        unread = ungenerated(asked, own)
        start = method.images_of(parameters)
        names = [name for name in image_assets(asked) if name not in unread and not name.endswith("/synthetic_images")]
        names += [f"{start}/synthetic_images"] if start else []
        inputs = {name: self._resolved(name, cell) for name in names}
        return made_sets(method, cell, parameters, facts, inputs, self.engine, draws)

    def _students(self, cell: Cell, method: Method, sets: Mapping[str, Manifest], students: int) -> dict[str, Manifest]:
        protocol = protocol_for(cell, self.student, cell.setting.protocol, self.mode)
        source = usable(self.engine, self._resolved("dataset", cell), "dataset")
        chosen = pairs(method, cell.setting, students)
        given = {seed: {"images": sets[f"draw{draw}"], "dataset": source} for draw, seed in chosen}
        made: dict[str, Manifest] = {}
        where = f"sweep {method.name} {cell.partition}"
        if self.mode == "soft":
            networks = {name.split("/")[0] for name in labels.labeller_inputs(protocol.labelling)}
            behind = labellers(protocol, {name: self._resolved(name, cell) for name in networks}, self.engine)
            tables = [labels.plan(cell.setting, sets[f"draw{d}"], behind, protocol, s, where) for d, s in chosen]
            for (_, seed), table in zip(chosen, self.engine.run(tables), strict=True):
                table.require_usable()
                made[f"labels{seed}"] = given[seed]["labels"] = table
                if protocol.label_storage == "online":
                    given[seed] |= behind
        units: list[Unit] = [
            training.plan(cell.setting, self.student, protocol, seed, given[seed], where) for _, seed in chosen
        ]
        return made | {f"training{seed}": m for (_, seed), m in zip(chosen, self.engine.run(units), strict=True)}

    def _keep(self, candidate: Candidate, manifests: Mapping[str, Manifest]) -> None:
        """A reference, so that `gc` keeps what a sweep found."""
        name = text_digest([candidate.method.name, plain(dict(candidate.overrides)), self.student, self.mode])[:16]
        reference = Reference(
            asset=f"{candidate.method.name}/candidate_{name}",
            partition=f"{self.chosen.name}|{self.ipc}",
            units={key: manifest.recipe_digest for key, manifest in manifests.items()},
            contents={key: manifest.content for key, manifest in manifests.items()},
            declared=False,
        )
        self.engine.store.write_reference(NAMESPACE, reference)


def _changed(method: Method, parameters: Any, chosen: Setting) -> dict[str, Any]:
    """The parameters that differ from those declared in a setting."""
    declared = declared_parameters(method, chosen)
    return {name: value for name, value in vars(parameters).items() if getattr(declared, name) != value}


def validation_of(base: Setting) -> Setting:
    """The setting whose test images are a part of the base's training split; raises InputError for one that is such."""
    if base.tune_of:
        raise InputError(f"{base.name} is a validation setting itself", f"sweep {base.tune_of}")
    return setting(f"{base.name}{TUNE}")


def full_students(method: Method, base: Setting) -> int:
    """Students of a whole cell, as its score asset trains them."""
    return len(trainings(method, base))


def test_once(bench: Bench, candidate: Candidate) -> Trial:
    """The whole cell on all training images, scored on the test split; raises InputError where it cannot apply."""
    found = bench.attempt(candidate, full_students(candidate.method, bench.chosen))
    if isinstance(found, str):
        raise InputError(f"{candidate.method.name} on {bench.chosen.name}|{bench.ipc}: {found}", "choose another IPC")
    return found
