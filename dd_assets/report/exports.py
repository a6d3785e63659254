"""The leaderboard and its comparisons as CSV and Markdown.

Belongs here: rows to text that other programs and people read. Does not belong: HTML (page.py, site.py).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from dd_assets.report.comparison import Comparison
from dd_assets.report.efficiency import stored_bytes
from dd_assets.report.formats import MISSING, duration, percent, points, signed, size
from dd_assets.report.page import grouped

HEADINGS = ("#", "method", "accuracy", "ranks", "over random", "published (z)", "draws, seeds", "synthesis", "bytes")


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV text, every field of the first one a column."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, fieldnames=list(rows[0]) if rows else ["dataset"])
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def comparison_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One row per method and contest: rank interval, differences with interval and p, and the split of variance."""
    rows = []
    for comparison in comparisons:
        contest = comparison.contest
        for entry in comparison.standings:
            deviations = {f"sd_{name}": value for name, value in entry.split.deviations().items()}
            rows.append(
                {
                    **{name: getattr(contest, name) for name in ("dataset", "ipc", "student", "label")},
                    "method": entry.method,
                    "accuracy": entry.accuracy,
                    "rank": entry.rank,
                    "rank_low": entry.ranks[0] if entry.ranked else None,
                    "rank_high": entry.ranks[1] if entry.ranked else None,
                    **_against("best_minus_this", entry.against_best),
                    **_against("this_minus_random", entry.against_random),
                    **deviations,
                }
            )
    return rows


def _against(name: str, against: Any) -> dict[str, Any]:
    contrast = None if against is None else against.contrast
    figures = {part: getattr(contrast, part, None) for part in ("difference", "low", "high", "p", "pairs")}
    return {
        **{f"{name}_{part}": value for part, value in figures.items()},
        f"{name}_adjusted_p": None if against is None else against.adjusted,
    }


def as_markdown(rows: Sequence[Mapping[str, Any]], verdicts: Mapping[Any, Sequence[str]]) -> str:
    """Verdicts and tables as Markdown: the best in bold, the second best in italics, as RD3 prints them."""
    parts = ["# Dataset distillation leaderboard\n"]
    for group in grouped(rows, verdicts, {}):
        parts.append(f"## {group['dataset']}, {group['ipc']} images per class\n")
        parts += [f"- {v['student']}, {v['label']} labels: {' '.join(v['words'])}" for v in group["verdicts"]]
        for contest in group["contests"]:
            parts.append(f"\n### {contest['student']}, {contest['label']} labels\n")
            parts.append(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
            parts += [f"| {' | '.join(_cells(row))} |" for row in contest["rows"]]
        parts.append("")
    return "\n".join(parts) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    spread = "" if row["accuracy_std"] is None else f" ± {percent(row['accuracy_std'])}"
    mark = {"best": "**", "second": "*"}.get(row["mark"], "")
    z = "" if row["z"] is None else f" ({signed(row['z'])})"
    return [
        str(row["rank"] or MISSING),
        f"{row['method']} ({row['apart']})" if row["apart"] else row["method"],
        f"{mark}{percent(row['accuracy_mean'])}{mark}{spread}",
        "–".join(map(str, row["ranks"])) if row["ranks"] else MISSING,
        points(row["ior"]) if row["beats_random"] else MISSING,
        f"{percent(row['published'])}{z}",
        f"{row['draws']}, {row['seeds']}",
        duration(row["synthesis_seconds"]),
        size(stored_bytes(row)),
    ]
