"""Small pictures for metadata and pages: contact sheets as PNG, curves as SVG, images as Markdown.

Belongs here: drawing from arrays with NumPy and Pillow, as pure functions of their arguments.
Does not belong: torch, Dagster, choosing what to show, and anything that enters a content digest.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from dd_assets.errors import InputError
from dd_assets.lazy import np
from dd_assets.report.chart import Chart

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
    logarithmic: bool = False,
) -> str:
    """A self-contained inline SVG line chart (560 x 320 units) with axes, ticks and a legend.

    series: name to (x, y), each of equal length (points,); values that are not finite break the line. Text and axes
    take the surrounding text colour, so that one figure serves light and dark pages. logarithmic: x, above 0, is drawn
    by its logarithm. Raises InputError when no finite point is given or lengths differ.
    """
    lines = {name: _finite_runs(name, x, y) for name, (x, y) in series.items()}
    points = [point for runs in lines.values() for run in runs for point in run]
    if not points:
        raise InputError(f"the curve {title!r} has no finite point", "pass at least one series with finite values")
    chart = Chart(
        [x for x, _ in points], [y for _, y in points], legend_rows=math.ceil(len(lines) / 3), logarithmic=logarithmic
    )
    body = [chart.frame(x_label, y_label)]
    for index, (name, runs) in enumerate(lines.items()):
        body.append(chart.line(index, runs))
        body.append(chart.legend(index, name))
    return chart.opened(title) + "".join(body) + "</svg>"


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
