"""Holm, clusters, variances and the bootstrap: hand-computed values, and other libraries' formulas stated again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dd_assets.errors import InputError
from dd_assets.report.statistics import (
    Bootstrap,
    Contrast,
    clusters_of,
    holm,
    rank_interval,
    separable,
    spread,
)
from tests.report.worlds import probit_world, runs


def test_holm_against_a_worked_example():
    # Sorted .01 .02 .03 .04 with factors 4 3 2 1 give .04 .06 .06 .04; the running maximum lifts the last to .06.
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    # Bonferroni would give .12 for the second.
    assert holm([0.2, 0.03, 0.5, 0.001]) == pytest.approx([0.4, 0.09, 0.5, 0.004])
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_as_a_sequence_of_tests_would_decide():
    """Independently: reject in order of p while p <= level / (those left), stop at the first that is not."""
    random = np.random.default_rng(0)
    for _ in range(200):
        p, level = random.uniform(0, 0.2, 6), 0.05
        rejected = set()
        for left, index in zip(range(6, 0, -1), np.argsort(p), strict=True):
            if p[index] > level / left:
                break
            rejected.add(int(index))
        assert {index for index, value in enumerate(holm(p.tolist())) if value <= level} == rejected


def as_lists(clusters: list[np.ndarray]) -> list[list[int]]:
    return [rows.tolist() for rows in clusters]


def test_pairs_that_share_a_draw_belong_together():
    assert as_lists(clusters_of([0, 1, 2, 0, 1], [0, 0, 0, 0, 0])) == [[0, 3], [1, 4], [2]]
    # One draw each: the seeds are all there is to vary.
    assert as_lists(clusters_of([0, 0, 0], [0, 0, 0])) == [[0], [1], [2]]
    # Two draws against three, crossed: nothing is independent of anything else. By pairs of draws it would be six.
    assert as_lists(clusters_of([0, 1, 0, 1, 0, 1], [0, 1, 2, 0, 1, 2])) == [[0, 1, 2, 3, 4, 5]]
    assert as_lists(clusters_of([0, 1, 0, 1], [0, 1, 2, 3])) == [[0, 2], [1, 3]]


def test_spread_is_that_of_the_two_way_random_layout():
    """By the textbook's mean squares, and by scipy for the one-way case of runs that do not differ in images."""
    values = np.random.default_rng(1).normal(size=(4, 30)) + np.arange(4)[:, None] + np.arange(30) / 5
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    of_rows = 30 * rows.var(ddof=1)
    of_columns = 4 * columns.var(ddof=1)
    both = ((values - rows[:, None] - columns + values.mean()) ** 2).sum() / (3 * 29)
    found = spread(values, clusters_of(range(4)))
    assert found.variance == pytest.approx((of_rows + of_columns - both) / 120)
    parts, freedom = np.array([of_rows, of_columns, both]) / 120, np.array([3, 29, 87])
    assert found.df == pytest.approx(max(3, found.variance**2 / (parts**2 / freedom).sum()))
    constant = np.repeat(np.array([[0.1], [0.4], [0.2]]), 50, axis=1)
    alone = spread(constant, clusters_of(range(3)))
    assert alone.variance**0.5 == pytest.approx(stats.sem([0.1, 0.4, 0.2]))
    assert alone.df == 2


def test_runs_of_one_draw_count_as_one():
    """Two draws of three seeds that agree within the draw: two independent values, not six."""
    values = np.repeat(np.array([[0.0], [0.6]] * 3), 40, axis=1)
    found = spread(values, clusters_of([0, 1] * 3))
    assert found.variance**0.5 == pytest.approx(stats.sem([0.0, 0.6]))
    assert spread(values, clusters_of(range(6))).variance ** 0.5 == pytest.approx(stats.sem([0.0, 0.6] * 3)), (
        "too small"
    )


def test_an_interval_without_test_noise_is_students():
    """Runs that differ by a constant over all images: the interval must be that of a paired t test, not a normal's."""
    random = np.random.default_rng(2)
    images, gains = 1000, np.array([30, 45, 22, 51, 38, 27])
    base = np.zeros((6, images), dtype=bool)
    better = base.copy()
    for row, gain in enumerate(gains):
        # Whichever images a run gains are spread evenly, so that image noise is as small as it can be.
        better[row, (np.arange(gain) * images // gain + row * 7) % images] = True
    contest = {"a": runs(better.tolist()), "b": runs(base.tolist())}
    found = Bootstrap(contest, replicates=4000, seed=int(random.integers(9))).contrast("a", "b")
    exact = stats.ttest_1samp(gains / images, 0)
    interval = exact.confidence_interval(0.95)
    assert found.difference == pytest.approx(gains.mean() / images)
    assert found.low == pytest.approx(interval.low, abs=0.004)
    assert found.high == pytest.approx(interval.high, abs=0.004)
    normal = stats.norm.interval(0.95, gains.mean() / images, gains.std() / 6**0.5 / images)
    assert found.high - found.low > 1.15 * (normal[1] - normal[0]), "five degrees of freedom are not infinitely many"


def test_an_interval_without_run_noise_is_mcnemars():
    """Runs that are all alike: what remains is the paired difference over test images."""
    first = np.r_[np.ones(60), np.zeros(40)]
    second = np.r_[np.ones(45), np.zeros(50), np.ones(5)]
    contest = {"a": runs([first.tolist()] * 5), "b": runs([second.tolist()] * 5)}
    found = Bootstrap(contest, replicates=4000).contrast("a", "b")
    error = stats.sem(first - second)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.06)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.1 / error), rel=0.25)


def test_methods_that_answer_alike_do_not_differ():
    random = np.random.default_rng(3)
    bits = (random.random((5, 40)) < 0.5).tolist()
    found = Bootstrap({"a": runs(bits), "b": runs(bits)}, replicates=500).contrast("a", "b")
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert not separable(found, 0.0), "a difference of nothing is never a win"


def test_turning_a_comparison_round_turns_the_interval_round():
    contest, _ = probit_world(np.random.default_rng(4), {"a": 1.0, "b": 0.6}, 1, 6, 80, seed=0.2)
    bootstrap = Bootstrap(contest, replicates=1000)
    one, two = bootstrap.contrast("a", "b"), bootstrap.contrast("b", "a")
    assert (two.difference, two.p) == (-one.difference, one.p)
    assert two.low == pytest.approx(-one.high, abs=2e-3)


def test_pairing_takes_the_shared_seeds_only():
    one = runs([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]], seeds=[4, 5, 6])
    two = runs([[0, 0, 0, 0], [1, 0, 0, 0]], seeds=[5, 4])
    found = Bootstrap({"a": one, "b": two}, replicates=500).contrast("a", "b")
    # Seed 4: 2/4 - 1/4, seed 5: 1/4 - 0. By position it would be 2/4 - 0 and 0.
    assert (found.pairs, found.difference) == (2, 0.25)


def test_runs_that_share_no_seed_are_not_paired():
    contest = {"a": runs([[1, 1, 1, 0]] * 5), "b": runs([[1, 0, 0, 0]] * 5, seeds=[5, 6, 7, 8, 9])}
    found = Bootstrap(contest, replicates=500).contrast("a", "b")
    assert (found.difference, found.pairs, found.low, found.p) == (0.5, 0, None, 1.0)
    assert not found.enough


def test_pairing_makes_a_small_steady_gain_visible():
    """Seeds move both methods by far more than they differ: unpaired, nothing could be said."""
    random = np.random.default_rng(5)
    contest, truth = probit_world(random, {"a": 0.9, "b": 0.5}, 1, 8, 300, seed=0.0, image=2.0)
    wobble = random.uniform(0, 0.5, 8)
    bits = {
        name: [np.where(random.random(300) < wobble[k], 0, own.bits[k]).tolist() for k in range(8)]
        for name, own in contest.items()
    }
    found = Bootstrap({name: runs(rows) for name, rows in bits.items()}, replicates=2000).contrast("a", "b")
    assert found.p < 0.01
    assert truth["a"] > truth["b"]
    accuracies = [np.mean(rows, axis=1) for rows in bits.values()]
    assert stats.ttest_ind(*accuracies).pvalue > 0.05


def test_few_pairs_never_separate():
    bits = ([[1] * 30] * 4, [[0] * 30] * 4)
    four = Bootstrap({"a": runs(bits[0]), "b": runs(bits[1])}, replicates=500).contrast("a", "b")
    assert not separable(four, 0.0)
    mixed = [[1] * 25 + [0] * 5] * 5
    five = Bootstrap({"a": runs(mixed), "b": runs([[0] * 30] * 5)}, replicates=500).contrast("a", "b")
    assert separable(five, five.p)


def test_draws_that_cross_give_no_interval():
    bits = np.random.default_rng(6).random((6, 20)) < 0.5
    contest = {"a": runs(bits.tolist(), [0, 1] * 3), "b": runs((~bits).tolist(), [0, 1, 2] * 2)}
    found = Bootstrap(contest, replicates=500).contrast("a", "b")
    assert (found.clusters, found.low, found.p) == (1, None, 1.0)
    assert not found.enough


def contrast(difference: float, p: float, pairs: int = 5) -> Contrast:
    return Contrast(first="m", second="n", difference=difference, low=None, high=None, p=p, pairs=pairs, clusters=pairs)


def test_a_rank_interval_loses_and_wins_places_only_beyond_noise():
    four = {"a": contrast(-0.2, 0.001), "b": contrast(-0.1, 0.2), "c": contrast(0.1, 0.3), "d": contrast(0.2, 0.001)}
    assert rank_interval("m", four) == (2, 4)
    # .03 is below the level, but not times the two that are left after both .001.
    assert rank_interval("m", {**four, "b": contrast(-0.1, 0.03)}) == (2, 4)
    assert rank_interval("m", {name: contrast(0.3, 0.001, pairs=4) for name in "abcd"}) == (1, 5)


def test_replicates_do_not_depend_on_the_company():
    """The third method must not change what is said of the other two, and the same seed says the same."""
    contest, _ = probit_world(np.random.default_rng(7), {"a": 1.0, "b": 0.6, "c": 0.1}, 1, 5, 60, seed=0.2)
    together = Bootstrap(contest, replicates=500).contrast("a", "b")
    assert Bootstrap({name: contest[name] for name in "ab"}, replicates=500).contrast("a", "b") == together


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: runs([[1, 0], [0, 1]], seeds=[3, 3]), "share a student seed"),
        (lambda: runs([[1, 0]], draws=[0, 1]), "for 2 draws"),
        (lambda: Bootstrap({"a": runs([[1, 0]]), "b": runs([[1, 0, 1]])}), r"\[2, 3\] images"),
    ],
)
def test_what_cannot_be_compared_is_refused(make, text):
    with pytest.raises(InputError, match=text):
        make()
