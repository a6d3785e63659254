"""Variance components: a worked example, unbiasedness on simulated bits, and what one run or one draw leaves open."""

from __future__ import annotations

import numpy as np
import pytest

from dd_assets.report.statistics import Runs
from dd_assets.report.variance import split
from tests.report.worlds import runs


def test_runs_by_images_as_computed_by_hand():
    # Run means 3/4 and 1/4: mean square 4·(1/16 + 1/16) = 1/2.
    found = split(runs([[1, 1, 1, 0], [1, 0, 0, 0]]))
    # Image means 1, .5, .5, 0 around .5: 2·(.25 + .25)/3 = 1/3. Residuals ±.25 where the runs disagree or agree: 1/6.
    assert found.seed == pytest.approx((0.5 - 1 / 6) / 4)
    assert found.image == pytest.approx((1 / 3 - 1 / 6) / 2 / 4)
    assert found.rest == pytest.approx(1 / 6 / 4)
    assert found.draw is None


def test_runs_that_are_all_alike_vary_by_image_alone():
    found = split(runs([[1, 1, 0, 0]] * 3))
    assert (found.seed, found.rest) == (pytest.approx(-0.0), 0)
    assert found.image == pytest.approx(np.var([1, 1, 0, 0], ddof=1) / 4)
    assert found.shares() == {"draw": None, "seed": 0, "image": 1, "rest": 0}


def test_one_run_says_nothing_about_seeds():
    found = split(runs([[1, 0, 0, 1]]))
    assert (found.draw, found.seed) == (None, None)
    assert found.image == pytest.approx(1 / 3 / 4)


@pytest.mark.parametrize("draws", [[0, 1, 2, 3, 0, 1, 2, 3], [0, 0, 0, 1, 1, 2, 3, 3]])
def test_components_are_unbiased(draws: list[int]):
    """Over 1500 simulated layouts the mean estimate is the true variance, with unequal seeds per draw as well.

    Treating all runs as independent would put the draw's variance into `seed`.
    """
    random, images, count = np.random.default_rng(3), 30, len(draws)
    own = np.array(draws)
    truth = {"draw": 0.05, "seed": 0.03, "image": 0.04, "draw_image": 0.02, "rest": 0.06}
    sd = {name: value**0.5 for name, value in truth.items()}
    total = np.zeros(4)
    for _ in range(1500):
        values = random.normal(0, sd["draw"], 4)[own][:, None] + random.normal(0, sd["seed"], count)[:, None]
        values = values + random.normal(0, sd["image"], images) + random.normal(0, sd["draw_image"], (4, images))[own]
        values = values + random.normal(0, sd["rest"], (count, images))
        made = Runs(bits=values, draws=tuple(draws), seeds=tuple(range(count)))
        found = split(made)
        assert found.draw is not None
        assert found.seed is not None
        total += [found.draw, found.seed, found.image * images, found.rest * images]
    expected = [0.05, 0.03, 0.04, 0.08]
    # Standard errors of the means are .0015, .0006, .0004 and .0002.
    assert np.abs(total / 1500 - expected) == pytest.approx([0, 0, 0, 0], abs=0.004)


def test_shares_add_up_and_ignore_estimates_below_zero():
    random = np.random.default_rng(1)
    found = split(runs((random.random((6, 50)) < 0.5).tolist(), [0, 0, 1, 1, 2, 2]))
    shares = found.shares()
    assert sum(value for value in shares.values() if value is not None) == pytest.approx(1)
    assert all(value is not None and value >= 0 for value in shares.values())
