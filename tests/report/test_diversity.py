"""Diversity beside accuracy: rank correlations by hand, and the page's table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from dd_assets.report.diversity import COLUMNS, correlations, spearman
from dd_assets.report.page import render_page
from tests.report.test_page import Outline, row


def test_spearman_by_hand() -> None:
    """Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15) = .6, whatever the values."""
    assert spearman([0.1, 0.2, 0.3, 100.0], [20, 10, 40, 30]) == pytest.approx(0.6)
    assert spearman([1, 2, 3], [9, 4, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 1], [9, 4, 1]) is None


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    """Ranks 1.5 1.5 3 against 1 2 3: sqrt(3) / 2 = .866; the formula without ties gives 1 - 6 * .5 / 24 = .875, and
    ranks by position 1."""
    assert spearman([5, 5, 7], [1, 2, 3]) == pytest.approx(3**0.5 / 2)
    numbers = np.random.default_rng(0)
    for _ in range(20):
        left, right = numbers.integers(0, 4, (2, 9))
        assert spearman(left, right) == pytest.approx(spearmanr(left, right).statistic)


def measured(method: str, coverage: float, **other: Any) -> dict[str, Any]:
    return {"method": method, **dict.fromkeys(COLUMNS), "coverage": coverage, **other}


def test_methods_are_compared_within_one_student_and_label() -> None:
    found = [measured("a", 0.1, recall=0.5), measured("b", 0.2, recall=0.4), measured("c", 0.3), measured("d", 0.9)]
    rows = [row("a", 0.3), row("b", 0.2), row("c", 0.1), row("d", 0.9), row("a", 0.1, label="hard")]
    rows = [{"apart": "", **entry} for entry in rows]
    rows[3]["apart"] = "overridden"  # overridden: with it the correlation would not be -1
    (line,) = correlations(found, rows)
    assert (line["student"], line["label"], line["count"]) == ("convnet2_w64", "soft", 3)
    assert line["coverage"] == pytest.approx(-1)
    assert line["recall"] is None, "two methods have it"
    assert line["precision"] is None
    assert correlations(found[:2], rows) == []


def test_the_page_shows_measures_references_and_correlations() -> None:
    methods = [measured(name, value) for name, value in (("a", 0.25), ("b", 0.5), ("c", 0.75))]
    rows = [{"apart": "", **row(name, value)} for name, value in (("a", 0.3), ("b", 0.2), ("c", 0.9))]
    table = {
        "dataset": "digits",
        "ipc": 10,
        "columns": dict(COLUMNS),
        "methods": methods,
        "random": measured("", 0.3),
        "class": measured("", 1.0),
        "correlations": correlations(methods, rows),
    }
    page = Outline(render_page(rows, [], [], {}, [table]))
    shown = [" ".join(text.split()) for text in page.rows]
    assert any(text.startswith("b ") and "0.500" in text for text in shown)
    assert any(text.startswith("as many random real images") and "0.300" in text for text in shown)
    assert any(text.startswith("whole class") and "1.000" in text for text in shown)
    assert any(text.startswith("convnet2_w64, soft labels, 3 methods") and "0.500" in text for text in shown)
    assert "Rank correlation" not in render_page(rows, [], [], {})
