"""Scatter plots: dots where their values say, names that do not overlap, outliers said and not drawn."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

from dd_assets.errors import InputError
from dd_assets.report.chart import Chart, log_ticks
from dd_assets.report.scatter import FEW, Point, scatter_svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(points: list[Point]) -> ElementTree.Element:
    return ElementTree.fromstring(scatter_svg(points, "a < b", "seconds", "accuracy, %", "{:g} s".format))


def point(name: str, x: float, y: float, front: bool = False, **other: str) -> Point:
    return Point(name=name, x=x, y=y, front=front, **other)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.03, 7, [0.01, 0.1, 1, 10]),
        (12, 180, [10, 20, 50, 100, 200]),
        (1, 1, [1, 2]),
        (100, 1000, [100, 200, 500, 1000]),
    ],
)
def test_logarithmic_ticks_enclose_the_values(low: float, high: float, expected: list[float]):
    assert log_ticks(low, high) == pytest.approx(expected)


def test_equal_factors_are_equal_distances_on_a_wide_axis_only():
    wide = Chart([1, 100], [0, 1], 0, logarithmic=True)
    left, middle, right = (wide.place(x, 0)[0] for x in (1, 10, 100))
    assert middle - left == pytest.approx(right - middle)
    close = Chart([100, 110], [0, 1], 0, logarithmic=True)
    assert close.place(105, 0)[0] == pytest.approx((close.place(100, 0)[0] + close.place(110, 0)[0]) / 2)


def test_the_front_is_filled_and_every_dot_tells_its_values_and_a_few_their_names():
    root = drawn([point("good", 1, 80, True), point("bad", 50, 70)])
    dots = {dot.find(f"{SVG}title").text: dot.get("fill") for dot in root.iter(f"{SVG}circle")}
    assert dots == {"good: 1 s, 80": "#0072b2", "bad: 50 s, 70": "none"}
    assert {"good", "bad", "a < b"} <= {text.text for text in root.iter(f"{SVG}text")}


def test_of_many_dots_only_the_front_is_named():
    root = drawn([point("good", 1, 90, True), *(point(f"bad{i}", 2 + i, 70 + i) for i in range(FEW))])
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert "good" in texts
    assert not any(text.startswith("bad") for text in texts if text)


def test_names_do_not_lie_on_one_another():
    root = drawn([point(f"method_{i}", 10 + i / 100, 80 + i / 100, True) for i in range(12)] + [point("x", 1, 60)])
    named = [t for t in root.iter(f"{SVG}text") if re.fullmatch(r"method_\d+", t.text or "")]
    boxes = [(float(t.get("x")), float(t.get("y"))) for t in named]
    assert boxes
    for index, (x, y) in enumerate(boxes):
        assert all(abs(x - u) > 50 or abs(y - v) >= 12 for u, v in boxes[index + 1 :])


def test_a_point_far_below_is_said_and_does_not_press_the_others_together():
    points = [point(f"m{i}", 1 + i, 80 + i) for i in range(8)]
    root = drawn([*points, point("noise", 1, 10, True)])
    texts = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert "below the frame: noise 10.0" in texts
    assert len(list(root.iter(f"{SVG}circle"))) == 8
    heights = [float(dot.get("cy")) for dot in root.iter(f"{SVG}circle")]
    assert max(heights) - min(heights) > 100


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="cannot show nothing"):
        scatter_svg([], "t", "x", "y")
    with pytest.raises(InputError, match="cannot show free"):
        scatter_svg([point("free", 0, 1)], "t", "x", "y")


def test_texts_of_ticks_do_not_lie_on_one_another():
    chart = Chart([1e-3, 1e5], [0, 1], 0, logarithmic=True)
    frame = chart.frame("cost", "accuracy", "{:g} s".format)
    shown = re.findall(r'<text x="([0-9.]+)" y="[0-9.]+" text-anchor="(middle|end)" opacity=".8">([^<]* s)<', frame)
    spans = [
        (float(x) - 7 * len(text) * (0.5 if anchor == "middle" else 1), 7 * len(text)) for x, anchor, text in shown
    ]
    assert all(before + width <= after for (before, width), (after, _) in itertools.pairwise(spans))
    # Every tick keeps its mark.
    assert len(shown) < frame.count("v5") == len(chart.x_ticks)
