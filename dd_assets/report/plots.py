"""The figures of accuracy against cost, from the leaderboard's rows.

Belongs here: which rows make which figure. Does not belong: drawing (scatter.py), fronts (efficiency.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dd_assets.report.comparison import CONTROL
from dd_assets.report.efficiency import device_kind, equal_bytes, pareto_front, stored_bytes
from dd_assets.report.formats import size
from dd_assets.report.scatter import Point, scatter_svg

LEAST_SECONDS = 1e-3
"""Shorter syntheses are drawn at this, since the axis is logarithmic and the clock's last digit is this."""
Row = Mapping[str, Any]


def contest_plots(rows: Sequence[Row]) -> dict[tuple[str, int], list[dict[str, str]]]:
    """Per dataset and IPC, for each student and label mode with two methods or more: accuracy against three costs."""
    groups: dict[tuple[str, int, str, str], list[Row]] = {}
    for row in rows:
        there = row["device_seconds"] is not None and stored_bytes(row) is not None
        if not row["apart"] and row["accuracy_mean"] is not None and there:
            groups.setdefault((row["dataset"], row["ipc"], row["student"], row["label"]), []).append(row)
    made: dict[tuple[str, int], list[dict[str, str]]] = {}
    for (dataset, ipc, student, label), members in groups.items():
        if len(members) > 1:
            made.setdefault((dataset, ipc), []).extend(_plots(f"{student}, {label} labels", members))
    return made


def _plots(title: str, rows: Sequence[Row]) -> list[dict[str, str]]:
    made = []
    for kind, of_kind in (("cpu", "CPU-seconds"), ("gpu", "GPU-seconds")):
        # Seconds of different devices have no common axis, and no common front.
        own = [row for row in rows if device_kind(row["device"]) == kind]
        if len(own) > 1:
            alone = [max(row["device_seconds"], LEAST_SECONDS) for row in own]
            further = [row["teacher_seconds"] + row["generator_seconds"] for row in own]
            whole = [max(row["device_seconds"] + more, LEAST_SECONDS) for row, more in zip(own, further, strict=True)]
            made.append(_plot(own, alone, title, f"{of_kind} of synthesis, per image set", "{:g} s".format))
            made.append(_plot(own, whole, title, f"{of_kind} with teachers and generator", "{:g} s".format))
    stored = [stored_bytes(row) or 0 for row in rows]
    return [*made, _plot(rows, stored, title, "bytes of images and labels", size)]


def _plot(rows: Sequence[Row], costs: Sequence[float], title: str, x_label: str, x_text: Any) -> dict[str, str]:
    fronts = pareto_front([(cost, row["accuracy_mean"]) for cost, row in zip(costs, rows, strict=True)])
    points = [
        Point(name=row["method"], x=cost, y=100 * row["accuracy_mean"], front=front, named=row["method"] == CONTROL)
        for row, cost, front in zip(rows, costs, fronts, strict=True)
    ]
    return {"title": f"{title}: {x_label}", "svg": scatter_svg(points, title, x_label, "accuracy, %", x_text)}


def frontier_plots(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Accuracy over bytes of images and labels, over all IPC and label modes, one figure per dataset and student.

    Each with its points (efficiency.equal_bytes): the dataset and student, what random images reach with as many bytes
    (more images of them, or other labels), and the difference.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["student"]), []).append(row)
    made = []
    for (dataset, student), members in groups.items():
        found = equal_bytes(members)
        points = [
            Point(
                name=f"{point['method']} · {point['ipc']}",
                x=point["bytes"],
                y=100 * point["accuracy"],
                front=point["front"],
                series=point["label"],
                named=point["method"] == CONTROL,
            )
            for point in found
        ]
        if len(points) > 1:
            title = f"{dataset} · {student}"
            svg = scatter_svg(points, title, "bytes of images and labels", "accuracy, %", size)
            own = [{"dataset": dataset, "student": student, **point} for point in found]
            made.append({"title": title, "svg": svg, "points": own})
    return made
