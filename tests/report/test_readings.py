"""Sums of z² over readings, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dd_assets.datasets.registry import setting
from dd_assets.report.readings import _pairs, readings_table, with_pooled_z
from dd_assets.report.score_table import ScoreTable
from dd_assets.report.study_scores import score_tables
from dd_assets.studies.registry import study

READINGS = study("rd3_readings")
SOFT, HARD = "flip, T 20", "flip, both labels"
PAPER = {(1, SOFT): 0.255, (1, HARD): 0.164, (10, SOFT): 0.423, (10, HARD): 0.235}


def row(ipc: int, variant: str, last: float, best: float, **other: Any) -> dict[str, Any]:
    """A cell with deviations that are 5 points of a thousand together with the paper's."""
    return {
        "dataset": "cifar10_r18_readings",
        "student": "resnet18",
        "method": "random",
        "ipc": ipc,
        "variant": variant,
        "published_mean": PAPER[ipc, variant],
        "published_std": 0.004,
        "accuracy_mean": last,
        "accuracy_std": 0.003,
        "best_mean": best,
        "best_std": 0.003,
        "seeds": 5,
        **other,
    }


def found(table: ScoreTable) -> list[tuple[Any, ...]]:
    """IPC, epoch, cells, sum, rms, furthest of each row."""
    names = ("ipc", "epoch", "cells", "squares", "rms", "worst")
    return [tuple(made[name] for name in names) for made in table.rows]


def test_sums_are_over_soft_and_hard_labels_and_all_ipc_so_far() -> None:
    rows = [
        row(1, SOFT, 0.260, 0.265),
        row(1, HARD, 0.170, 0.164),
        row(10, SOFT, 0.413, 0.423),
        row(10, HARD, 0.235, 0.245, seeds=3),
    ]
    table = readings_table(READINGS, rows)
    assert [made["seeds"] for made in table.rows] == [5, 5, 3, 3]
    one, further, first, second = found(table)
    assert "| flip, T 20 | flip, both labels | last | 4 | 6.440 | 0.634 | -2.000 |" in table.markdown()
    # At IPC 1, last: z 1 and 1.2, points .5 and .6; best: z 2 and 0, points 1 and 0.
    assert one == (1, "last", 2, pytest.approx(2.44), pytest.approx(0.305**0.5), pytest.approx(1.2))
    assert further == (1, "best", 2, pytest.approx(4.0), pytest.approx(0.5**0.5), pytest.approx(2.0))
    # With IPC 10, last: z -2 and 0 more, points 1 and 0; best: 0 and 2 more. The smaller sum stands first.
    assert first == (10, "last", 4, pytest.approx(6.44), pytest.approx((1.61 / 4) ** 0.5), pytest.approx(-2.0))
    assert second == (10, "best", 4, pytest.approx(8.0), pytest.approx((2 / 4) ** 0.5), pytest.approx(2.0))


def test_a_reading_does_not_fit_for_its_noise() -> None:
    """The variance is the mean of the soft variants' (.003 and .005 squared: .000017), for both of them."""
    rows = [row(1, SOFT, 0.260, 0.260), row(1, HARD, 0.164, 0.164)]
    rows.append({**rows[0], "variant": "flip, T 30", "accuracy_std": 0.005})
    sums = {(made["soft"], made["epoch"]): made["squares"] for made in readings_table(READINGS, rows).rows}
    expected = 0.005**2 / (0.000017 + 0.004**2)
    assert sums[SOFT, "last"] == sums["flip, T 30", "last"] == pytest.approx(expected)


def test_a_cells_z_is_the_one_that_the_sums_are_made_of() -> None:
    """.005 / sqrt(.000017 + .004^2), for the quiet variant and the noisy one alike."""
    rows = [row(1, SOFT, 0.260, 0.260, z=9.0), row(1, HARD, 0.164, 0.164, z=9.0)]
    rows.append({**rows[0], "variant": "flip, T 30", "accuracy_std": 0.005})
    rows.append({**rows[0], "variant": "shuffle and crop, T 20", "accuracy_mean": None, "accuracy_std": None})
    expected = 0.005 / (0.000017 + 0.004**2) ** 0.5
    assert [made["z"] for made in with_pooled_z(READINGS, rows)] == [
        pytest.approx(expected),
        0.0,
        pytest.approx(expected),
        None,
    ]


def test_soft_and_hard_labels_share_the_whole_loop() -> None:
    """Also how often batch norm's statistics move: not the views alone."""
    assert len(_pairs(READINGS)) == 8
    once = replace(READINGS.variants[HARD], name="flip once", protocol={"views": {"shuffle_factor": 1}})
    twice = READINGS.variants[HARD]
    other = replace(READINGS, variants={**READINGS.variants, "flip once": once})
    assert ("flip, T 20", "flip once") not in _pairs(other)
    assert ("flip, T 20", twice.name) in _pairs(other)
    same_views = {**twice.protocol, "batch_norm_updates": 1}
    other = replace(READINGS, variants={**READINGS.variants, "flip once": replace(once, protocol=same_views)})
    assert ("flip, T 20", "flip once") not in _pairs(other)


def test_a_reading_with_a_cell_missing_has_no_sum() -> None:
    rows = [
        row(1, SOFT, 0.26, 0.26),
        row(1, HARD, 0.17, 0.17),
        row(10, SOFT, 0.42, 0.42),
        row(10, HARD, 0.24, 0.24, accuracy_std=None, best_std=None),
    ]
    assert {made[0] for made in found(readings_table(READINGS, rows))} == {1}
    assert found(readings_table(READINGS, rows[:1])) == []


def test_where_the_paper_has_no_figures_there_is_no_table() -> None:
    rows = [row(1, SOFT, 0.26, 0.26, published_std=None), row(1, HARD, 0.17, 0.17, published_std=None)]
    assert score_tables(READINGS, setting("digits"), rows, {}) == []
    rows = [row(1, SOFT, 0.26, 0.26), row(1, HARD, 0.17, 0.17)]
    assert len(score_tables(READINGS, setting("digits"), rows, {})) == 1


def test_soft_and_hard_labels_share_views_and_each_has_its_knob() -> None:
    rows = [{**row(1, SOFT, 0.26, 0.26), "variant": variant.name} for variant in READINGS.variants.values()]
    pairs = {(made["soft"], made["hard"]) for made in readings_table(READINGS, rows).rows}
    assert len(pairs) == 8
    assert ("flip, T 30", "flip, base label") in pairs
    assert not any(soft.startswith("flip") != hard.startswith("flip") for soft, hard in pairs)
