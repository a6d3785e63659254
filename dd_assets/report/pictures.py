"""Small pictures for metadata and pages: contact sheets as PNG, curves as SVG, images as Markdown.

Belongs here: drawing from arrays with NumPy and Pillow, as pure functions of their arguments.
Does not belong: torch, Dagster, choosing what to show, and anything that enters a content digest.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dd_assets.errors import InputError

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")
"""Line colours that stay apart for colour-blind readers (after Okabe and Ito, 2008); yellow darkened for paper."""
DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""Line patterns, so that colour is never the only difference."""

ENLARGE_TO = 48
"""Images with a side below this are enlarged by a whole factor, nearest neighbour, to about this many pixels."""
SMALLEST = 4
"""Thumbnails below this side (pixels) show nothing; the sheet is refused instead."""
GAP = 2
"""Pixels between thumbnails."""


def contact_sheet(
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str] | None = None,
    columns: int = 10,
    rows: int = 10,
    max_bytes: int = 150_000,
) -> bytes:
    """A PNG grid with one row per class, for Dagster metadata and pages.

    images: uint8 (N, H, W, C) with C 1 or 3, in row order; labels: int64 (N,). Shown are the first `rows` class ids
    that occur, and of each its first `columns` images. `classes` (names by class id) are written left of the rows.
    Tiny images are enlarged by a whole factor; the sheet is then shrunk, and reduced to 256 colours, until it is no
    larger than `max_bytes`. The background is transparent. Raises InputError for other shapes, an empty set, or a
    limit that no readable sheet can meet.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3):
        raise InputError(
            f"a contact sheet cannot show {images.dtype} images of shape {images.shape}", "give uint8 (N, H, W, 1 or 3)"
        )
    if len(images) != len(labels) or not len(images):
        raise InputError(
            f"a contact sheet of {len(images)} images and {len(labels)} labels",
            "give one label per image, at least one",
        )
    shown = [int(label) for label in np.unique(labels)[:rows]]
    grid = [[images[i] for i in np.flatnonzero(labels == label)[:columns]] for label in shown]
    names = [_class_name(classes, label) for label in shown] if classes is not None else None
    largest = math.inf
    for height, width in _thumbnail_sizes(images.shape[1], images.shape[2]):
        if height * width > largest:
            continue
        sheet = _paste(grid, names, height, width)
        for candidate in (sheet, _reduced(sheet)):
            png = _encode(candidate)
            if len(png) <= max_bytes:
                return png
        # Bytes fall with the area; sizes far from the limit are not even encoded.
        largest = 1.5 * height * width * max_bytes / len(png)
    raise InputError(
        f"a contact sheet of {len(grid)} rows does not fit {max_bytes} bytes", "show fewer classes or columns"
    )


def curve_svg(
    series: Mapping[str, tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]],
    title: str,
    x_label: str,
    y_label: str,
) -> str:
    """A self-contained inline SVG line chart (560 x 320 units) with axes, ticks and a legend.

    series: name to (x, y), each of equal length (points,); values that are not finite break the line. Text and axes
    take the surrounding text colour, so that one figure serves light and dark pages. Raises InputError when no finite
    point is given or lengths differ.
    """
    lines = {name: _finite_runs(name, x, y) for name, (x, y) in series.items()}
    points = [point for runs in lines.values() for run in runs for point in run]
    if not points:
        raise InputError(f"the curve {title!r} has no finite point", "pass at least one series with finite values")
    chart = _Chart([x for x, _ in points], [y for _, y in points], legend_rows=math.ceil(len(lines) / 3))
    body = [chart.frame(x_label, y_label)]
    for index, (name, runs) in enumerate(lines.items()):
        body.append(chart.line(index, runs))
        body.append(chart.legend(index, name))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {chart.width} {chart.height:g}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
    )
    heading = (
        f'<title>{escape(title)}</title><text x="12" y="20" font-size="14" font-weight="600">{escape(title)}</text>'
    )
    return head + heading + "".join(body) + "</svg>"


def markdown_image(png: bytes, alt: str = "") -> str:
    """Markdown that shows a PNG inline (a data URI), as Dagster's metadata panel renders it."""
    safe = alt.translate(str.maketrans("", "", "[]\n"))
    return f"![{safe}]({data_uri(png)})"


def data_uri(png: bytes) -> str:
    """The PNG as a `data:` address, so that a page needs no second file."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _class_name(classes: Sequence[str], label: int) -> str:
    return str(classes[label]) if 0 <= label < len(classes) else str(label)


def _thumbnail_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) to try, largest first: whole enlargements, the native size, then reductions by a fifth."""
    side = max(height, width)
    factors: list[float] = [float(factor) for factor in range(max(1, round(ENLARGE_TO / side)), 0, -1)]
    while side * factors[-1] * 0.8 >= SMALLEST:
        factors.append(factors[-1] * 0.8)
    return [(max(1, round(height * factor)), max(1, round(width * factor))) for factor in factors]


def _paste(grid: list[list[np.ndarray]], names: list[str] | None, height: int, width: int) -> Image.Image:
    """The grid at one thumbnail size, RGBA, with names in a grey that reads on white and on black."""
    font = ImageFont.load_default(size=max(8, min(20, round(0.32 * height)))) if names else None
    margin = 0
    if names and font:
        margin = math.ceil(max(font.getlength(name) for name in names)) + 3 * GAP
    across = max(len(row) for row in grid)
    size = (margin + across * (width + GAP) - GAP, len(grid) * (height + GAP) - GAP)
    sheet = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(sheet)
    for line, row in enumerate(grid):
        top = line * (height + GAP)
        if names and font:
            pen.text((margin - 2 * GAP, top + height / 2), names[line], fill=(128, 128, 128), font=font, anchor="rm")
        for column, pixels in enumerate(row):
            sheet.paste(_thumbnail(pixels, height, width), (margin + column * (width + GAP), top))
    return sheet


def _thumbnail(pixels: np.ndarray, height: int, width: int) -> Image.Image:
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    enlarges = height >= pixels.shape[0]
    return picture.resize((width, height), Image.Resampling.NEAREST if enlarges else Image.Resampling.LANCZOS)


def _reduced(sheet: Image.Image) -> Image.Image:
    """The sheet in 256 colours, transparent where it was."""
    return sheet.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def _encode(sheet: Image.Image) -> bytes:
    stream = io.BytesIO()
    sheet.save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def _finite_runs(
    name: str, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray
) -> list[list[tuple[float, float]]]:
    """The series cut into runs of consecutive finite points."""
    if len(x) != len(y):
        raise InputError(f"the series {name!r} has {len(x)} x and {len(y)} y values", "give as many of each")
    runs: list[list[tuple[float, float]]] = [[]]
    for left, right in zip(x, y, strict=True):
        if math.isfinite(left) and math.isfinite(right):
            runs[-1].append((float(left), float(right)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


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


class _Chart:
    """Geometry of one chart: data to SVG units, and the marks drawn with it."""

    width = 560
    left, right, top = 62, 18, 34

    def __init__(self, x: list[float], y: list[float], legend_rows: int) -> None:
        self.x_ticks = nice_ticks(min(x), max(x))
        self.y_ticks = nice_ticks(min(y), max(y))
        self.bottom = 262
        self.height = self.bottom + 46 + 20 * legend_rows

    def _place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0])
        up = (y - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return self.left + across * (self.width - self.left - self.right), self.bottom - up * (self.bottom - self.top)

    def frame(self, x_label: str, y_label: str) -> str:
        """Grid lines, ticks, axis labels."""
        parts = []
        for tick in self.y_ticks:
            _, y = self._place(self.x_ticks[0], tick)
            parts.append(
                f'<path d="M{self.left} {y:.1f}H{self.width - self.right}" stroke="currentColor" opacity=".15"/>'
                f'<text x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end" opacity=".8">{tick:g}</text>'
            )
        for tick in self.x_ticks:
            x, _ = self._place(tick, self.y_ticks[0])
            parts.append(
                f'<path d="M{x:.1f} {self.bottom}v5" stroke="currentColor" opacity=".6"/>'
                f'<text x="{x:.1f}" y="{self.bottom + 18}" text-anchor="middle" opacity=".8">{tick:g}</text>'
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
            placed = [self._place(*point) for point in run]
            if len(placed) == 1:
                x, y = placed[0]
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{PALETTE[index % len(PALETTE)]}"/>')
            else:
                parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in placed)}" {style}/>')
        return "".join(parts)

    def legend(self, index: int, name: str) -> str:
        """The entry of one series, three to a row below the axis."""
        x, y = self.left + (index % 3) * 165, self.bottom + 56 + 20 * (index // 3)
        short = name if len(name) <= 20 else name[:19] + "…"
        return (
            f'<path d="M{x} {y - 4}h26" {self._style(index)}/>'
            f'<text x="{x + 32}" y="{y}"><title>{escape(name)}</title>{escape(short)}</text>'
        )

    @staticmethod
    def _style(index: int) -> str:
        dash = DASHES[index % len(DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        return f'fill="none" stroke="{PALETTE[index % len(PALETTE)]}" stroke-width="2"{dashed}'
