"""Which real images guidances compare samples with.

Belongs here: diffusion/references.py. Does not belong: the unit (test_stages.py).
"""

from __future__ import annotations

import numpy as np

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion import references
from dd_assets.diffusion.references import drawn, members
from dd_assets.methods.request import ClassCentroids
from tests.diffusion.tiny import LATENT, generator


def _greys() -> ImageArrays:
    """Class 0: greys 0, 10 … 190; class 1: 5, 15 … 95; interleaved."""
    levels = np.concatenate([np.arange(0, 200, 10), np.arange(5, 105, 10)])
    labels = np.repeat([0, 1], [20, 10])
    order = np.random.default_rng(0).permutation(30)
    images = np.broadcast_to(levels[order][:, None, None, None], (30, 8, 8, 1)).astype(np.uint8)
    return ImageArrays(np.ascontiguousarray(images), labels[order])


def _centroids(*greys: tuple[float, float]) -> ClassCentroids:
    """Centres of those greys: for each index those of class 0 and class 1."""
    flat = np.array(greys, dtype=np.float32).reshape(-1) / 127.5 - 1
    centers = np.broadcast_to(flat[:, None, None, None], (len(flat), 1, 8, 8)).copy()
    whole = np.arange(len(flat))
    return ClassCentroids(centers=centers, nearest=centers, source_index=whole, sizes=whole + 1, classes=2)


def test_members_are_the_nearest_of_the_own_class_nearest_first() -> None:
    train = _greys()
    made = members(generator(classes=2), train, _centroids((52, 52), (189, 96)))
    shown = train.images[made.source_index][:, 0, 0, 0]
    assert shown[made.of(0, 0)].tolist()[:4] == [50, 60, 40, 70]
    assert shown[made.of(1, 0)].tolist()[:4] == [55, 45, 65, 35]
    assert shown[made.of(0, 1)].tolist()[:2] == [190, 180]
    assert shown[made.of(1, 1)].tolist()[:2] == [95, 85]
    assert all(len(made.of(label, index)) == references.MEMBERS for label in (0, 1) for index in (0, 1))
    # Pixels in [-1, 1], as the denoiser sees them.
    assert np.allclose(made.latents[:, 0, 0, 0], shown / 127.5 - 1, atol=1e-6)


def test_random_ones_are_the_beginning_of_one_order(monkeypatch) -> None:
    train = _greys()
    whole = drawn(generator(classes=2), train, 2, seed=0)
    # Fewer than the bank holds: every image of the class, once.
    assert sorted(whole.source_index[whole.of(1)].tolist()) == train.of_class(1).tolist()
    assert whole.source_index[whole.of(0)].tolist() != sorted(whole.source_index[whole.of(0)].tolist())
    monkeypatch.setattr(references, "DRAWN", 6)
    short = drawn(generator(classes=2), train, 2, seed=0)
    for label in (0, 1):
        assert short.source_index[short.of(label)].tolist() == whole.source_index[whole.of(label)].tolist()[:6]


def test_latents_are_the_denoisers() -> None:
    made = generator(LATENT, size=16, channels=3, classes=2)
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    found = drawn(made, ImageArrays(images, np.repeat([0, 1], 3)), 2, seed=0)
    assert np.allclose(found.latents, made.encode(images[found.source_index]).numpy(), atol=1e-5)
