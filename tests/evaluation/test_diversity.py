"""Diversity measures of points on a line and of images of one pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import cosine_similarity as pairwise_cosines
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from dd_assets.evaluation.diversity import (
    Cloud,
    cosine_similarity,
    manifold,
    means,
    nearest,
    neighbours,
    of_class,
    representativeness,
)

REAL = (0.0, 1.0, 2.0, 4.0)
"""With k = 1 their balls have radii 1, 1, 1 and 2."""


def line(*places: float) -> Tensor:
    return torch.tensor(places, dtype=torch.float64)[:, None]


def compare(made: tuple[float, ...], k: int = 1, real: tuple[float, ...] = REAL) -> dict[str, float]:
    return manifold(Cloud.of(line(*real), k), Cloud.of(line(*made), k))


def test_radii_reach_the_kth_other_point() -> None:
    """Counting the point itself as its first neighbour would give 0 everywhere for k = 1."""
    assert Cloud.of(line(*REAL), 1).radii.tolist() == [1, 1, 1, 4]
    assert Cloud.of(line(*REAL), 2).radii.tolist() == [4, 1, 4, 9]
    assert Cloud.of(line(3.0, 3.0, 3.0, 9.0), 2).radii.tolist() == [0, 0, 0, 36]


def test_precision_density_coverage_and_recall_on_a_line() -> None:
    """2.5 lies in the balls of 2 and 4, 10 in none: precision 1/2, density (2 + 0) / 2 / k = 1, coverage 2 of 4.

    The made points' balls have radius 7.5, and that of 2.5 holds all real points: recall 1. With the sets swapped
    precision would be 1 and recall 1/2.
    """
    assert compare((2.5, 10.0)) == {"precision": 0.5, "recall": 1.0, "density": 1.0, "coverage": 0.5}


def test_the_four_measures_agree_with_scikit_learns_neighbours() -> None:
    """Balls and memberships found by another library, in eight dimensions, sets of different sizes."""
    random = np.random.default_rng(0)
    real, made = random.normal(size=(40, 8)), random.normal(0.3, 1.2, size=(25, 8))

    def radii(points: np.ndarray) -> np.ndarray:
        return NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points)[0][:, 5]

    off = pairwise_distances(real, made)
    inside = off <= radii(real)[:, None]
    expected = {
        "precision": inside.any(axis=0).mean(),
        "recall": (off <= radii(made)[None]).any(axis=1).mean(),
        "density": inside.sum() / (5 * len(made)),
        "coverage": inside.any(axis=1).mean(),
    }
    found = manifold(Cloud.of(torch.from_numpy(real)), Cloud.of(torch.from_numpy(made)))
    assert found == pytest.approx(expected)
    whole = pairwise_cosines(made)
    assert cosine_similarity(torch.from_numpy(made)) == pytest.approx((whole.sum() - 25) / (25 * 24))


def test_density_is_per_neighbour_and_coverage_asks_for_a_ball_once() -> None:
    """k = 2: balls [-2, 2], [0, 2], [0, 4], [1, 7]; 1.5 three times lies in all four: density 4 / 2, not 4."""
    found = compare((1.5, 1.5, 1.5), k=2)
    assert (found["precision"], found["density"], found["coverage"], found["recall"]) == (1.0, 2.0, 1.0, 0.0)


def test_a_point_on_the_sphere_is_inside() -> None:
    """3 is exactly 1 from 2 and from 4; open balls, as in prdc, would leave it only that of 4."""
    found = compare((3.0, 100.0))
    assert (found["density"], found["coverage"]) == (1.0, 0.5)
    assert compare((2.0, 100.0))["coverage"] == 0.75  # 1 away from 1, itself, 2 away from 4


def test_rounding_does_not_decide_what_is_on_the_sphere() -> None:
    """Far from the origin |a|² + |b|² - 2ab loses digits: neighbours at distance 1 come out a little off.

    On a line of 40 such points the balls of the ends hold 2 and the others 3; taken to the last bit, many hold fewer.
    """
    numbers = torch.Generator().manual_seed(0)
    features = torch.zeros(40, 64, dtype=torch.float64)
    features[:, 0] = torch.arange(40)
    turn = torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64, generator=numbers)).Q
    cloud = Cloud.of(features @ turn + 37.1, 1)
    assert manifold(cloud, cloud)["density"] == pytest.approx((2 * 2 + 38 * 3) / 40)


def test_the_whole_class_against_itself() -> None:
    """Every ball holds its centre and its k neighbours: density (k + 1) / k for points without ties."""
    places = torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = manifold(Cloud.of(places), Cloud.of(places))
    assert found == {"precision": 1.0, "recall": 1.0, "density": pytest.approx(6 / 5), "coverage": 1.0}


def test_small_sets_use_the_neighbours_they_have() -> None:
    assert [neighbours(points) for points in (1, 2, 5, 6, 100)] == [0, 1, 4, 5, 5]
    lonely = compare((1.0,))
    assert math.isnan(lonely["recall"])
    assert lonely["coverage"] == 0.75
    nothing = compare((1.0, 2.0), real=(1.0,))
    assert [name for name, value in nothing.items() if math.isnan(value)] == ["precision", "density", "coverage"]


def test_representativeness_is_one_over_the_mean_distance_of_all_pairs() -> None:
    """0 and 3 from 1, 2, 4 and 8: 1 + 2 + 4 + 8 and 2 + 1 + 1 + 5, 24 / 8 = 3. The distance of the means would be
    2.25, the mean of squared distances 14.5, the nearest of each 1."""
    assert representativeness(line(1.0, 2.0, 4.0, 8.0), line(0.0, 3.0)) == pytest.approx(1 / 3)
    assert of_class(Cloud.of(line(1.0, 2.0, 4.0, 8.0)), line(0.0, 3.0))["representativeness"] == pytest.approx(1 / 3)


def test_all_images_in_the_middle_are_the_most_representative() -> None:
    real = torch.randn(200, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    collapsed = real.mean(dim=0, keepdim=True).expand(10, -1)
    assert representativeness(real, collapsed) > 1.3 * representativeness(real, real[:10])


def test_no_distance_has_no_inverse() -> None:
    """Rounding leaves 1e-8 between equal points far from the origin, whose inverse would be 1e8."""
    same = torch.full((3, 64), 37.1, dtype=torch.float64)
    assert math.isnan(representativeness(same[:1], same))
    assert math.isnan(representativeness(same, same[:0]))


def test_cosine_similarity_is_that_of_pairs_of_different_images() -> None:
    """Angles 90°, 45° and 45°: (0 + 2 / sqrt 2) / 3. With each image against itself it would be (3 + 2.83) / 9."""
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0], [1.0, 1.0]], dtype=torch.float64)
    assert cosine_similarity(features) == pytest.approx(math.sqrt(2) / 3)
    assert cosine_similarity(features[:2] * 1e6) == pytest.approx(0, abs=1e-12)
    assert cosine_similarity(torch.ones(4, 3, dtype=torch.float64)) == pytest.approx(1)
    assert math.isnan(cosine_similarity(features[:1]))
    # An image whose features are all zero resembles nothing.
    assert cosine_similarity(torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)) == 0


def grey(*levels: int) -> np.ndarray:
    """Constant images of 2 x 2 pixels."""
    return np.array(levels, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), dtype=np.uint8)


TRAIN, TRUTH = grey(0, 51, 102, 255), np.array([0, 0, 1, 1])


def test_nearest_training_image_of_the_class_and_of_all() -> None:
    """90 is 39 from 51 (class 0) and 12 from 102 (class 1); white against black is 1 whatever the size."""
    found = nearest(grey(90, 255, 0), np.array([0, 1, 1]), TRAIN, TRUTH)
    assert found.in_class == pytest.approx([39 / 255, 0, 102 / 255])
    assert found.overall == pytest.approx([12 / 255, 0, 0])
    assert found.in_class_row.tolist() == [1, 3, 2]
    assert found.overall_row.tolist() == [2, 3, 0]
    assert (found.in_class[1], found.overall[2]) == (0, 0), "a copy is at exactly 0"
    black = nearest(grey(0), np.array([1]), grey(255), np.array([1]))
    assert black.in_class.tolist() == [1.0]


def test_a_real_image_is_not_its_own_neighbour() -> None:
    """Otherwise every real image would be at distance 0 and the reference figure say nothing."""
    rows = np.array([1, 3])
    found = nearest(TRAIN[rows], TRUTH[rows], TRAIN, TRUTH, own_rows=rows)
    assert found.in_class == pytest.approx([51 / 255, 153 / 255])
    assert found.overall_row.tolist() == [0, 2]


def test_pieces_do_not_change_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0)
    train, made = (numbers.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8) for count in (50, 21))
    truth, labels = numbers.integers(0, 3, 50), numbers.integers(0, 3, 21)
    train[40] = made[3]
    whole = nearest(made, labels, train, truth)
    monkeypatch.setattr("dd_assets.evaluation.diversity.CHUNK_BYTES", 8 * 48 * 7)
    pieces = nearest(made, labels, train, truth)
    for name in ("in_class", "in_class_row", "overall", "overall_row"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))
    off = ((made[:, None].astype(float) - train[None]) ** 2).mean(axis=(2, 3, 4)) ** 0.5 / 255
    np.testing.assert_allclose(whole.overall, off.min(axis=1), atol=1e-12)
    assert whole.overall[3] == 0


def test_means_leave_out_classes_without_a_value() -> None:
    assert means({"a": np.array([1.0, math.nan, 2.0]), "b": np.array([math.nan])}) == {"a": 1.5, "b": None}
