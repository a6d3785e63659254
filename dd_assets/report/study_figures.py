"""A study's figures: accuracy over what its variants change, with the spread over trainings, and what images are like.

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
from dd_assets.studies.registry import DRAWN, Figure, Study

Row = Mapping[str, Any]
Spot = tuple[float, float, float]
"""x; mean and standard deviation of what is shown, of the accuracy in percent."""
HEIGHTS = {
    "accuracy": "accuracy, %",
    "representativeness": "representativeness",
    "diversity": "diversity",
    "seconds": "sampling of one draw, s",
}
"""Of DRAWN, what the axis is called."""
TIME = "sampling of one draw, seconds of the device"


def study_figures(study: Study, chosen: Setting, rows: Sequence[Row]) -> list[dict[str, str]]:
    """{title, svg} of each figure the study states, per IPC and student where two variants or more have results; of a
    label budget also accuracy over bytes, of priors over sampling time.

    rows: of one setting, as `studies.study_rows` makes them. A series per method. All figures of accuracy come first.
    """
    made = []
    for shown in DRAWN:
        stated = {name: entry for name, entry in study.figures.items() if shown in entry.shows}
        for name, entry in stated.items():
            made += _over_field(study, chosen, rows, name, entry, shown)
    if study.scores == "budget":
        made += bytes_figures(chosen.name, rows)
    return [*made, *(_over_time(study, chosen, rows) if study.scores == "priors" else ())]


def _over_field(
    study: Study, chosen: Setting, rows: Sequence[Row], name: str, entry: Figure, shown: str
) -> list[dict[str, str]]:
    made = []
    for here, title in _grouped(chosen, rows, _standing(study, entry)):
        placed = [(_value(study, chosen, row, entry), row) for row in here]
        names = [str(value) for value in dict.fromkeys(value for value, _ in placed) if isinstance(value, str)]
        series = _series(placed, names, shown)
        if any(len(spots) > 1 for spots in series.values()):
            over = name if shown == "accuracy" else f"{HEIGHTS[shown]} over {name}"
            made.append({"title": f"{over}: {title}", "svg": _drawn(series, names, title, name, HEIGHTS[shown])})
    return made


def _over_time(study: Study, chosen: Setting, rows: Sequence[Row]) -> list[dict[str, str]]:
    """Accuracy over the seconds that sampling takes, a series per field that is drawn with its seconds."""
    made = []
    fields = {name: _standing(study, entry) for name, entry in study.figures.items() if "seconds" in entry.shows}
    for here, title in _grouped(chosen, rows, set().union(*fields.values())):
        series: dict[str, list[Spot]] = {}
        for name, standing in fields.items():
            timed = [row for row in here if row["variant"] in standing and row.get("seconds") is not None]
            spots = [_spot(row["seconds"], row, "accuracy") for row in timed if row["accuracy_mean"] is not None]
            series |= {name: sorted(spots)} if len(spots) > 1 else {}
        if series:
            svg = _drawn(series, (), title, TIME, HEIGHTS["accuracy"])
            made.append({"title": f"accuracy over sampling time: {title}", "svg": svg})
    return made


def _grouped(chosen: Setting, rows: Sequence[Row], standing: set[str]) -> list[tuple[list[Row], str]]:
    """The rows of those variants by IPC and student, each with its title."""
    shown = [row for row in rows if row["variant"] in standing]
    return [
        (
            [row for row in shown if (row["ipc"], row["student"]) == (ipc, student)],
            f"{chosen.name}, IPC {ipc}, {student}",
        )
        for ipc, student in dict.fromkeys((row["ipc"], row["student"]) for row in shown)
    ]


def _standing(study: Study, entry: Figure) -> set[str]:
    """The variants with a place in the figure of a field: those that change nothing, and those that change the same
    fields as the first that changes this one."""
    changes = {name: {*found.protocol, *found.parameters} for name, found in study.variants.items()}
    own = (changes[name] for name, found in study.variants.items() if entry.key in getattr(found, entry.section))
    first = next(own, set())
    unchanged = {name for name, entry in study.variants.items() if not changes[name] and entry.preset == "rd3"}
    return unchanged | {name for name, found in changes.items() if found and found == first}


def _value(study: Study, chosen: Setting, row: Row, entry: Figure) -> Any:
    """The field's value in a row's variant, changed or as the setting has it."""
    variant = study.variants[row["variant"]]
    if entry.section == "protocol":
        return getattr(variant.protocol_of(chosen.protocol, row["method"], chosen.data, row["ipc"]), entry.key)
    return getattr(declared_parameters(method(row["method"]), chosen, variant.parameters), entry.key)


def _series(placed: Sequence[tuple[Any, Row]], names: Sequence[str], shown: str) -> dict[str, list[Spot]]:
    """Method to its spots from left to right; named values stand at 1, 2, 3…"""
    found: dict[str, list[Spot]] = {}
    for value, row in placed:
        if row.get("accuracy_mean" if shown == "accuracy" else shown) is not None:
            x = 1.0 + names.index(value) if isinstance(value, str) else float(value)
            found.setdefault(row["method"], []).append(_spot(x, row, shown))
    return {name: sorted(spots) for name, spots in found.items()}


def _spot(x: float, row: Row, shown: str) -> Spot:
    if shown == "accuracy":
        return x, 100 * row["accuracy_mean"], 100 * (row["accuracy_std"] or 0.0)
    return x, row[shown], 0.0


def _drawn(series: Mapping[str, Sequence[Spot]], names: Sequence[str], title: str, x_label: str, y_label: str) -> str:
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
    body = [chart.frame(x_label, y_label, (lambda x: _name_at(x, names)) if names else "{:g}".format)]
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
    """A dot with a whisker of one standard deviation either way, where there is one; hovering tells both."""
    x, mean, spread = spot
    across, y = chart.place(x, mean)
    low, high = (chart.place(x, mean + sign * spread)[1] for sign in (-1, 1))
    across += aside
    whisker = f'<path d="M{across:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" stroke-width="1.4"/>' if spread else ""
    said = f"{mean:.1f} ± {spread:.1f}" if spread else f"{mean:.4g}"
    return f'{whisker}<circle cx="{across:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{said}</title></circle>'
