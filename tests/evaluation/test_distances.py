"""Distances of feature clouds: closed forms, a matrix root by another library, and what few images do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dd_assets.errors import InputError
from dd_assets.evaluation import distances
from dd_assets.evaluation.distances import Normal, frechet_distance, kernel_distance, teacher_distances


def test_frechet_of_diagonal_clouds_as_computed_by_hand():
    # The axes do not mix: each adds (Δμ)² + (s₁ - s₂)², with variances (2, 8)/3 and (18, 2)/3.
    one = np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    two = np.array([[3.5, 0], [-2.5, 0], [0.5, 1], [0.5, -1]])
    deviations = np.sqrt(np.array([[2, 8], [18, 2]]) / 3)
    expected = 0.25 + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(one, two) == pytest.approx(expected)


def test_frechet_agrees_with_a_matrix_root_where_that_works():
    random = np.random.default_rng(0)
    one, two = random.normal(size=(200, 6)), random.normal(size=(150, 6)) @ random.normal(size=(6, 6)) + 0.3
    first, second = np.cov(one.T), np.cov(two.T)
    off = one.mean(axis=0) - two.mean(axis=0)
    expected = off @ off + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(one, two) == pytest.approx(expected)


def test_frechet_of_fewer_images_than_features_is_sound():
    """The root of a product of rank 3 in 20 dimensions is no help; the distance of a cloud from itself is still 0."""
    cloud = np.random.default_rng(1).normal(size=(4, 20))
    assert frechet_distance(cloud, cloud) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(cloud, cloud + 1.0) == pytest.approx(20)
    many = np.random.default_rng(2).normal(size=(500, 20))
    assert frechet_distance(cloud, many) > frechet_distance(many[:250], many[250:])


def test_kernel_distance_as_computed_by_hand():
    one, two = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    # Kernels (xy + 1)³: within one (1, 2) 27, within two (0, 1) 1, across 1, 8, 1, 27.
    assert kernel_distance(one, two) == pytest.approx(27 + 1 - 2 * (1 + 8 + 1 + 27) / 4)
    # With the diagonal left in, a cloud would be at distance 0 from itself; unbiased, it is below.
    assert kernel_distance(one, one) == pytest.approx(27 + 27 - 2 * (8 + 27 + 27 + 125) / 4)


def test_kernel_distance_of_one_distribution_is_zero_on_average():
    random = np.random.default_rng(3)
    values = [kernel_distance(random.normal(size=(6, 3)), random.normal(size=(40, 3))) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    moved = [kernel_distance(random.normal(size=(6, 3)) + 1, random.normal(size=(40, 3))) for _ in range(50)]
    assert np.mean(moved) > 1


@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((4, 3), (4, 2))])
@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_too_few_images_or_other_features_are_refused(distance, shapes):
    with pytest.raises(InputError, match="no distance"):
        distance(*(np.zeros(shape) for shape in shapes))


def test_pieces_of_the_kernel_matrix_add_up_to_the_whole(monkeypatch):
    random = np.random.default_rng(4)
    one, two = random.normal(size=(23, 5)), random.normal(size=(31, 5))
    whole = kernel_distance(one, two)
    monkeypatch.setattr(distances, "PIECE", 7)
    assert kernel_distance(one, two) == pytest.approx(whole, rel=1e-12)


def test_a_set_of_one_image_has_neither_distance():
    cloud = np.random.default_rng(5).normal(size=(30, 4))
    found = teacher_distances(cloud[:1], Normal.of(cloud), cloud)
    assert np.isnan(list(found.values())).all()
    found = teacher_distances(cloud[:9], Normal.of(cloud), cloud)
    assert found["frechet_teacher"] == pytest.approx(frechet_distance(cloud[:9], cloud))
