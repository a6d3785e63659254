"""Schedules against closed forms (reference 16.3, 16.4).

Belongs here: schedules.py. Does not belong: which method reads which schedule (tests/methods).
"""

from __future__ import annotations

import pytest

from dd_assets.synthesis.schedules import crop_floor_at, learning_rate_at


def test_cosine_crop_floor_starts_whole_and_ends_at_the_smallest() -> None:
    values = [crop_floor_at(at, 4000, "cosine", 1.0, 0.08) for at in (0, 2000, 3999)]
    assert values[0] == 1.0
    # Half way: .08 + .92 / 2; a curriculum that rises would give .08, .54, 1.
    assert values[1] == pytest.approx(0.54)
    assert 0.08 < values[2] < 0.0801


def test_linear_and_step() -> None:
    assert crop_floor_at(0, 100, "linear", 1.0, 0.08) == 1.0
    assert crop_floor_at(25, 100, "linear", 1.0, 0.08) == pytest.approx(0.77)
    assert [crop_floor_at(at, 100, "step", 0.5, 0.08) for at in (0, 49, 50, 99)] == [1.0, 1.0, 0.08, 0.08]


@pytest.mark.parametrize("mode", ["step", "linear", "cosine"])
def test_after_the_milestone_the_floor_stays(mode) -> None:
    assert crop_floor_at(50, 100, mode, 0.5, 0.08) == 0.08
    assert crop_floor_at(99, 100, mode, 0.5, 0.08) == 0.08
    # Milestone 0 is no curriculum, not a division by zero.
    assert crop_floor_at(0, 100, mode, 0.0, 0.08) == 0.08


def test_the_milestone_stretches_the_fall() -> None:
    # Half of the milestone's span; indexing the whole span instead would give .08 + .92 · .854 = .865.
    assert crop_floor_at(25, 100, "cosine", 0.5, 0.08) == pytest.approx(0.54)


def test_a_shorter_run_is_the_same_curve_faster() -> None:
    for share in (0.0, 0.25, 0.5, 0.75):
        long, short = int(share * 4000), int(share * 400)
        assert crop_floor_at(long, 4000, "cosine", 1.0, 0.08) == crop_floor_at(short, 400, "cosine", 1.0, 0.08)
        assert learning_rate_at(long, 4000, 0.25) == learning_rate_at(short, 400, 0.25)


def test_the_rate_starts_at_its_base_and_never_reaches_zero() -> None:
    assert learning_rate_at(0, 1000, 0.25) == 0.25
    assert learning_rate_at(500, 1000, 0.25) == pytest.approx(0.125)
    assert 0 < learning_rate_at(999, 1000, 0.25) < 1e-5
