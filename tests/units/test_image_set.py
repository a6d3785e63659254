"""The verdicts of a whole image set: what is repeated, what is of one colour, and that neither stops a selection."""

from __future__ import annotations

import numpy as np
import pytest

from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Product
from dd_assets.units import image_set
from dd_assets.units.tables import IMAGES, write_images
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.report.stored import put

CLASSES = ["ant", "bee", "cat", "dog", "elk"]


def joined(store: ArtefactStore, images: np.ndarray, labels: np.ndarray) -> Product:
    """What the unit makes of one shard with these images."""
    pixels = images.astype(np.uint8)
    shard = put(store, "images/random", "one", {IMAGES: write_images(pixels, labels, CLASSES, {})})
    unit = image_set.plan([shard], CLASSES, len(labels) // len(CLASSES), 0, "random")
    work = Work(unit=unit, store=store, raw=RawData(), device="cpu")
    return image_set.compute(unit, work)


@pytest.fixture
def noisy() -> tuple[np.ndarray, np.ndarray]:
    """Two images of each class, (index, class) as shards are, all different."""
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3))
    return images, np.tile(np.arange(5), 2)


def verdicts(product: Product) -> dict[str, tuple[bool, bool, str]]:
    return {found.name: (found.passed, found.blocking, found.message) for found in product.verdicts}


def test_different_images_pass(store: ArtefactStore, noisy: tuple[np.ndarray, np.ndarray]) -> None:
    found = verdicts(joined(store, *noisy))
    assert found["distinct_images"] == (True, False, "10 distinct images of 10")
    assert found["no_constant_images"] == (True, False, "0 of 10 images are of one colour")


def test_an_image_of_one_colour_is_a_warning_that_names_its_class(
    store: ArtefactStore, noisy: tuple[np.ndarray, np.ndarray]
) -> None:
    """Plain red has two values, and is one colour; a grey ramp has one value per row, and is none."""
    images, labels = noisy
    images[1] = (255, 0, 0)
    images[2] = np.arange(4)[:, None, None]
    product = joined(store, images, labels)
    assert verdicts(product)["no_constant_images"] == (False, False, "1 of 10 images are of one colour, in class 'bee'")
    assert verdicts(product)["distinct_images"][0]
    assert all(found.passed for found in product.verdicts if found.blocking), "blank real images must not stop random"


def test_classes_of_one_repeated_image_are_named_and_counted(
    store: ArtefactStore, noisy: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = noisy
    images[5:9] = images[:4]
    found = verdicts(joined(store, images, labels))["distinct_images"]
    assert found == (
        False,
        False,
        "6 distinct images of 10; one image alone in class 'ant', 'bee', 'cat' and 1 more",
    )


def test_the_only_image_of_a_class_is_no_repetition(store: ArtefactStore, noisy: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = noisy
    assert verdicts(joined(store, images[:5], labels[:5]))["distinct_images"] == (True, False, "5 distinct images of 5")


def test_the_verdicts_are_shown_as_checks() -> None:
    from dd_assets.planning import graph

    stated = {name: blocking for name, blocking, _ in graph.stages()["random/synthetic_images"].checks}
    assert stated == {"class_balance": True, "distinct_images": False, "no_constant_images": False}
