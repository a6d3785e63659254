"""k-means of classes in latents.

Belongs here: diffusion/centroids.py. Does not belong: the unit (test_stages.py).
"""

from __future__ import annotations

import numpy as np
import pytest

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion import centroids
from dd_assets.diffusion.centroids import class_centroids, cluster, nearest_distinct
from dd_assets.errors import InputError
from tests.diffusion.tiny import generator


def _two_classes() -> ImageArrays:
    """Class 0: 6 black, 3 grey, 2 white images; class 1: 5 of each of two greys; interleaved with each other."""
    levels = [0] * 6 + [128] * 3 + [255] * 2, [64] * 5 + [192] * 5
    images = np.concatenate([np.full((len(own), 8, 8, 1), np.array(own)[:, None, None, None]) for own in levels])
    labels = np.repeat([0, 1], [11, 10])
    order = np.random.default_rng(0).permutation(21)
    return ImageArrays(images[order].astype(np.uint8), labels[order])


def test_every_image_is_used_and_the_largest_cluster_comes_first() -> None:
    train = _two_classes()
    made = class_centroids(generator(classes=2), train, 2, 3, seed=0)
    assert made.sizes[made.of_class(0)].tolist() == [6, 3, 2]
    assert made.sizes.sum() == len(train)
    means = made.centers.reshape(6, -1).mean(axis=1)[made.of_class(0)]
    # In [-1, 1], as the denoiser sees pixels: raw [0, 1] images would give 0, .5 and 1.
    assert means.tolist() == pytest.approx([-1.0, 128 / 127.5 - 1, 1.0], abs=1e-5)
    assert made.rows(np.array([2, 0]), np.array([1, 0])).tolist() == [5, 0]
    own = train.labels[made.source_index]
    assert own.tolist() == [0, 1] * 3
    assert len(set(made.source_index.tolist())) == 6
    shown = train.images[made.source_index].reshape(6, -1).mean(axis=1) / 127.5 - 1
    assert np.allclose(made.nearest.reshape(6, -1).mean(axis=1), shown, atol=1e-5)


@pytest.mark.parametrize("last", [1, 40])
def test_the_last_images_of_a_class_move_its_centroids(last: int) -> None:
    # 311 leaves a rest in batches of whatever size. A fit that drops it and assigns every image afterwards, as D4M's
    # does with all classes but the last, has sizes that add up, too.
    labels = np.arange(622) % 2
    images = np.random.default_rng(0).integers(0, 200, (622, 8, 8, 1), dtype=np.uint8)
    moved = images.copy()
    for label in (0, 1):
        moved[np.flatnonzero(labels == label)[-last:]] += 55
    before, after = (
        class_centroids(generator(classes=2), ImageArrays(shown, labels), 2, 1, seed=0).centers
        for shown in (images, moved)
    )
    for label in (0, 1):
        # The one centre of a class is the mean of all of its images.
        assert np.allclose(before[label, 0], images[labels == label, :, :, 0].mean(axis=0) / 127.5 - 1, atol=1e-5)
        assert np.allclose(after[label] - before[label], 55 / 127.5 * last / 311, rtol=1e-2)


@pytest.mark.parametrize("full_up_to", [centroids.FULL_UP_TO, 0])
def test_the_last_images_of_a_class_can_be_a_cluster(full_up_to: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centroids, "FULL_UP_TO", full_up_to)
    # Beyond the last full batch of 64, 128 or 256.
    points = np.zeros((311, 4), dtype=np.float32)
    points[-55:] = 1
    found, sizes = cluster(points, 2, 0)
    assert np.allclose(found, [[0] * 4, [1] * 4], atol=1e-5)
    assert sizes.tolist() == [256, 55]


def test_clusters_do_not_depend_on_anything_but_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    first, sizes = cluster(points, 7, 3)
    again, _ = cluster(points, 7, 3)
    assert np.array_equal(first, again)
    assert sizes.sum() == 300
    monkeypatch.setattr(centroids, "FULL_UP_TO", 100)
    batched, batched_sizes = cluster(points, 7, 3)
    # The mini-batch form, too, assigns every point at the end.
    assert batched_sizes.sum() == 300
    assert np.array_equal(batched, cluster(points, 7, 3)[0])


def test_more_clusters_than_images_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="class 1 has 10 training images, IPC is 11"):
        class_centroids(generator(classes=2), _two_classes(), 2, 11, seed=0)
    with pytest.raises(InputError, match="3 clusters of 2 images"):
        cluster(np.zeros((2, 4), dtype=np.float32), 3, 0)


def test_duplicates_leave_empty_clusters_that_are_counted() -> None:
    _, sizes = cluster(np.zeros((5, 4), dtype=np.float32), 3, 0)
    assert sizes.sum() == 5
    assert (sizes == 0).sum() == 2


def test_no_image_stands_for_two_centres() -> None:
    points = np.array([[0.0], [1.0], [10.0]])
    assert nearest_distinct(points, np.array([[0.1], [0.2], [0.3]])).tolist() == [0, 1, 2]
