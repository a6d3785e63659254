"""What the terminal shows while and after working.

Belongs here: rich tables and bars. Does not belong: deciding anything.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from dd_assets.planning import engine
from dd_assets.planning.plan import Target
from dd_assets.planning.underway import Lines, Underway
from dd_assets.planning.unit import Unit
from dd_assets.report.formats import duration

BAR_SECONDS = 10.0
"""A unit has a bar of its own from then on."""


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[str], None]]:
    """Bars for what is computed; yields a function that prints a line above them.

    A unit that takes long has a bar of its own on a terminal, and a line a minute elsewhere, as in a log file.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    with _own_output() as output, Progress(*columns, transient=True, console=Console(file=output)) as bars:
        shown = _Bars(bars)
        engine.LISTENERS.append(shown)

        try:
            yield shown.say
        finally:
            engine.LISTENERS.remove(shown)


@contextlib.contextmanager
def _own_output() -> Iterator[IO[str]]:
    """Standard output as it is now: while a step runs, Dagster points the descriptor itself at the step's log."""
    try:
        descriptor = os.dup(sys.stdout.fileno())
    except (OSError, ValueError):
        # Not a file, as in tests.
        yield sys.stdout
        return
    with open(descriptor, "w", encoding=sys.stdout.encoding, errors="replace") as output:
        yield output


class _Bars:
    """A bar for the units asked for together, and one below it for each that is long enough to tell how far it is."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.whole = bars.add_task("starting", total=None, told="")
        self.parts: dict[str, TaskID] = {}
        self.lines = Lines()

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self.bars.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def finished(self, unit: Unit, done: int, total: int) -> None:
        """The whole is one further; the unit's own bar goes."""
        self.bars.update(self.whole, description=unit.label or unit.name, completed=done, total=total)
        part = self.parts.pop(unit.digest, None)
        if part is not None:
            self.bars.remove_task(part)

    def underway(self, now: Underway) -> None:
        """The unit's own bar, from its tenth second on; or a line where one is due."""
        if not self.bars.console.is_terminal:
            line = self.lines.line(now)
            if line:
                self.say(line)
            return
        if now.recipe not in self.parts:
            if now.seconds < BAR_SECONDS:
                return
            self.parts[now.recipe] = self.bars.add_task(now.label, total=None, told="")
        told = [*now.said, *([] if now.left is None else [f"about {duration(now.left)} left"])]
        self.bars.update(self.parts[now.recipe], completed=now.step, total=now.total, told=", ".join(told))


def leaderboard_table(rows: Sequence[Mapping[str, Any]], origin: Mapping[Target, str]) -> None:
    """A rich table per dataset, IPC, label mode and student; accuracy in percent, mean ± deviation over trainings."""
    # A leaderboard cut off at the terminal's edge is of no use: give it the width it needs when piped.
    console = Console(width=None if Console().is_terminal else 180)

    def group(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["dataset"], row["ipc"], row["label"], row["student"]

    shown = [_cells(row, origin) for row in rows]
    # The same columns for all groups, so that figures stand below one another.
    unsaid = {name for name in SPARE if all(cells.get(name, "–") == "–" for cells in shown)}
    columns = [name for name in (shown[0] if shown else ()) if name not in unsaid]
    columns = fitting(columns, [[cells[name] for name in columns] for cells in shown], SPARE, console.width)
    widths = {name: max(len(name), *(len(cells[name]) for cells in shown)) for name in columns}
    for key, part in itertools.groupby(zip(rows, shown, strict=True), lambda pair: group(pair[0])):
        dataset, ipc, label, student = key
        table = Table(title=f"{dataset}, IPC {ipc}, {label} labels, {student}", title_justify="left")
        for name in columns:
            justify = "left" if name in ("#", "method", "origin") else "right"
            table.add_column(name, justify=justify, no_wrap=True, min_width=widths[name])  # type: ignore[arg-type]
        for _, cells in part:
            table.add_row(*(cells[name] for name in columns))
        console.print(table)


SPARE = ("agree %", "RD3 %", "labels", "images", "seeds", "draws", "training s", "origin", "best %", "synthesis s")
"""Columns of the leaderboard that a narrow terminal does without, the first one first."""


def _cells(row: Mapping[str, Any], origin: Mapping[Target, str]) -> dict[str, str]:
    spread, spread_of_best = (
        "" if row[name] is None else f" ± {100 * row[name]:.1f}" for name in ("accuracy_std", "best_std")
    )
    asset = (f"{row['method']}/score_{row['student']}", f"{row['dataset']}|{row['ipc']}")
    cells = {
        "#": str(row["rank"] or "–"),
        "method": f"{row['method']} ({row['apart']})" if row["apart"] else row["method"],
        "accuracy %": f"{100 * row['accuracy_mean']:.1f}{spread}",
        "best %": f"{100 * row['best_mean']:.1f}{spread_of_best}",
        "agree %": "–" if row["label_agreement"] is None else f"{100 * row['label_agreement']:.1f}",
        "RD3 %": "–" if row["published"] is None else f"{100 * row['published']:.1f}",
        "draws": str(row["draws"]),
        "seeds": str(row["seeds"]),
        "synthesis s": f"{row['synthesis_seconds']:.1f}",
        "training s": f"{row['training_seconds']:.1f}",
        "images": _bytes(row["image_bytes"]),
        "labels": _bytes(row["label_bytes"]),
    }
    return {**cells, "origin": origin.get(asset, "–")} if origin else cells


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], width: int, longest: int = 40
) -> list[str]:
    """The columns that a terminal of `width` characters shows without cutting a cell of up to `longest` of them.

    What does not fit costs columns of `spare`, the first one first. rows: cells as shown, in the order of `columns`.
    """
    kept = list(columns)
    needed = {
        name: 3 + min(longest, max(len(name), *(len(row[place]) for row in rows)) if rows else len(name))
        for place, name in enumerate(columns)
    }
    for name in spare:
        if sum(needed[kept_name] for kept_name in kept) + 1 <= width:
            break
        if name in kept:
            kept.remove(name)
    return kept


def _bytes(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000  # type: ignore[assignment]
    return f"{count:.1f} GB"
