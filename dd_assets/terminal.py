"""What the terminal shows while and after working.

Belongs here: rich tables and bars. Does not belong: deciding anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dd_assets.planning import engine
from dd_assets.planning.plan import Target


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[str], None]]:
    """Bars for the units being computed; yields a function that prints a line above them."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def listen(label: str, done: int, total: int) -> None:
            bars.update(task, description=label, completed=done, total=total)

        engine.LISTENERS.append(listen)
        try:
            yield lambda line: bars.console.print(line, markup=False, highlight=False)
        finally:
            engine.LISTENERS.remove(listen)


def leaderboard_table(rows: Sequence[Mapping[str, Any]], origin: Mapping[Target, str]) -> None:
    """The leaderboard as a rich table: accuracy in percent, mean ± standard deviation over trainings."""
    table = Table(title="Leaderboard", title_justify="left")
    for name in ("dataset", "IPC", "label", "student", "#", "method"):
        table.add_column(name)
    for name in ("accuracy %", "best %", "RD3 %", "draws", "seeds", "synthesis s", "training s", "images", "labels"):
        table.add_column(name, justify="right")
    if origin:
        table.add_column("origin")
    group: tuple[Any, ...] | None = None
    for row in rows:
        if group not in (None, (row["dataset"], row["ipc"], row["label"], row["student"])):
            table.add_section()
        group = (row["dataset"], row["ipc"], row["label"], row["student"])
        spread = "" if row["accuracy_std"] is None else f" ± {100 * row['accuracy_std']:.1f}"
        asset = (f"{row['method']}/score_{row['student']}", f"{row['dataset']}|{row['ipc']}")
        cells = [
            row["dataset"],
            str(row["ipc"]),
            row["label"],
            row["student"],
            str(row["rank"] or "–"),
            row["method"] if row["declared"] else f"{row['method']} (overridden)",
            f"{100 * row['accuracy_mean']:.1f}{spread}",
            f"{100 * row['best_mean']:.1f}",
            "–" if row["published"] is None else f"{100 * row['published']:.1f}",
            str(row["draws"]),
            str(row["seeds"]),
            f"{row['synthesis_seconds']:.1f}",
            f"{row['training_seconds']:.1f}",
            _bytes(row["image_bytes"]),
            _bytes(row["label_bytes"]),
        ]
        table.add_row(*cells, *([origin.get(asset, "–")] if origin else []))
    # A leaderboard cut off at the terminal's edge is of no use: give it the width it needs when piped.
    Console(width=None if Console().is_terminal else 180).print(table)


def _bytes(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000  # type: ignore[assignment]
    return f"{count:.1f} GB"
