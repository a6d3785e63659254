"""RDED: selection order, columns, refusals (reference 16.8).

Belongs here: rded's synthesis and recipe. Does not belong: patch scoring by itself (tests/synthesis).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.errors import InputError
from dd_assets.methods.contract import Facts
from dd_assets.methods.rded.recipe import Parameters, refuse
from dd_assets.methods.rded.synthesis import crop_boxes, synthesise
from dd_assets.methods.registry import method
from tests.methods.requests import request
from tests.models.digits import digits, facts

GREY = Facts(
    setting="grey",
    classes=("dark", "light"),
    train_counts=(12, 12),
    size=8,
    channels=1,
    normalisation=Normalisation(mean=(0.0,), std=(1.0,)),
    hflip=True,
)


class Brightness(nn.Module):
    """Log-odds of class 1 grow with brightness, of class 0 with darkness."""

    def forward(self, images: Tensor) -> Tensor:
        level = images.mean(dim=(1, 2, 3))
        return torch.stack([-level, level], dim=1)


def _grey_images() -> ImageArrays:
    """Twelve constant images of each class, levels 10, 20, … 120."""
    levels = np.tile(np.arange(10, 130, 10, dtype=np.uint8), 2)
    images = np.broadcast_to(levels[:, None, None, None], (24, 8, 8, 1)).copy()
    return ImageArrays(images, np.repeat(np.arange(2), 12))


def _grey(parameters: Parameters, ipc: int, **changes):
    return synthesise(request(parameters, ipc, facts=GREY, train=_grey_images, teacher=Brightness, **changes))


def test_quadrants_hold_ranks_from_the_most_confident() -> None:
    result = _grey(Parameters(factor=2, mipc=12, num_crops=2), ipc=2)
    assert result.labels.tolist() == [0, 1, 0, 1]
    # Light class: ranks 0…7 are levels 120, 110, … 50; image 0 takes ranks 0, 2, 4, 6, image 1 ranks 1, 3, 5, 7.
    assert result.images[1, ::4, ::4, 0].tolist() == [[120, 100], [80, 60]]
    assert result.images[3, ::4, ::4, 0].tolist() == [[110, 90], [70, 50]]
    # Dark class: levels 10, 20, … 80.
    assert result.images[0, ::4, ::4, 0].tolist() == [[10, 30], [50, 70]]
    sources = np.stack([result.columns[f"source_index_{cell}"] for cell in range(4)], axis=1)
    assert sources[1].tolist() == [23, 21, 19, 17]
    assert result.columns["crop_3"].shape == (4, 4)
    assert result.columns["crop_3"].dtype == np.int32
    scores = np.stack([result.columns[f"score_{cell}"] for cell in range(4)], axis=1)
    assert (np.diff(scores, axis=1) > 0).all()


def test_recorded_boxes_reproduce_the_image() -> None:
    parameters = Parameters(factor=1, mipc=50, num_crops=3, crop_scale_min=0.3)
    result = synthesise(request(parameters, 3))
    train = digits()[0]
    whole = 0
    for row, (top, left, height, width) in enumerate(result.columns["crop"]):
        assert height == width  # ratio (1, 1)
        source = train.images[result.columns["source_index"][row], ..., 0]
        if height == 8:
            whole += 1
            np.testing.assert_array_equal(result.images[row, ..., 0], source)
        else:
            crop = source[top : top + height, left : left + width]
            assert crop.min() <= result.images[row].min() <= result.images[row].max() <= crop.max()
    assert whole > 0


def test_each_image_gives_at_most_one_patch_and_ranks_ascend() -> None:
    result = synthesise(request(Parameters(factor=1, mipc=40, crop_scale_min=0.5), 20))
    scores = result.columns["score"].reshape(20, 10)
    assert (np.diff(scores, axis=0) >= 0).all()
    assert len(set(result.columns["source_index"].tolist())) == 200
    assert scores.dtype == np.float64


def test_draws_differ_and_repeat() -> None:
    parameters = method("rded").recipes["digits"].parameters
    first, again, other = (synthesise(request(parameters, 1, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.columns["source_index"], other.columns["source_index"])


def test_crop_small_chooses_between_code_and_paper() -> None:
    code, paper = Parameters(factor=1), Parameters(factor=1, crop_small="paper")
    assert len(crop_boxes(code, 32, 32, 0, 7)) == 5
    assert crop_boxes(paper, 32, 32, 0, 7) == [(0, 0, 32, 32)]
    # Above 64 px the paper crops too.
    assert crop_boxes(paper, 128, 128, 0, 7) == crop_boxes(code, 128, 128, 0, 7)


def test_refusals_name_the_limit() -> None:
    assert refuse(Parameters(), dataclasses.replace(facts(), train_counts=(500,) * 10), 100) == (
        "IPC 100 with factor 2 needs 400 patches per class, mipc is 300"
    )
    assert refuse(Parameters(factor=2, mipc=300), facts(), 50) is not None
    assert refuse(Parameters(factor=3), facts(), 1) == "8 px is not a multiple of factor 3"
    with pytest.raises(InputError, match="class 'dark' has 12 training images, IPC 20 needs 20 patches"):
        _grey(Parameters(factor=1), 20)
    with pytest.raises(InputError, match="in parts"):
        _grey(Parameters(factor=1), 2, first=1)
