"""How far units are that are being computed now, in this process, in its workers or on another machine.

Belongs here: what a computation tells of itself, where that is kept, reading it, saying it in words.
Does not belong: when somebody looks (engine.py), bars (terminal.py), what a step is (the computation says so).

It travels in the unit's lease, whose body is replaced five times a minute in any case: nothing further is written, and
whoever can read the store can ask.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dd_assets.planning.checkpoints import Meter
from dd_assets.planning.unit import Unit
from dd_assets.report.formats import duration
from dd_resources.files import Files
from dd_resources.leases import Lease, Watcher, lease_facts, leased_recipes

SAY_SECONDS = 60.0
"""How often a line says how far a unit is, from that many seconds of it on."""


@dataclass(frozen=True, kw_only=True)
class Underway:
    """A unit that is being computed."""

    recipe: str
    """The recipe's digest."""
    label: str
    step: int = 0
    total: int = 0
    """Steps of the part it is in (epochs, iterations, classes …); 0 until it tells the first time."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Such as loss and accuracy, as of the last step told."""
    seconds: float = 0.0
    """Wall seconds up to that step, those of interrupted attempts that it went on from included."""
    left: float | None = None
    """Wall seconds that the rest of the part takes at the pace until now; None where there is no pace yet."""
    holder: str = ""
    """Host and process, where somebody else was asked."""

    @property
    def said(self) -> list[str]:
        """The figures in words, such as 'test accuracy 0.64'."""
        return [f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.figures.items()]

    def __str__(self) -> str:
        """Such as 'teacher cifar10: 3 of 16, loss 1.03, 14 min so far, about 61 min left'."""
        if not self.total:
            return f"{self.label}: no step told yet"
        times = [f"{duration(self.seconds)} so far"]
        if self.left is not None and self.step < self.total:
            times.append(f"about {duration(self.left)} left")
        return f"{self.label}: {', '.join([f'{self.step} of {self.total}', *self.said, *times])}"


@dataclass
class Report:
    """A Progress that puts what it is told into the unit's lease."""

    unit: Unit
    meter: Meter
    lease: Lease | None = None
    hear: Callable[[Underway], None] | None = None
    """Who in this process is told as well."""
    now: Underway | None = None
    _base: tuple[int, float] | None = None
    """Step and seconds from which the pace counts: the part's beginning, or the first step told after a restart."""

    def __call__(self, step: int, total: int, **figures: float) -> None:
        """Keep the latest; a total or a step that does not follow begins another part."""
        # Computations hand over what they have, such as numpy's numbers, which JSON does not know.
        step, total, figures = int(step), int(total), {name: float(value) for name, value in figures.items()}
        seconds, past = self.meter.spent()[0], self.now
        if past is None:
            self._base = (step, seconds) if self.meter.earlier[0] else (0, 0.0)
        elif total != past.total or step < past.step:
            self._base = (0, past.seconds)
        assert self._base is not None
        steps = step - self._base[0]
        left = (seconds - self._base[1]) / steps * (total - step) if steps > 0 else None
        self.now = Underway(
            recipe=self.unit.digest,
            label=label_of(self.unit),
            step=step,
            total=total,
            figures=figures,
            seconds=seconds,
            left=left,
        )
        if self.lease is not None:
            told = {"step": step, "total": total, "figures": figures, "seconds": seconds, "left": left}
            self.lease.told = {"progress": told}
        if self.hear is not None:
            self.hear(self.now)


@dataclass
class Lines:
    """Of what is told, what deserves a line: once a minute for each unit, from its first minute on."""

    _said: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Recipe to when it last had a line, and the step of it."""

    def line(self, now: Underway) -> str:
        """The line, or '' where none is due, or nothing has changed since the last."""
        moment, last = time.monotonic(), self._said.get(now.recipe)
        further = last is None or (moment >= last[0] + SAY_SECONDS and now.step != last[1] and now.step < now.total)
        if now.seconds < SAY_SECONDS or not further:
            return ""
        self._said[now.recipe] = (moment, now.step)
        return f"computing {now}"


def label_of(unit: Unit) -> str:
    """What a unit is called in lines and bars."""
    return unit.label if unit.name in unit.label else f"{unit.label} ({unit.name})".strip()


def told(files: Files, recipe: str) -> Underway | None:
    """What the holder of a recipe's lease has told last, or None where it has told nothing; raises StoreError."""
    facts = lease_facts(files, recipe)
    return _read(recipe, facts) if "progress" in facts else None


def all_underway(files: Files) -> list[Underway]:
    """Every unit that is being computed in a store, as far as its lease tells; raises StoreError.

    The lease of a process that has ended on this machine counts for nothing; one of another machine is believed.
    """
    watcher, found = Watcher(files), []
    for recipe in leased_recipes(files):
        view = watcher.look(recipe)
        if view.state == "held":
            found.append(_read(recipe, lease_facts(files, recipe), view.holder))
    return found


def _read(recipe: str, facts: Mapping[str, Any], holder: str = "") -> Underway:
    """Leases are files that anything may have written to: what is no number counts as not told."""
    stated = facts.get("progress")
    given = stated if isinstance(stated, dict) else {}
    figures = given.get("figures")
    left = _number(given.get("left"))
    return Underway(
        recipe=recipe,
        label=str(facts.get("label") or recipe[:12])[:200],
        step=int(_number(given.get("step")) or 0),
        total=int(_number(given.get("total")) or 0),
        figures={
            str(name)[:40]: value
            for name, stated in (figures.items() if isinstance(figures, dict) else ())
            if (value := _number(stated)) is not None
        },
        seconds=_number(given.get("seconds")) or 0.0,
        left=left,
        holder=holder,
    )


def _number(stated: Any) -> float | None:
    known = isinstance(stated, int | float) and not isinstance(stated, bool) and abs(stated) < 1e15
    return float(stated) if known and math.isfinite(stated) else None
