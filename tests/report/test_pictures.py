"""Contact sheets, curves and inline images, on arrays small enough to check by eye."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from dd_assets.errors import InputError
from dd_assets.report.chart import PALETTE, nice_ticks
from dd_assets.report.pictures import GAP, contact_sheet, curve_svg, markdown_image

SVG = "{http://www.w3.org/2000/svg}"


def opened(png: bytes) -> np.ndarray:
    """The picture as RGBA, uint8 (H, W, 4)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def flat(values: list[int], side: int = 48) -> np.ndarray:
    """One-channel images of a single grey each, so that a pixel tells which image it is from."""
    return np.stack([np.full((side, side, 1), value, np.uint8) for value in values])


def test_each_class_has_its_row_and_images_keep_row_order():
    # Rows are interleaved by class as SyntheticImages orders them; a sheet filled in plain row order would show
    # 10, 20, 11 in its first line.
    images, labels = flat([10, 20, 11, 21, 12, 22]), np.array([0, 1, 0, 1, 0, 1])
    sheet = opened(contact_sheet(images, labels))
    centres = [[int(sheet[24 + r * (48 + GAP), 24 + c * (48 + GAP), 0]) for c in range(3)] for r in range(2)]
    assert centres == [[10, 11, 12], [20, 21, 22]]
    assert sheet.shape[:2] == (2 * 48 + GAP, 3 * 48 + 2 * GAP)
    assert sheet[24, 48 + 1, 3] == 0, "between thumbnails the sheet is transparent"


def test_only_the_first_rows_and_columns_are_shown():
    images, labels = flat([5] * 60), np.repeat(np.arange(12), 5)
    sheet = opened(contact_sheet(images, labels, rows=3, columns=2))
    assert sheet.shape[:2] == (3 * 48 + 2 * GAP, 2 * 48 + GAP)


def test_tiny_images_are_enlarged_without_blur():
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, :, 4:] = 255
    sheet = opened(contact_sheet(image, np.array([3])))
    assert sheet.shape[:2] == (48, 48)
    # Linear interpolation would put greys around the edge at column 24.
    assert set(np.unique(sheet[..., 0])) == {0, 255}
    assert (sheet[:, 23, 0] == 0).all()
    assert (sheet[:, 24, 0] == 255).all()


def test_the_limit_holds_even_for_incompressible_images():
    noise = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (100, 32, 32, 3), dtype=np.uint8)
    labels = np.tile(np.arange(10), 10)
    roomy = contact_sheet(noise, labels, max_bytes=2_000_000)
    tight = contact_sheet(noise, labels, max_bytes=30_000)
    assert len(roomy) > 200_000, "without the limit noise needs far more"
    assert len(tight) <= 30_000
    assert len(tight) > 15_000, "the limit is used, not undercut to nothing"


def test_class_names_stand_left_of_the_images():
    images, labels = flat([200, 100]), np.array([0, 1])
    plain, named = opened(contact_sheet(images, labels)), opened(contact_sheet(images, labels, ["cat", "aeroplane"]))
    margin = named.shape[1] - plain.shape[1]
    assert margin > 40
    assert named[:48, :margin, 3].any()
    assert (named[:48, margin:, 0] == 200).all()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 8, 8, 1), np.float32), np.zeros(2)),
        (np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2)),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(3)),
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0)),
    ],
    ids=["float", "channels first", "label count", "empty"],
)
def test_other_arrays_are_refused(images, labels):
    with pytest.raises(InputError):
        contact_sheet(images, labels)


def test_a_limit_no_sheet_can_meet_is_refused():
    with pytest.raises(InputError, match="does not fit 60 bytes"):
        contact_sheet(flat([1, 2]), np.array([0, 1]), max_bytes=60)


def test_markdown_image_carries_the_bytes_and_cannot_be_broken_by_its_text():
    png = contact_sheet(flat([7]), np.array([0]))
    text = markdown_image(png, "a ](b")
    assert text.startswith("![a (b](data:image/png;base64,")
    assert base64.b64decode(text.split("base64,")[1].rstrip(")")) == png


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.31, 0.37, [0.3, 0.32, 0.34, 0.36, 0.38]),
        (0, 390, [0, 100, 200, 300, 400]),
        (4, 4, [2, 3, 4, 5, 6]),
        (0, 0, [-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6]),
    ],
)
def test_ticks_are_round_and_enclose_the_data(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_curve_points_land_where_the_axes_say():
    root = ET.fromstring(curve_svg({"loss": ([0, 50, 100], [0.0, 1.0, 0.5])}, "t", "x", "y"))
    (line,) = root.iter(SVG + "polyline")
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, p.split(","))) for p in line.get("points").split())
    ticks = {text.text: text for text in root.iter(SVG + "text")}
    assert x0 == float(ticks["20"].get("x")) - (x2 - x0) / 5
    assert x1 == pytest.approx((x0 + x2) / 2)
    # SVG grows downwards: a chart with the sign wrong would put 1.0 below 0.0.
    assert y1 < y2 < y0
    assert y2 == pytest.approx((y0 + y1) / 2)


def test_gaps_break_the_line_and_lone_points_are_dots():
    y = [1.0, 2.0, float("nan"), 4.0, float("inf"), 6.0, 7.0]
    root = ET.fromstring(curve_svg({"a": (list(range(7)), y)}, "t", "x", "y"))
    assert [len(line.get("points").split()) for line in root.iter(SVG + "polyline")] == [2, 2]
    assert len(list(root.iter(SVG + "circle"))) == 1


def test_series_differ_by_more_than_colour_and_text_is_escaped():
    text = curve_svg({f"<m{i}>": ([0, 1], [i, i]) for i in range(3)}, 'a & "b"', "<x>", "y")
    root = ET.fromstring(text)
    lines = list(root.iter(SVG + "polyline"))
    assert [line.get("stroke") for line in lines] == list(PALETTE[:3])
    assert len({line.get("stroke-dasharray") for line in lines}) == 3
    shown = {element.text for element in root.iter(SVG + "text")}
    assert {'a & "b"', "<x>"} <= shown
    assert "<m1>" in "".join("".join(element.itertext()) for element in root.iter(SVG + "text"))


def test_curves_without_points_or_with_uneven_series_are_refused():
    with pytest.raises(InputError, match="no finite point"):
        curve_svg({"a": ([0.0], [float("nan")])}, "t", "x", "y")
    with pytest.raises(InputError, match="2 x and 1 y"):
        curve_svg({"a": ([0.0, 1.0], [1.0])}, "t", "x", "y")
