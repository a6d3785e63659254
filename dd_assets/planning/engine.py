"""Look up, else compute and commit: the one place where a unit turns into a manifest.

Belongs here: reuse, waiting for whoever computes a unit already, commit, the work area, counting what was computed.
Does not belong: what units exist (dd_assets/units), which asset asks for them (dd_assets/assets), how a lease or a
device lock works (dd_resources).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dd_assets.errors import DDError, InputError, StoreError
from dd_assets.planning.checkpoints import Meter, StoreCheckpoints, area_of
from dd_assets.planning.underway import Lines, Report, Underway, label_of, told
from dd_assets.planning.unit import Manifest, Product, Unit
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent
from dd_resources.cluster import LOOK_SECONDS
from dd_resources.compute import Compute, environment, peak_memory
from dd_resources.device_locks import claim
from dd_resources.leases import DEFAULT_SECONDS, Lease, View, Watcher, acquire, leased_recipes
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore


class Listener(Protocol):
    """Who wants to know what this process's engines do; the terminal's bars."""

    def finished(self, unit: Unit, done: int, total: int) -> None:
        """A unit is in the store, `done` of `total` that were asked for together."""

    def underway(self, now: Underway) -> None:
        """How far a unit is that this process or another one computes."""


LISTENERS: list[Listener] = []

AHEAD: set[str] = set()
"""Recipe digests of units that this process computed before a step asked for them (ahead.py)."""

FIRST_POLL, LONGEST_POLL = 0.1, 2.0
"""Seconds between two looks at units that another process computes; each pause is half as long again."""

TAKEOVERS = 5
"""How often a run takes a unit over from a holder that was lost; one that is lost more often loses its holders."""

_SPEAKERS: list[Callable[[str], None]] = []
"""Where a task in this process says that it waits; in worker processes nobody listens and a log line has to do."""
_HEARERS: list[Callable[[Underway], None]] = []
"""Where a task in this process tells how far it is; what goes on in worker processes is read from their leases."""


class MissingUnits(Exception):
    """Raised by an engine that only looks: these units are not in the store."""

    def __init__(self, units: Sequence[Unit], asked: int) -> None:
        self.units = list(units)
        self.share = len(self.units) / asked
        """Of the `asked` units that belong together, the part that is not there."""
        super().__init__(f"{len(self.units)} units to compute, first {self.units[0].name}")


class MissingFiles(Exception):
    """Raised where files must be fetched before it is known which units there are; only a computing engine does."""


@dataclass
class Work:
    """What a unit's computation may use."""

    store: ArtefactStore
    raw: RawData
    device: str
    unit: Unit
    resumable: bool = True
    """False: start from the beginning and leave no trace."""
    meter: Meter = field(default_factory=Meter)
    progress: Progress = silent
    """Where the computation tells how far it is."""

    def input(self, name: str) -> Manifest:
        """The manifest of a declared input; raises VerdictError if its blocking verdict failed.

        Raises InputError where it is not what was planned: it may have been discarded or computed anew since then, and
        the result would be stored under a recipe that names another content.
        """
        source, planned = self.unit.sources[name], self.unit.inputs[name]
        manifest = self.store.lookup(source)
        if manifest is None or manifest.content != planned:
            state = "is no longer in the store" if manifest is None else f"is now {manifest.content[:12]}"
            raise InputError(
                f"{self.unit.label or self.unit.name}: its input {name} (recipe {source[:12]}, content {planned[:12]})"
                f" {state}",
                "run the same command again, which plans with what is there",
            )
        manifest.require_usable()
        return manifest

    def input_bytes(self, name: str, payload: str) -> bytes:
        """A payload of a declared input, verified."""
        return self.store.read(self.input(name), payload)

    @property
    def checkpoints(self) -> Checkpoints:
        """This unit's private resumable state."""
        return (
            StoreCheckpoints(self.store, area_of(self.unit.recipe), self.meter) if self.resumable else NoCheckpoints()
        )


@dataclass(frozen=True, kw_only=True)
class Task:
    """A unit with what it takes to compute it in any process."""

    unit: Unit
    store: ArtefactStore
    raw: RawData
    device: str
    leases: bool = True
    """False computes without asking who else does: more work at worst, never another result."""
    lease_seconds: float = DEFAULT_SECONDS
    claims: bool = True
    """Whether it takes its device by a lock; a cluster hands devices out itself."""
    dead_lease: int = 0
    """The unit's newest lease if it was found dead: this task may take over from it."""


def execute(task: Task) -> tuple[Manifest, bool] | None:
    """Compute and commit one unit unless somebody already did; returns (manifest, whether it was computed here).

    None means that somebody else holds the unit's lease and it is not in the store yet.
    """
    found = _intact(task)
    if found is not None:
        return found, False
    if not task.leases:
        return _compute_and_commit(task), True
    # Sources and work area are what gc must keep while this unit, which has no manifest yet, is being computed.
    facts = {
        "label": label_of(task.unit),
        "sources": sorted(task.unit.sources.values()),
        "area": area_of(task.unit.recipe),
    }
    lease = acquire(task.store, task.unit.digest, dead=task.dead_lease, facts=facts, seconds=task.lease_seconds)
    if lease is None:
        return None
    with lease:
        # Whoever held the lease until now may have committed after the look above.
        found = _intact(task)
        return (found, False) if found is not None else (_compute_and_commit(task, lease), True)


def _intact(task: Task) -> Manifest | None:
    """The manifest of a committed unit that still has its files."""
    found = task.store.lookup(task.unit.digest)
    return None if found is None or task.store.lost(found) else found


def _compute_and_commit(task: Task, lease: Lease | None = None) -> Manifest:
    past = task.store.lookup(task.unit.digest)
    if past is not None and task.store.lost(past):
        # Its manifest names files that are gone, and would win over the one that is about to be published.
        task.store.discard(past)
    with claim(task.device, _say) if task.claims else contextlib.nullcontext(task.device) as device:
        meter = Meter()
        progress = Report(task.unit, meter, lease, _hear)
        work = Work(store=task.store, raw=task.raw, device=device, unit=task.unit, meter=meter, progress=progress)
        product = compute_product(work)
        seconds, cpu_seconds = meter.spent()
    manifest = task.store.commit(
        task.unit,
        product,
        {
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "peak_rss_bytes": peak_memory(),
            "device": device,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": os.uname().nodename,
            **environment(),
        },
    )
    area = area_of(task.unit.recipe)
    refused = any(verdict.blocking and not verdict.passed for verdict in product.verdicts)
    if area == task.unit.digest or not refused:
        StoreCheckpoints(task.store, area).clear()
    return manifest


def compute_product(work: Work) -> Product:
    """Run the code of the unit's kind; nothing is looked up or committed."""
    from dd_assets.units.kinds import kind_of

    module, function = kind_of(work.unit.name).compute.split(":")
    compute: Callable[[Unit, Work], Product] = getattr(importlib.import_module(module), function)
    return compute(work.unit, work)


def _say(line: str) -> None:
    for speak in _SPEAKERS:
        speak(line)
    if not _SPEAKERS:
        logging.getLogger(__name__).warning(line)


def _hear(now: Underway) -> None:
    for hear in _HEARERS:
        hear(now)


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
    leases: bool = True
    lease_seconds: float = DEFAULT_SECONDS
    peaks: dict[str, int] = field(default_factory=dict)
    """Bytes that a unit takes at its peak, by recipe digest, as far as looking found units that are weighed."""
    _listed: set[str] | None = None
    """Payloads that were there when a looking engine first asked."""
    _lines: Lines = field(default_factory=Lines)

    def run(self, units: Sequence[Unit]) -> list[Manifest]:
        """The manifests of these units, in order; missing ones are computed (equal recipes once)."""
        found = {unit.digest: self._stored(unit.digest) for unit in units}
        missing = [unit for digest, unit in {u.digest: u for u in units}.items() if found[digest] is None]
        for unit in units:
            if found[unit.digest] is not None:
                self._count_stored(unit)
        if missing and self.look_only:
            raise MissingUnits(missing, len(found))
        if missing:
            found.update(self._compute(missing))
        return [manifest for unit in units if (manifest := found[unit.digest]) is not None]

    def _count_stored(self, unit: Unit) -> None:
        """As reused, or as computed where that was done for the step that asks first."""
        ahead = unit.digest in AHEAD and not self.look_only
        (self.tally.computed if ahead else self.tally.reused).append(unit)
        if ahead:
            AHEAD.remove(unit.digest)

    def _stored(self, digest: str) -> Manifest | None:
        """The manifest of a committed unit, or None too if a file it names is gone."""
        if self.look_only and self._listed is None:
            # One listing instead of a look per file: a plan asks for every unit there is.
            self._listed = {path.rsplit("/", 1)[-1] for path in self.store.list("payloads")}
        found = self.store.lookup(digest)
        return None if found is None or self.store.lost(found, self._listed or ()) else found

    def _compute(self, missing: Sequence[Unit]) -> dict[str, Manifest]:
        """Compute what nobody else computes, then wait for the rest, taking over what its holder has given up."""
        done: dict[str, Manifest] = {}
        watcher, told = Watcher(self.store, self.lease_seconds), set[str]()
        ready, dead, taken = list(missing), dict[str, int](), Counter[str]()
        while ready:
            # Closed at once when something is raised here, so that no worker computes on for nobody.
            with contextlib.closing(self._attempt(ready, dead)) as outcomes:
                for unit, outcome in outcomes:
                    if outcome is not None:
                        self._finish(unit, outcome, done, len(missing))
            waiting = [unit for unit in missing if unit.digest not in done]
            ready, dead = self._wait(waiting, watcher, told) if waiting else ([], {})
            taken.update(dead.keys())
            _refuse_what_kills(ready, taken)
        return done

    def _attempt(
        self, units: Sequence[Unit], dead: Mapping[str, int]
    ) -> Generator[tuple[Unit, tuple[Manifest, bool] | None], None, None]:
        from dd_assets.units.kinds import kind_of

        device = self.compute.resolved_device()
        tasks = [
            Task(
                unit=unit,
                store=self.store,
                raw=self.raw,
                device=device,
                leases=self.leases,
                lease_seconds=self.lease_seconds,
                claims=self.compute.request is None,
                dead_lease=dead.get(unit.digest, 0),
            )
            for unit in units
        ]
        _SPEAKERS.append(self.announce)
        _HEARERS.append(self._hear)
        with contextlib.ExitStack() as stack:
            stack.callback(_SPEAKERS.remove, self.announce)
            stack.callback(_HEARERS.remove, self._hear)
            exclusive = kind_of(units[0].name).exclusive
            computing = self.compute.map(execute, tasks, exclusive, lambda: self._look(units))
            for position, outcome in stack.enter_context(contextlib.closing(computing)):
                yield units[position], outcome

    def _look(self, units: Sequence[Unit]) -> None:
        """See how far those of the units are that somebody computes."""
        with contextlib.suppress(StoreError):
            # It is only for show; a store that is away is the computations' own affair.
            leased = set(leased_recipes(self.store))
            for unit in units:
                now = told(self.store, unit.digest) if unit.digest in leased else None
                if now is not None:
                    self._hear(now)

    def _hear(self, now: Underway) -> None:
        """Pass it on, and say it where a line is due."""
        for listener in LISTENERS:
            listener.underway(now)
        line = self._lines.line(now)
        if line:
            self.announce(line)

    def _finish(self, unit: Unit, outcome: tuple[Manifest, bool], done: dict[str, Manifest], total: int) -> None:
        manifest, computed = outcome
        (self.tally.computed if computed else self.tally.reused).append(unit)
        done[unit.digest] = manifest
        for listener in LISTENERS:
            listener.finished(unit, len(done), total)
        word = f"in {manifest.seconds:.1f} s" if computed else "found in the store"
        self.announce(f"{unit.label or unit.name}: {unit.name} {len(done)}/{total} {word}")

    def _wait(self, units: Sequence[Unit], watcher: Watcher, told: set[str]) -> tuple[list[Unit], dict[str, int]]:
        """Return once units are committed or may be taken: those units, and the leases found dead by recipe digest."""
        pause, looked = FIRST_POLL, time.monotonic()
        while True:
            views = {unit.digest: watcher.look(unit.digest) for unit in units}
            self._tell(units, views, told)
            ready = [unit for unit in units if views[unit.digest].state != "held" or self._stored(unit.digest)]
            if ready:
                return ready, {digest: view.number for digest, view in views.items() if view.state == "dead"}
            if time.monotonic() >= looked + LOOK_SECONDS:
                self._look(units)
                looked = time.monotonic()
            time.sleep(min(pause, self.lease_seconds / 2))
            pause = min(pause * 1.5, LONGEST_POLL)

    def _tell(self, units: Sequence[Unit], views: Mapping[str, View], told: set[str]) -> None:
        """Say once per unit who computes it, in one line for all that are new."""
        new = [unit for unit in units if views[unit.digest].state == "held" and unit.digest not in told]
        if new:
            told.update(unit.digest for unit in new)
            more = f" and {len(new) - 1} more" if len(new) > 1 else ""
            self.announce(
                f"waiting for {new[0].label or new[0].name}{more}: being computed by {views[new[0].digest].holder}"
            )
        for unit in units:
            view = views[unit.digest]
            if view.state == "dead":
                self.announce(f"taking over {unit.label or unit.name}: {view.holder} has given no sign of life")


def _refuse_what_kills(units: Sequence[Unit], taken: Mapping[str, int]) -> None:
    for unit in units:
        if taken.get(unit.digest, 0) > TAKEOVERS:
            raise DDError(
                f"{unit.label or unit.name} was lost {TAKEOVERS + 1} times, with the process that computed it",
                "give it more memory (DD_STEP_MEMORY_GB on a cluster), or see the system's log for what ends it",
            )
