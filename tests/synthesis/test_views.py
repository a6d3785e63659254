"""Shared views: one per batch, exact identity, torchvision's crop boxes (reference 16.2).

Belongs here: views.py. Does not belong: when a method uses which view.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from dd_assets import randomness
from dd_assets.synthesis.views import (
    DRAWS_PER_CROP,
    SharedView,
    apply_shared_view,
    crop_box,
    draw_shared_view,
    resized_crop,
)


def _views(count: int, **changes):
    settings = {"crop_scale": (0.08, 1.0), "hflip": True, "jitter": 4, "symmetric": False} | changes
    return [draw_shared_view(32, 0, "test", number, **settings) for number in range(count)]


def test_equal_images_stay_equal() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for view in _views(20):
        batch = apply_shared_view(image.repeat(3, 1, 1, 1), view)
        # One crop per image would tell them apart.
        assert torch.equal(batch[0], batch[1])
        assert torch.equal(batch[0], batch[2])
    assert len({str(view) for view in _views(20)}) == 20


def test_crop_then_flip_then_roll() -> None:
    row = torch.arange(4.0).view(1, 1, 1, 4).repeat(1, 1, 4, 1)
    view = SharedView(crop=None, flip=True, roll=(0, 1))
    # Flip gives 3 2 1 0, the roll to the right by one 0 3 2 1; the other order would give 2 1 0 3.
    assert apply_shared_view(row, view)[0, 0, 0].tolist() == [0, 3, 2, 1]
    assert torch.equal(apply_shared_view(row, SharedView(crop=(0, 0, 4, 4), flip=False, roll=(0, 0))), row)


@pytest.mark.parametrize(("symmetric", "expected"), [(False, {0, 1, 2}), (True, {-2, -1, 0, 1, 2})])
def test_roll_offsets_include_both_ends(symmetric: bool, expected: set[int]) -> None:
    views = _views(200, jitter=2, symmetric=symmetric)
    assert {view.roll[0] for view in views} == {view.roll[1] for view in views} == expected


def test_switches_turn_things_off() -> None:
    for view in _views(30, crop_scale=None, hflip=False, jitter=0):
        assert view == SharedView(crop=None, flip=False, roll=(0, 0))


def test_crop_boxes_fit_and_follow_scale_and_ratio() -> None:
    draws = randomness.uniform(2000 * DRAWS_PER_CROP, 0, "boxes").reshape(2000, DRAWS_PER_CROP)
    boxes = np.array([crop_box(40, 60, (0.08, 1.0), (3 / 4, 4 / 3), part) for part in draws])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (top + height <= 40).all()
    assert (left + width <= 60).all()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image = torch.zeros(1, 40, 60)
        oracle = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(2000)])
    # Quantiles of top, left, height and width lie within two pixels of torchvision's.
    for quantile in (0.0, 0.1, 0.5, 0.9, 1.0):
        np.testing.assert_allclose(np.quantile(boxes, quantile, axis=0), np.quantile(oracle, quantile, axis=0), atol=2)


def test_a_crop_that_never_fits_becomes_the_central_one() -> None:
    worst = np.full(DRAWS_PER_CROP, 0.999)
    # Area 1 at ratio near 4/3 does not fit a square; the fallback is the whole image.
    assert crop_box(32, 32, (1.0, 1.0), (3 / 4, 4 / 3), worst) == (0, 0, 32, 32)
    # A 32 x 64 image is cut to ratio 1 in the middle.
    assert crop_box(32, 64, (1.0, 1.0), (1.0, 1.0), worst) == (0, 16, 32, 32)
    # Twice the area never fits: 4/3 of the height of a wide image, of a tall one 4/3 of the width.
    assert crop_box(30, 64, (2.0, 2.0), (3 / 4, 4 / 3), worst) == (0, 12, 30, 40)
    assert crop_box(64, 30, (2.0, 2.0), (3 / 4, 4 / 3), worst) == (12, 0, 40, 30)


def test_downsampling_is_antialiased() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(8).view(1, 1, 1, 16).repeat(1, 1, 16, 1)
    small = resized_crop(stripes, (0, 0, 16, 16), 4)
    # Plain bilinear reads two neighbours and happens on 0.5 too, but not after a shift by one pixel of a 1-3 pattern.
    pattern = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(4).view(1, 1, 1, 16).repeat(1, 1, 16, 1)
    interior = resized_crop(pattern, (0, 0, 16, 16), 4)[..., 1:3]
    assert float((small - 0.5).abs().max()) < 0.1
    assert float((interior - 0.25).abs().max()) < 0.1  # without antialias exactly 0
