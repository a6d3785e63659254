"""Accuracy at none, a quarter and all of the iterations against seconds of synthesis, from a store's scores.

Belongs here: picking rows of the leaderboard, a table and a chart of them. Does not belong: computing anything; the
quarters are the recipes `*_quarter` of docs/examples/recipes, scored by `dd-assets sync`.

Reads what `dd-assets leaderboard --json` prints; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dd_assets.methods.registry import METHODS
from dd_assets.report.pictures import curve_svg

QUARTER, BEGINNING = "_quarter", "_init"
LEAST = 1.0
"""CPU-seconds that a beginning is drawn at, if it took fewer: the axis is logarithmic."""
Row = Mapping[str, Any]


def stages(rows: Mapping[str, Row]) -> dict[str, list[Row]]:
    """Method to its rows without iterations, with a quarter and with all; only methods that have all three.

    rows: one dataset's, IPC's, student's and label mode's, by method.
    """
    found = {}
    for quarter in [name for name in rows if name.endswith(QUARTER)]:
        name = quarter.removesuffix(QUARTER)
        begins = [entry for entry in (f"{name}{BEGINNING}", beginning(name)) if entry in rows]
        if begins and name in rows:
            found[name] = [rows[begins[0]], rows[quarter], rows[name]]
    return found


def beginning(name: str) -> str:
    """What a method's default recipe begins with: a method's name, such as noise, or 'real'."""
    return str(getattr(METHODS()[name].recipe_for("default").parameters, "init", "noise"))


def table(found: Mapping[str, list[Row]]) -> str:
    """Markdown: accuracies in percent, seconds of one image set."""
    lines = ["| method | none | a quarter | all | CPU-s of all |", "|---|---|---|---|---|"]
    for name, members in sorted(found.items(), key=lambda item: -item[1][-1]["accuracy_mean"]):
        shown = [f"{100 * row['accuracy_mean']:.1f} ± {100 * row['accuracy_std']:.1f}" for row in members]
        shown[0] += f" (`{members[0]['method']}`)"
        lines.append(f"| `{name}` | {' | '.join(shown)} | {members[-1]['device_seconds']:,.0f} |")
    return "\n".join(lines)


def chart(found: Mapping[str, list[Row]], title: str) -> str:
    """A line per method from its beginning to all of its iterations."""
    lines = {
        name: (
            [max(row["device_seconds"], LEAST) for row in members],
            [100 * row["accuracy_mean"] for row in members],
        )
        for name, members in found.items()
    }
    return curve_svg(lines, title, "CPU-seconds of synthesis, 100 images", "accuracy, %", logarithmic=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--student", default="resnet20_cifar")
    parser.add_argument("--label", default="soft")
    parser.add_argument("--out", type=Path, help="an SVG")
    given = parser.parse_args()
    wanted = (given.dataset, given.ipc, given.student, given.label)
    rows = [
        row
        for row in json.load(sys.stdin)
        if tuple(row[key] for key in ("dataset", "ipc", "student", "label")) == wanted
    ]
    found = stages({row["method"]: row for row in rows})
    if not found:
        sys.exit(f"no method has scores at none, a quarter and all of its iterations for {wanted}")
    print(table(found))
    if given.out:
        given.out.write_text(chart(found, f"{given.dataset}, IPC {given.ipc}, {given.student}"), encoding="utf-8")


if __name__ == "__main__":
    main()
