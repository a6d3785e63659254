"""The frame of a small SVG chart: axes, ticks, lines, dots and legend.

Belongs here: geometry and marks. Does not belong: what is drawn (pictures.py, scatter.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")
"""Line colours that stay apart for colour-blind readers (after Okabe and Ito, 2008); yellow darkened for paper."""
LOGARITHMIC_FROM = 4
"""Values within this factor of one another are drawn on a plain axis."""
DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""Line patterns, so that colour is never the only difference."""


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round axis ticks (steps of 1, 2 or 5 times a power of ten) that enclose [low, high]; equal ends are widened."""
    if low == high:
        half = abs(low) / 2 or 0.5
        low, high = low - half, high + half
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that enclose [low, high], both positive, with 2 and 5 times each where there are few."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    if first == last:
        last += 1
    if last - first > 2:
        return [10.0**power for power in range(first, last + 1)]
    every = [factor * 10.0**power for power in range(first, last) for factor in (1, 2, 5)] + [10.0**last]
    start = max(index for index, tick in enumerate(every) if tick <= low * (1 + 1e-9))
    end = min(index for index, tick in enumerate(every) if tick >= high * (1 - 1e-9))
    return every[start : max(end, start + 1) + 1]


def shortened(name: str) -> str:
    """A name that fits a legend."""
    return name if len(name) <= 20 else name[:19] + "…"


class Chart:
    """Geometry of one chart: data to SVG units, and the marks drawn with it."""

    width = 560
    left, right, top = 62, 18, 34

    def __init__(self, x: list[float], y: list[float], legend_rows: int, logarithmic: bool = False) -> None:
        """x, y: every value that must fit; logarithmic: x > 0 is drawn by its logarithm, if far enough apart."""
        self.logarithmic = logarithmic and max(x) > LOGARITHMIC_FROM * min(x)
        self.x_ticks = log_ticks(min(x), max(x)) if self.logarithmic else nice_ticks(min(x), max(x))
        self.y_ticks = nice_ticks(min(y), max(y))
        self.bottom = 262
        self.height = self.bottom + 46 + 20 * legend_rows

    def opened(self, title: str) -> str:
        """The opening tag and heading; text and axes take the surrounding text colour."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height:g}" role="img" '
            f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
            f"<title>{escape(title)}</title>"
            f'<text x="12" y="20" font-size="14" font-weight="600">{escape(title)}</text>'
        )

    def place(self, x: float, y: float) -> tuple[float, float]:
        """SVG units of a data point."""
        along = [math.log10(value) if self.logarithmic else value for value in (x, self.x_ticks[0], self.x_ticks[-1])]
        across = (along[0] - along[1]) / (along[2] - along[1])
        up = (y - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return self.left + across * (self.width - self.left - self.right), self.bottom - up * (self.bottom - self.top)

    def frame(self, x_label: str, y_label: str, x_text: Callable[[float], str] = "{:g}".format) -> str:
        """Grid lines, ticks (x as `x_text` says them), axis labels."""
        parts = []
        for tick in self.y_ticks:
            _, y = self.place(self.x_ticks[0], tick)
            parts.append(
                f'<path d="M{self.left} {y:.1f}H{self.width - self.right}" stroke="currentColor" opacity=".15"/>'
                f'<text x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end" opacity=".8">{tick:g}</text>'
            )
        free = 0.0
        for tick in self.x_ticks:
            text = escape(x_text(tick))
            x, _ = self.place(tick, self.y_ticks[0])
            half = 3.5 * len(text)
            at, anchor, begins = (x, "middle", x - half)
            if x + half >= self.width:
                at, anchor, begins = (self.width - 4, "end", self.width - 4 - 2 * half)
            parts.append(f'<path d="M{x:.1f} {self.bottom}v5" stroke="currentColor" opacity=".6"/>')
            # A tick whose text would lie on the one before has none.
            if begins >= free:
                free = begins + 2 * half
                parts.append(
                    f'<text x="{at:.1f}" y="{self.bottom + 18}" text-anchor="{anchor}" opacity=".8">{text}</text>'
                )
        middle = (self.left + self.width - self.right) / 2
        parts.append(
            f'<path d="M{self.left} {self.top}V{self.bottom}H{self.width - self.right}" fill="none" '
            f'stroke="currentColor" opacity=".6"/>'
            f'<text x="{middle:g}" y="{self.bottom + 36}" text-anchor="middle">{escape(x_label)}</text>'
            f'<text transform="translate(15 {(self.top + self.bottom) / 2:g}) rotate(-90)" '
            f'text-anchor="middle">{escape(y_label)}</text>'
        )
        return "".join(parts)

    def line(self, index: int, runs: list[list[tuple[float, float]]]) -> str:
        """One series; a run of a single point becomes a dot."""
        style = self._style(index)
        parts = []
        for run in runs:
            placed = [self.place(*point) for point in run]
            if len(placed) == 1:
                x, y = placed[0]
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{PALETTE[index % len(PALETTE)]}"/>')
            else:
                parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in placed)}" {style}/>')
        return "".join(parts)

    def legend_place(self, index: int) -> tuple[int, int]:
        """Where the entry of a series begins, three to a row below the axis."""
        return self.left + (index % 3) * 165, self.bottom + 56 + 20 * (index // 3)

    def legend(self, index: int, name: str) -> str:
        """The entry of one series."""
        x, y = self.legend_place(index)
        short = shortened(name)
        return (
            f'<path d="M{x} {y - 4}h26" {self._style(index)}/>'
            f'<text x="{x + 32}" y="{y}"><title>{escape(name)}</title>{escape(short)}</text>'
        )

    @staticmethod
    def _style(index: int) -> str:
        dash = DASHES[index % len(DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        return f'fill="none" stroke="{PALETTE[index % len(PALETTE)]}" stroke-width="2"{dashed}'
