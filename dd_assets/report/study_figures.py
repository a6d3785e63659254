"""A study's figures: accuracy over what its variants change, with the spread over trainings.

Belongs here: which rows make which figure, and drawing them. Does not belong: the rows (studies.py), axes and ticks
(chart.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.methods.registry import method
from dd_assets.planning.cells import declared_parameters
from dd_assets.report.bytes_figure import bytes_figures
from dd_assets.report.chart import PALETTE, Chart
from dd_assets.studies.registry import Study

Row = Mapping[str, Any]
Spot = tuple[float, float, float]
"""x; mean and standard deviation of the accuracy in percent."""


def study_figures(study: Study, chosen: Setting, rows: Sequence[Row]) -> list[dict[str, str]]:
    """{title, svg} of each figure the study states, per IPC and student where two variants or more have results; of a
    label budget also accuracy over bytes.

    rows: of one setting, as `studies.study_rows` makes them. A series per method.
    """
    made = []
    for name, (section, key) in study.figures.items():
        standing = _standing(study, section, key)
        shown = [row for row in rows if row["variant"] in standing]
        for ipc, student in dict.fromkeys((row["ipc"], row["student"]) for row in shown):
            here = [row for row in shown if (row["ipc"], row["student"]) == (ipc, student)]
            placed = [(_value(study, chosen, row, section, key), row) for row in here]
            names = [str(value) for value in dict.fromkeys(value for value, _ in placed) if isinstance(value, str)]
            series = _series(placed, names)
            if any(len(spots) > 1 for spots in series.values()):
                title = f"{chosen.name}, IPC {ipc}, {student}"
                made.append({"title": f"{name}: {title}", "svg": _drawn(series, names, title, name)})
    return [*made, *(bytes_figures(chosen.name, rows) if study.scores == "budget" else ())]


def _standing(study: Study, section: str, key: str) -> set[str]:
    """The variants with a place in the figure of a field: those that change nothing, and those that change the same
    fields as the first that changes this one."""
    changes = {name: {*entry.protocol, *entry.parameters} for name, entry in study.variants.items()}
    first = next((changes[name] for name, entry in study.variants.items() if key in getattr(entry, section)), set())
    unchanged = {name for name, entry in study.variants.items() if not changes[name] and entry.preset == "rd3"}
    return unchanged | {name for name, found in changes.items() if found and found == first}


def _value(study: Study, chosen: Setting, row: Row, section: str, key: str) -> Any:
    """The field's value in a row's variant, changed or as the setting has it."""
    variant = study.variants[row["variant"]]
    if section == "protocol":
        return getattr(variant.protocol_of(chosen.protocol, row["method"], chosen.data, row["ipc"]), key)
    return getattr(declared_parameters(method(row["method"]), chosen, variant.parameters), key)


def _series(placed: Sequence[tuple[Any, Row]], names: Sequence[str]) -> dict[str, list[Spot]]:
    """Method to its spots from left to right; named values stand at 1, 2, 3…"""
    found: dict[str, list[Spot]] = {}
    for value, row in placed:
        if row["accuracy_mean"] is not None:
            x = 1.0 + names.index(value) if isinstance(value, str) else float(value)
            spot = (x, 100 * row["accuracy_mean"], 100 * (row["accuracy_std"] or 0.0))
            found.setdefault(row["method"], []).append(spot)
    return {name: sorted(spots) for name, spots in found.items()}


def _drawn(series: Mapping[str, Sequence[Spot]], names: Sequence[str], title: str, x_label: str) -> str:
    """Numbers are joined by a line; at a name the series stand side by side, unjoined."""
    spots = [spot for own in series.values() for spot in own]
    heights = [y + sign * spread for _, y, spread in spots for sign in (-1, 1)]
    several = len(series) > 1
    ends = [0.5, len(names) + 0.5]
    chart = Chart(
        ends if names else [x for x, _, _ in spots], heights, legend_rows=math.ceil(len(series) / 3) if several else 0
    )
    if names:
        chart.x_ticks = [ends[0], *(1.0 + place for place in range(len(names))), ends[1]]
    body = [chart.frame(x_label, "accuracy, %", (lambda x: _name_at(x, names)) if names else "{:g}".format)]
    for index, (entry, own) in enumerate(series.items()):
        aside = 7 * (index - (len(series) - 1) / 2) if names else 0.0
        if not names:
            body.append(chart.line(index, [[(x, y) for x, y, _ in own]]))
        body += [_mark(chart, spot, PALETTE[index % len(PALETTE)], aside) for spot in own]
        if several:
            body.append(chart.legend(index, entry))
    return chart.opened(title) + "".join(body) + "</svg>"


def _name_at(x: float, names: Sequence[str]) -> str:
    return names[int(x) - 1] if x == int(x) else ""


def _mark(chart: Chart, spot: Spot, colour: str, aside: float) -> str:
    """A dot with a whisker of one standard deviation either way; hovering tells both."""
    x, mean, spread = spot
    across, y = chart.place(x, mean)
    low, high = (chart.place(x, mean + sign * spread)[1] for sign in (-1, 1))
    across += aside
    return (
        f'<path d="M{across:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" stroke-width="1.4"/>'
        f'<circle cx="{across:.1f}" cy="{y:.1f}" r="4" fill="{colour}">'
        f"<title>{mean:.1f} ± {spread:.1f}</title></circle>"
    )
