"""Accuracy against cost as an SVG: dots, names of those that matter, and the front that nothing dominates.

Belongs here: drawing points that are given. Does not belong: which points there are, and the front itself
(efficiency.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from dd_assets.errors import InputError
from dd_assets.report.chart import PALETTE, Chart, shortened

LETTER = 6.9
"""Units of an average letter at the chart's size of type."""


class Box(NamedTuple):
    """Room that is taken, in SVG units."""

    left: float
    right: float
    top: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


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


FEW = 8
"""Dots that are all named; of more only those of the front, as names would hide dots."""


def scatter_svg(
    points: Sequence[Point], title: str, x_label: str, y_label: str, x_text: Callable[[float], str] = "{:g}".format
) -> str:
    """A self-contained inline SVG (560 units wide), x logarithmic unless its values are close.

    Hovering over a dot tells its name and values. Points far below all others are named at the bottom, not drawn.
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
    floor = _floor([point.y for point in points])
    shown = [point for point in points if point.y >= floor]
    below = [point for point in points if point.y < floor]
    chart = Chart([p.x for p in points], [p.y for p in shown], legend_rows=rows, logarithmic=True)
    body = [chart.frame(x_label, y_label, x_text), _front(chart, shown)]
    for point in sorted(shown, key=lambda p: p.front):
        body.append(_dot(chart, point, PALETTE[series.index(point.series) % len(PALETTE)], x_text))
    body.append(_names(chart, shown))
    if below:
        names = ", ".join(f"{point.name} {point.y:.1f}" for point in below[:3]) + (" …" if len(below) > 3 else "")
        text = f'<text x="{chart.left + 6}" y="{chart.bottom - 6}" font-size="11" opacity=".8">'
        body.append(f"{text}below the frame: {escape(names)}</text>")
    if several:
        body += [_entry(chart, index, name) for index, name in enumerate(series)]
    return chart.opened(title) + "".join(body) + "</svg>"


def _floor(values: Sequence[float]) -> float:
    """Points lower than this would press all others together: three quartile ranges below the lower quartile."""
    ordered = sorted(values)
    lower, upper = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    return lower - 3 * (upper - lower)


def _front(chart: Chart, points: Sequence[Point]) -> str:
    """Steps from one point of the front to the next: between them the cheaper one is what can be had."""
    placed = [chart.place(*point) for point in sorted((point.x, point.y) for point in points if point.front)]
    if not placed:
        return ""
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
    """Names beside the dots of the front, and of all where they are FEW, where there is room.

    What stays unnamed says its name when pointed at.
    """
    spots = [chart.place(point.x, point.y) for point in points]
    taken = [Box(x - 5, x + 5, y - 5, y + 5) for x, y in spots]
    parts = []
    few = len(points) <= FEW
    wanted = sorted(
        ((p, s) for p, s in zip(points, spots, strict=True) if few or p.front or p.named),
        key=lambda e: (-e[0].named, -e[0].front, e[1][1]),
    )
    for point, (x, y) in wanted:
        text = shortened(point.name)
        wide = LETTER * len(text)
        for left, base in _places(x, y, wide):
            box = Box(left, left + wide, base - 10, base + 2)
            inside = left > chart.left and box.right < chart.width and chart.top - 8 < box.top and base < chart.bottom
            if inside and not any(box.meets(other) for other in taken):
                taken.append(box)
                parts.append(f'<text x="{left:.1f}" y="{base:.1f}" font-size="11.5">{escape(text)}</text>')
                break
    return "".join(parts)


def _places(x: float, y: float, wide: float) -> list[tuple[float, float]]:
    """Left end and baseline of a name, the best place first: right, above, left, below, and corners between."""
    return [
        (x + 8, y + 4),
        (x - wide / 2, y - 8),
        (x - 8 - wide, y + 4),
        (x - wide / 2, y + 17),
        (x + 6, y - 6),
        (x - 6 - wide, y - 6),
        (x + 6, y + 14),
        (x - 6 - wide, y + 14),
    ]


def _entry(chart: Chart, index: int, name: str) -> str:
    x, y = chart.legend_place(index)
    colour = PALETTE[index % len(PALETTE)]
    return (
        f'<circle cx="{x + 6}" cy="{y - 4}" r="4" fill="{colour}"/>'
        f'<text x="{x + 16}" y="{y}"><title>{escape(name)}</title>{escape(name)}</text>'
    )
