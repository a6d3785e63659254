"""Accuracy over the bytes of a label table, a numbered dot per method and variant.

Belongs here: drawing that one figure from a study's rows. Does not belong: the rows (studies.py), what fewer bytes cost
pair by pair (study_scores.py), axes and ticks (chart.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dd_assets.report.chart import PALETTE, Chart
from dd_assets.report.formats import size

Row = Mapping[str, Any]
COLUMNS = 2
"""Entries of the legend side by side."""
COLUMN_WIDTH = 250


def bytes_figures(setting: str, rows: Sequence[Row]) -> list[dict[str, str]]:
    """{title, svg} per IPC and student with two tables of labels or more; the axis of bytes is logarithmic.

    rows: of one setting, as `studies.study_rows` makes them; those without accuracy or stored labels are left out.
    """
    done = [row for row in rows if row["accuracy_mean"] is not None and row["label_bytes"]]
    made = []
    for ipc, student in dict.fromkeys((row["ipc"], row["student"]) for row in done):
        here = [row for row in done if (row["ipc"], row["student"]) == (ipc, student)]
        if len(here) > 1:
            title = f"{setting}, IPC {ipc}, {student}"
            made.append({"title": f"bytes of a label table: {title}", "svg": _drawn(here, title)})
    return made


def _drawn(rows: Sequence[Row], title: str) -> str:
    spots = [(row["label_bytes"], 100 * row["accuracy_mean"], 100 * (row["accuracy_std"] or 0.0)) for row in rows]
    heights = [mean + sign * spread for _, mean, spread in spots for sign in (-1, 1)]
    rows_below = math.ceil(len(rows) / COLUMNS)
    chart = Chart([bytes_ for bytes_, _, _ in spots], heights, legend_rows=rows_below, logarithmic=True)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    body = [chart.frame("bytes of a label table", "accuracy, %", size)]
    for number, (row, (bytes_, mean, spread)) in enumerate(zip(rows, spots, strict=True), 1):
        colour = PALETTE[methods.index(row["method"]) % len(PALETTE)]
        x, y = chart.place(bytes_, mean)
        low, high = (chart.place(bytes_, mean + sign * spread)[1] for sign in (-1, 1))
        name = f"{row['method']}, {row['variant']}"
        at = chart.left + (number - 1) % COLUMNS * COLUMN_WIDTH
        below = chart.bottom + 56 + 20 * ((number - 1) // COLUMNS)
        body.append(
            f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" stroke-width="1.4"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">'
            f"<title>{escape(name)}: {mean:.1f} ± {spread:.1f}, {size(bytes_)}</title></circle>"
            f'<text x="{x + 7:.1f}" y="{y + 4:.1f}" font-size="11">{number}</text>'
            f'<text x="{at}" y="{below}"><tspan font-weight="600">{number}</tspan> {escape(name)}</text>'
        )
    return chart.opened(title) + "".join(body) + "</svg>"
