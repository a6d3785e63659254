"""Look up, else compute and commit: the one place where a unit turns into a manifest.

Belongs here: reuse, commit, the work area, counting what was computed. Does not belong: what units exist
(dd_assets/units) or which asset asks for them (dd_assets/assets).
"""

from __future__ import annotations

import importlib
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dd_assets.planning.unit import Manifest, Product, Unit
from dd_resources.compute import Compute, environment
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore

LISTENERS: list[Callable[[str, int, int], None]] = []
"""Called in this process with (label, units done, units to do) as units finish; the terminal's bars listen here."""


class MissingUnits(Exception):
    """Raised by an engine that only looks: these units are not in the store."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = list(units)
        super().__init__(f"{len(self.units)} units to compute, first {self.units[0].name}")


@dataclass
class Work:
    """What a unit's computation may use."""

    store: ArtefactStore
    raw: RawData
    device: str
    unit: Unit

    def input(self, name: str) -> Manifest:
        """The manifest of a declared input; raises VerdictError if its blocking verdict failed."""
        manifest = self.store.lookup(self.unit.sources[name])
        assert manifest is not None, f"input {name} of {self.unit.name} was planned but is not in the store"
        manifest.require_usable()
        return manifest

    def input_bytes(self, name: str, payload: str) -> bytes:
        """A payload of a declared input, verified."""
        return self.store.read(self.input(name), payload)

    @property
    def checkpoints(self) -> StoreCheckpoints:
        """This unit's private resumable state."""
        return StoreCheckpoints(self.store, self.unit.digest)


@dataclass
class StoreCheckpoints:
    """Resumable state under work/<recipe>/, as safetensors; removed after commit."""

    store: ArtefactStore
    digest: str

    @property
    def _path(self) -> str:
        return f"work/{self.digest}/checkpoint.safetensors"

    def load(self) -> dict[str, np.ndarray] | None:
        """The latest checkpoint, or None; a damaged one counts as none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.store.read_or_none(self._path)
        try:
            return None if data is None else load(data)
        except SafetensorError:
            return None

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the checkpoint."""
        from safetensors.numpy import save

        # ascontiguousarray alone would turn scalars into vectors of one element.
        arrays = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in state.items()}
        self.store.replace(self._path, save(arrays))

    def clear(self) -> None:
        """Remove the work area of this unit."""
        self.store.remove(f"work/{self.digest}")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A unit with what it takes to compute it in any process."""

    unit: Unit
    store: ArtefactStore
    raw: RawData
    device: str


def execute(task: Task) -> tuple[Manifest, bool]:
    """Compute and commit one unit unless somebody already did; returns (manifest, whether it was computed here)."""
    store, unit = task.store, task.unit
    found = store.lookup(unit.digest)
    if found is not None:
        return found, False
    from dd_assets.units.kinds import kind_of

    module, function = kind_of(unit.name).compute.split(":")
    compute: Callable[[Unit, Work], Product] = getattr(importlib.import_module(module), function)
    work = Work(store=store, raw=task.raw, device=task.device, unit=unit)
    started, cpu_started = time.perf_counter(), time.process_time()
    product = compute(unit, work)
    manifest = store.commit(
        unit,
        product,
        {
            "seconds": round(time.perf_counter() - started, 3),
            "cpu_seconds": round(time.process_time() - cpu_started, 3),
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "device": task.device,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": os.uname().nodename,
            **environment(),
        },
    )
    work.checkpoints.clear()
    return manifest, True


@dataclass
class Tally:
    """What an engine did: recipe digests computed and reused, in order of first use."""

    computed: list[Unit] = field(default_factory=list)
    reused: list[Unit] = field(default_factory=list)


@dataclass
class Engine:
    """Runs units against a store. With `look_only` it computes nothing and raises MissingUnits instead."""

    store: ArtefactStore
    raw: RawData
    compute: Compute = field(default_factory=Compute)
    look_only: bool = False
    announce: Callable[[str], None] = lambda line: None
    tally: Tally = field(default_factory=Tally)

    def run(self, units: Sequence[Unit]) -> list[Manifest]:
        """The manifests of these units, in order; missing ones are computed (equal recipes once)."""
        found = {unit.digest: self.store.lookup(unit.digest) for unit in units}
        missing = [unit for digest, unit in {u.digest: u for u in units}.items() if found[digest] is None]
        self.tally.reused += [unit for unit in units if found[unit.digest] is not None]
        if missing and self.look_only:
            raise MissingUnits(missing)
        if missing:
            found.update(self._compute(missing))
        return [manifest for unit in units if (manifest := found[unit.digest]) is not None]

    def _compute(self, missing: Sequence[Unit]) -> dict[str, Manifest]:
        from dd_assets.units.kinds import kind_of

        exclusive = kind_of(missing[0].name).exclusive
        device = self.compute.resolved_device()
        tasks = [Task(unit=unit, store=self.store, raw=self.raw, device=device) for unit in missing]
        done: dict[str, Manifest] = {}
        for position, (manifest, computed) in self.compute.map(execute, tasks, exclusive=exclusive):
            unit = missing[position]
            (self.tally.computed if computed else self.tally.reused).append(unit)
            done[unit.digest] = manifest
            for listener in LISTENERS:
                listener(unit.label or unit.name, len(done), len(missing))
            self.announce(
                f"{unit.label or unit.name}: {unit.name} {len(done)}/{len(missing)} in {manifest.seconds:.1f} s"
            )
        return done
