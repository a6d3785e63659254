"""Moments of the real set against closed forms (reference section 5 trap d, section 7 trap b).

Belongs here: real_statistics.py. Does not belong: the moments of one batch (test_feature_statistics.py).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dd_assets import randomness
from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.synthesis.real_statistics import measure
from tests.synthesis.two_layer_moments import cut, of_batch, real, statistics
from tests.synthesis.two_layers import Weights, images

UNIT = Normalisation(mean=(0.0,), std=(1 / 255,))
"""Network input in grey levels."""


def _measure(model: nn.Module, pixels: np.ndarray, labels: np.ndarray, **changes):
    given = {"classes": 2, "patch": 2, "batch": 2, "pad_crop": 0, "hflip": False, "seed": 0, "device": "cpu"}
    return measure(model, pixels, labels, normalisation=UNIT, **{**given, **changes})


def _levels(*values: list[int]) -> np.ndarray:
    """One 2x2 image for each list of four grey levels."""
    return np.array(values, dtype=np.uint8).reshape(-1, 2, 2, 1)


FOUR = _levels([0, 0, 0, 0], [2, 2, 2, 2], [4, 4, 8, 8], [10, 10, 14, 14])
LABELS = np.array([0, 0, 1, 1])
CONV = nn.Sequential(nn.Conv2d(1, 1, 1)).eval()


def test_the_variance_is_the_mean_of_batch_variances() -> None:
    found = _measure(CONV, FOUR, LABELS)
    order = randomness.permutation(4, 0, "statistics", "order")
    batches = [FOUR[order[:2]].astype(float), FOUR[order[2:]].astype(float)]
    assert found["0/var"][0] == pytest.approx(np.mean([batch.var() for batch in batches]))
    assert found["0/mean"][0] == pytest.approx(FOUR.mean())
    # The variance of the whole set is 23; it is that of one batch of all.
    assert abs(found["0/var"][0] - FOUR.var()) > 0.5
    assert _measure(CONV, FOUR, LABELS, batch=4)["0/var"][0] == pytest.approx(FOUR.var())


def test_a_smaller_last_batch_counts_for_less() -> None:
    found = _measure(CONV, FOUR, LABELS, batch=3)
    order = randomness.permutation(4, 0, "statistics", "order")
    expected = 0.75 * FOUR[order[:3]].var() + 0.25 * FOUR[order[3:]].var()
    assert found["0/var"][0] == pytest.approx(expected)


def test_class_variance_of_images_and_pooled() -> None:
    found = _measure(CONV, FOUR, LABELS)
    # Class 0 holds a black and a level-2 image: no variance within, 1 between. Class 1: 4 within, means 6 and 12.
    np.testing.assert_allclose(found["0/class_mean"], [[1.0], [9.0]], rtol=1e-5)
    np.testing.assert_allclose(found["0/class_var"], [[0.0], [4.0]], rtol=1e-5)
    np.testing.assert_allclose(found["0/class_spread"], [[1.0], [9.0]], rtol=1e-5)
    pooled = found["0/class_var"] + found["0/class_spread"]
    assert pooled[1, 0] == pytest.approx(FOUR[2:].astype(float).var())


def test_every_layer_of_a_network_by_hand() -> None:
    found, x = statistics(), real()
    conv = of_batch(x)[1]
    for name, value in zip(("mean", "var", "patch_mean", "patch_var"), conv, strict=True):
        np.testing.assert_allclose(found[f"1/{name}"], value, rtol=1e-5)
    own = [of_batch(image[None]) for image in x]
    for layer in range(3):
        np.testing.assert_allclose(
            found[f"{layer}/class_var"][1], np.mean([each[layer][1] for each in own[6:]], axis=0), rtol=1e-5
        )
    # By patch, mean and variance are not under each other's names, as in EDC's files.
    np.testing.assert_allclose(
        found["1/class_patch_mean"][0], cut(Weights().inner(x[:6])).mean((0, 1, 3, 5)).ravel(), rtol=1e-5
    )
    assert found["patch"].tolist() == [2.0]
    assert not any(name.startswith(("0/patch", "2/patch")) for name in found)
    assert all(value.dtype == np.float32 for value in found.values())


def test_images_are_moved_within_black_and_mirrored() -> None:
    seen: list[torch.Tensor] = []
    model = nn.Sequential(nn.Conv2d(1, 1, 1)).eval()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    pixels = np.tile(_levels([1, 2, 3, 4]), (200, 1, 1, 1))
    labels = np.arange(200) % 2
    _measure(model, pixels, labels, batch=200)
    assert (seen.pop() == torch.tensor([[1.0, 2.0], [3.0, 4.0]])).all()
    _measure(model, pixels, labels, batch=200, hflip=True)
    mirrored = (seen.pop()[:, 0, 0, 0] == 2).float().mean()
    assert 0.35 < mirrored < 0.65
    _measure(model, pixels, labels, batch=200, pad_crop=1)
    views = {tuple(view.flatten().tolist()) for view in seen.pop()}
    # All nine places: whole, and rows or columns of black from each side.
    assert len(views) == 9
    assert {(1, 2, 3, 4), (0, 0, 0, 1), (4, 0, 0, 0), (0, 1, 0, 3)} <= views


def test_an_image_is_seen_alike_whatever_the_batch() -> None:
    given = images()
    of_three, of_five = (
        _measure(CONV, given.images, given.labels, batch=size, pad_crop=1, hflip=True) for size in (3, 5)
    )
    for name in ("class_mean", "class_var", "class_spread", "mean"):
        np.testing.assert_allclose(of_three[f"0/{name}"], of_five[f"0/{name}"], rtol=1e-5)
    assert of_three["0/var"] != of_five["0/var"]


def test_large_images_are_cropped_and_resized() -> None:
    seen: list[torch.Tensor] = []
    model = nn.Sequential(nn.Conv2d(1, 1, 1)).eval()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    ramp = np.tile(np.arange(16, dtype=np.uint8).reshape(1, 1, 16, 1), (8, 16, 1, 1))
    _measure(model, ramp, np.arange(8) % 2, batch=8, crop_scale_min=0.1)
    spans = seen[0].amax(dim=(1, 2, 3)) - seen[0].amin(dim=(1, 2, 3))
    assert seen[0].shape == (8, 1, 16, 16)
    # Crops of between a tenth and all of the area show less than the whole ramp, each its own part.
    assert (spans < 14.9).any()
    assert len({round(float(span), 3) for span in spans}) > 4
    # White stays white in network input, whose unit is a grey level here.
    _measure(model, np.full_like(ramp, 255), np.arange(8) % 2, batch=8, crop_scale_min=0.1)
    assert seen[-1].flatten().numpy() == pytest.approx(255.0)


def test_measuring_leaves_the_network_as_it_was_and_refuses_what_cannot_be() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1)).eval()
    _measure(model, FOUR, LABELS)
    assert model[0].running_mean.item() == 0.0
    assert not any(module._forward_pre_hooks for module in model.modules())
    # In training mode the convolution would see inputs normalised by their own batch.
    with pytest.raises(InputError, match="training mode"):
        _measure(model.train(), FOUR, LABELS)
    with pytest.raises(InputError, match="class 1 has no training images"):
        _measure(CONV, FOUR, np.zeros(4, dtype=np.int64))

    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.aside = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.used(inputs)

    with pytest.raises(InputError, match="'aside' takes no part"):
        _measure(Aside().eval(), FOUR, LABELS)
