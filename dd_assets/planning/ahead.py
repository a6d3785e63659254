"""Computing what several assets want side by side, before their Dagster runs ask for it.

Belongs here: which units are ready, in which order they begin, until nothing is left. Does not belong: the runs that
then find them (sync.py), what a unit is.

A run resolves one asset at a time, so that a generator's training leaves all but one core idle. What a run would have
computed is computed here in worker processes, and counts as computed by the step that first asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from dd_assets.planning.engine import AHEAD, Engine
from dd_assets.planning.memory import SHARE, memory_each
from dd_assets.planning.plan import Planner, Target
from dd_assets.planning.unit import Unit
from dd_assets.units.kinds import kind_of

LONGEST = ("generator", "fine_tuned_generator", "surrogate", "teacher")
"""Kinds that begin first, so that no core waits at the end for one of them."""


def worthwhile(engine: Engine) -> bool:
    """Whether there is more than one worker process on this machine to compute with."""
    return engine.compute.request is None and engine.compute.resolved_workers() > 1


def compute_ahead(planner: Planner, engine: Engine, targets: Sequence[Target]) -> None:
    """Compute the units of `targets` and what of them becomes ready by that, until the rest waits for other assets.

    Targets with a unit that may not fit into memory beside others are left to their own runs, which refuse what does
    not fit alone either. Raises what a unit raises; what was computed until then stays.
    """
    done: set[str] = set()
    while True:
        for target in targets:
            planner.visit(target)
        wanted = [planner.missing.get(target, ()) for target in targets]
        room = SHARE * memory_each(engine.compute, engine.compute.resolved_workers())
        fitting = [some for some in wanted if all(planner.engine.peaks.get(unit.digest, 0) <= room for unit in some)]
        units = {unit.digest: unit for some in fitting for unit in some}
        if units.keys() <= done:
            return
        done.update(units)
        for part in _parts(engine, list(units.values())):
            before = len(engine.tally.computed)
            try:
                engine.run(part)
            finally:
                # What was made beside a unit that failed counts for its own step too.
                AHEAD.update(unit.digest for unit in engine.tally.computed[before:])
        planner.forget(targets)


def _parts(engine: Engine, units: Sequence[Unit]) -> list[list[Unit]]:
    """What runs alone, one by one, and then all the rest together."""
    alone = [unit for unit in units if engine.compute.runs_alone(kind_of(unit.name).exclusive)]
    together = [unit for unit in units if unit not in alone]
    return [*([unit] for unit in alone), *([sorted(together, key=_start)] if together else [])]


def _start(unit: Unit) -> tuple[int, int]:
    """Sorts what takes long to the front: by kind, then by the recipe's epochs or iterations."""
    kind = LONGEST.index(unit.name) if unit.name in LONGEST else len(LONGEST)
    return kind, -int(unit.parameters.get("epochs") or unit.parameters.get("iterations") or 0)
