"""Accuracy against cost as an SVG: dots, names of those that matter, and the front that nothing dominates.

Belongs here: drawing points that are given. Does not belong: which points there are, and the front itself
(efficiency.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from dd_assets.errors import InputError
from dd_assets.report.chart import PALETTE, Chart, shortened

LINE = 13
"""Units between the baselines of two names."""
LETTER = 6.4
"""Units of an average letter at the chart's size of type."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One method."""

    name: str
    x: float
    y: float
    front: bool
    """Drawn filled, joined to the others of the front, and named."""
    series: str = ""
    """Points of one series share a colour, and an entry of the legend if there are several."""
    named: bool = False
    """Named even off the front."""


def scatter_svg(
    points: Sequence[Point], title: str, x_label: str, y_label: str, x_text: Callable[[float], str] = "{:g}".format
) -> str:
    """A self-contained inline SVG (560 units wide), x logarithmic; hovering over a dot tells its name and values.

    Raises InputError without a point, or for values that are not finite or an x that is not above zero.
    """
    bad = [p.name for p in points if not (math.isfinite(p.x) and math.isfinite(p.y) and p.x > 0)]
    if bad or not points:
        raise InputError(
            f"the figure {title!r} cannot show {', '.join(bad) or 'nothing'}", "give finite values, x above zero"
        )
    series = list(dict.fromkeys(point.series for point in points))
    several = len(series) > 1
    rows = math.ceil(len(series) / 3) if several else 0
    chart = Chart([p.x for p in points], [p.y for p in points], legend_rows=rows, logarithmic=True)
    body = [chart.frame(x_label, y_label, x_text), _front(chart, points)]
    for point in sorted(points, key=lambda p: p.front):
        body.append(_dot(chart, point, PALETTE[series.index(point.series) % len(PALETTE)], x_text))
    body.append(_names(chart, [point for point in points if point.front or point.named]))
    if several:
        body += [_entry(chart, index, name) for index, name in enumerate(series)]
    return chart.opened(title) + "".join(body) + "</svg>"


def _front(chart: Chart, points: Sequence[Point]) -> str:
    """Steps from one point of the front to the next: between them the cheaper one is what can be had."""
    front = sorted((point.x, point.y) for point in points if point.front)
    placed = [chart.place(*point) for point in front]
    path = "".join(f"H{x:.1f}V{y:.1f}" for x, y in placed[1:])
    start = f"M{placed[0][0]:.1f} {placed[0][1]:.1f}"
    return f'<path d="{start}{path}" fill="none" stroke="currentColor" opacity=".35" stroke-dasharray="4 3"/>'


def _dot(chart: Chart, point: Point, colour: str, x_text: Callable[[float], str]) -> str:
    x, y = chart.place(point.x, point.y)
    fill = colour if point.front else "none"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}" stroke-width="1.6">'
        f"<title>{escape(point.name)}: {x_text(point.x)}, {point.y:.4g}</title></circle>"
    )


def _names(chart: Chart, points: Sequence[Point]) -> str:
    """Names beside their dots, moved up or down where two would overlap, left of dots near the right edge."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    for point in sorted(points, key=lambda p: (-p.y, p.x)):
        x, y = chart.place(point.x, point.y)
        text = shortened(point.name)
        wide = LETTER * len(text)
        left = x + 8 if x + 8 + wide < chart.width - 4 else x - 8 - wide
        tries = [y + 4 + LINE * step for step in (0, 1, -1, 2, -2, 3, -3)]
        free = [t for t in tries if chart.top - 4 < t < chart.bottom and not _hits(taken, left, wide, t)]
        base = free[0] if free else tries[0]
        taken.append((left, left + wide, base))
        parts.append(f'<text x="{left:.1f}" y="{base:.1f}" font-size="11.5">{escape(text)}</text>')
    return "".join(parts)


def _hits(taken: Sequence[tuple[float, float, float]], left: float, wide: float, base: float) -> bool:
    return any(left < end and start < left + wide and abs(base - other) < LINE for start, end, other in taken)


def _entry(chart: Chart, index: int, name: str) -> str:
    x, y = chart.legend_place(index)
    colour = PALETTE[index % len(PALETTE)]
    return (
        f'<circle cx="{x + 6}" cy="{y - 4}" r="4" fill="{colour}"/>'
        f'<text x="{x + 16}" y="{y}"><title>{escape(name)}</title>{escape(name)}</text>'
    )
