"""Everything that the page and the report show, gathered once from the store.

Belongs here: reading rows, verdicts, pictures and curves by reference. Does not belong: HTML (page.py, site.py),
arithmetic on scores (statistics.py, metrics.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dd_assets.report.accuracy_curve import accuracy_curve
from dd_assets.report.comparison import Comparison, compare
from dd_assets.report.diversity import diversity_tables
from dd_assets.report.leaderboard import leaderboard_rows, score_references
from dd_assets.report.pictures import curve_svg
from dd_assets.report.plots import contest_plots, frontier_plots
from dd_assets.report.relations import with_relations
from dd_assets.report.scores import contests
from dd_assets.units.image_set import CONTACT_SHEET
from dd_resources.store import ArtefactStore

Cell = tuple[str, int, str, str]
"""(dataset, ipc, student, label)."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What there is to show."""

    rows: list[dict[str, Any]]
    """The leaderboard's, with relations, rank intervals, and whether a method is separable from random images."""
    comparisons: Mapping[Cell, Comparison]
    sheets: list[dict[str, Any]]
    """Contact sheets of the first draw: {title, png, method, dataset, ipc}."""
    curves: list[dict[str, str]]
    """{title, svg}."""
    plots: Mapping[tuple[str, int], list[dict[str, str]]]
    """Accuracy against seconds and bytes, per dataset and IPC: {title, svg}."""
    frontiers: list[dict[str, Any]]
    """Equal bytes, per dataset and student: {title, svg, points}."""
    diversity: list[dict[str, Any]]

    @property
    def verdicts(self) -> dict[Cell, tuple[str, ...]]:
        """The sentences of each contest."""
        return {cell: comparison.words for cell, comparison in self.comparisons.items()}


def gather(store: ArtefactStore, namespace: str, rows: Sequence[Mapping[str, Any]] | None = None) -> Contents:
    """Read the store; rows: the leaderboard's, if somebody has them already."""
    found = leaderboard_rows(store, namespace) if rows is None else [dict(row) for row in rows]
    related = with_relations(found, store, namespace)
    compared = {
        (entry.dataset, entry.ipc, entry.student, entry.label): compare(entry) for entry in contests(store, namespace)
    }
    judged = [{**row, **_judgement(row, compared)} for row in related]
    return Contents(
        rows=judged,
        comparisons=compared,
        sheets=_sheets(store, namespace),
        curves=_curves(store, namespace),
        plots=contest_plots(judged),
        frontiers=frontier_plots(judged),
        diversity=diversity_tables(store, namespace, judged),
    )


def _judgement(row: Mapping[str, Any], compared: Mapping[Cell, Comparison]) -> dict[str, Any]:
    """`ranks`: the interval, or None; `beats_random`: 'yes', 'no' (worse), 'unclear', or '' where not compared."""
    cell = (row["dataset"], row["ipc"], row["student"], row["label"])
    standings = compared[cell].standings if not row["apart"] and cell in compared else ()
    own = next((entry for entry in standings if entry.method == row["method"]), None)
    if own is None:
        return {"ranks": None, "beats_random": ""}
    against, word = own.against_random, ""
    if against is not None:
        word = "unclear" if not against.separable else "yes" if against.contrast.difference > 0 else "no"
    return {"ranks": list(own.ranks) if own.ranked else None, "beats_random": word}


def _sheets(store: ArtefactStore, namespace: str) -> list[dict[str, Any]]:
    sheets: dict[str, dict[str, Any]] = {}
    for method, _, setting, ipc, _ in score_references(store, namespace):
        title = f"{method} · {setting} · IPC {ipc}"
        images = store.read_reference(namespace, f"{method}/synthetic_images", f"{setting}|{ipc}")
        first = store.lookup(next(iter(images.units.values()))) if images else None
        if first is not None and title not in sheets:
            png = store.read(first, CONTACT_SHEET)
            sheets[title] = {"title": title, "png": png, "method": method, "dataset": setting, "ipc": ipc}
    return list(sheets.values())


def _curves(store: ArtefactStore, namespace: str) -> list[dict[str, str]]:
    """Mean test accuracy over epochs, one figure per dataset, IPC, student and label mode."""
    series: dict[str, dict[str, Any]] = {}
    for method, student, setting, ipc, reference in score_references(store, namespace):
        for mode in ("soft", "hard"):
            digests = [digest for key, digest in reference.units.items() if key.startswith(f"{mode}/")]
            found = [manifest for digest in digests if (manifest := store.lookup(digest)) is not None]
            if found:
                group = series.setdefault(f"{setting} · IPC {ipc} · {student} · {mode} labels", {})
                group[method] = accuracy_curve(found)
    return [
        {"title": title, "svg": curve_svg(lines, title, "epoch", "test accuracy")} for title, lines in series.items()
    ]
