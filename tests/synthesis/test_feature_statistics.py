"""Moments of feature maps against closed forms (reference section 5).

Belongs here: feature_statistics.py. Does not belong: moments of the real set (test_real_statistics.py).
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dd_assets.errors import InputError
from dd_assets.synthesis.feature_statistics import Observer, batch_moments, cells, layers_of


def test_moments_by_channel_and_by_patch() -> None:
    # One image, two channels of 4x4: the left half of channel 0 is 1, all else 0; channel 1 is 2 everywhere.
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, :, :2], maps[0, 1] = 1.0, 2.0
    mean, variance, patch_mean, patch_variance = batch_moments(maps, 2)
    assert mean.tolist() == [0.5, 2.0]
    # Biased: 8 ones of 16 give .25, the unbiased one would be .2667.
    assert variance.tolist() == [0.25, 0.0]
    # Patches hold both channels: the left ones 1 and 2, the right ones 0 and 2; row by row.
    # A moment for each pixel position inside a patch instead would be 1.25 four times.
    assert patch_mean.tolist() == [1.5, 1.0, 1.5, 1.0]
    assert patch_variance.tolist() == [0.25, 1.0, 0.25, 1.0]
    assert [part.tolist() for part in batch_moments(maps, None)] == [[0.5, 2.0], [0.25, 0.0]]


def test_maps_grow_to_the_next_multiple_of_the_patch() -> None:
    assert cells(torch.zeros(3, 5, 7, 9), 4).shape == (3, 5, 2, 4, 3, 4)
    ramp = torch.arange(2.0).view(1, 1, 1, 2).expand(1, 1, 2, 2)
    # Bilinear from 2 to 4 columns: 0, .25, .75, 1 (centres at .5 pixel steps); nearest would give 0, 0, 1, 1.
    assert cells(ramp, 4)[0, 0, 0, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_a_single_pixel_has_the_moments_of_its_repetition() -> None:
    pixels = torch.tensor([1.0, 2.0, 5.0]).view(3, 1, 1, 1)
    _, _, mean, variance = batch_moments(pixels, 4)
    grown = torch.nn.functional.interpolate(pixels, size=(4, 4), mode="bilinear")
    _, _, grown_mean, grown_variance = batch_moments(grown, 4)
    torch.testing.assert_close((mean, variance), (grown_mean, grown_variance))


def test_layers_mix_convolutions_and_batch_norm_in_definition_order() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
            self.head = nn.Linear(1, 1)
            self.down = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
            self.conv2 = nn.Conv2d(1, 1, 1)

    assert list(layers_of(Residual())) == ["conv1", "bn1", "down.0", "down.1", "conv2"]
    with pytest.raises(InputError, match="neither convolutions nor batch norm"):
        layers_of(nn.Linear(1, 1))


def test_the_observer_measures_inputs_and_lets_passes_go_by() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1)).eval()
    with Observer(model, lambda name, layer, inputs: [inputs.mean()]) as observer:
        model(torch.ones(1, 1, 2, 2) * 3)
        assert float(observer.taken["0"][0]) == 3.0
        observer.paused = True
        model(torch.zeros(1, 1, 2, 2))
        assert float(observer.taken["0"][0]) == 3.0
        observer.paused, observer.wanted = False, [True, False]
        observer.taken.clear()
        model(torch.zeros(1, 1, 2, 2))
        assert list(observer.taken) == ["0"]
    assert not any(module._forward_pre_hooks for module in model.modules())
