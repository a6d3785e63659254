"""Accuracy over label bytes: a dot per variant at the logarithm of its bytes, named below."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from dd_assets.report.bytes_figure import bytes_figures

SVG = "{http://www.w3.org/2000/svg}"


def row(variant: str, label_bytes: int | None, accuracy: float | None, method: str = "random") -> dict[str, Any]:
    return {
        "ipc": 10,
        "student": "convnet",
        "method": method,
        "variant": variant,
        "label_bytes": label_bytes,
        "accuracy_mean": accuracy,
        "accuracy_std": 0.01,
    }


def test_equal_factors_of_bytes_are_equal_distances() -> None:
    rows = [row("fp16", 1_000_000, 0.5), row("int8", 100_000, 0.4), row("a tenth, int8", 10_000, 0.6, "rded")]
    (figure,) = bytes_figures("mine", rows)
    assert figure["title"] == "bytes of a label table: mine, IPC 10, convnet"
    root = ET.fromstring(figure["svg"])
    dots = [(float(dot.get("cx", "nan")), float(dot.get("cy", "nan"))) for dot in root.iter(SVG + "circle")]
    (far, high), (middle, low), (near, top) = dots
    assert far - middle == pytest.approx(middle - near, abs=0.11)
    assert far - middle > 100
    # Accuracy goes up, SVG's y down; ten points either way are the same height.
    assert top < high < low
    assert low - high == pytest.approx(high - top, abs=0.11)
    assert next(root.iter(SVG + "circle"))[0].text == "random, fp16: 50.0 ± 1.0, 1.00 MB"
    colours = [dot.get("fill") for dot in root.iter(SVG + "circle")]
    assert colours[0] == colours[1] != colours[2]
    texts = {"".join(text.itertext()) for text in root.iter(SVG + "text")}
    assert {"1 random, fp16", "2 random, int8", "3 rded, a tenth, int8", "10.0 kB", "1.00 MB"} <= texts


def test_what_has_no_table_or_no_result_is_left_out() -> None:
    rows = [row("fp16", 1000, 0.5), row("seeds alone", None, 0.5), row("waiting", 100, None)]
    assert bytes_figures("mine", rows) == []
    (figure,) = bytes_figures("mine", [*rows, row("int8", 500, 0.5)])
    assert figure["svg"].count("<circle") == 2
