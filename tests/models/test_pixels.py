"""Pixels and network input: the inverse, the valid range, truncation (reference 16.15 and 16.17).

Belongs here: pixels.py. Does not belong: the methods that use it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.models.pixels import normalised, to_uint8, unit_to_uint8, valid_range

CIFAR = Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))


def test_every_grey_level_survives_the_round_trip() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    # Bare truncation would turn some levels v into v - 1 by float32 rounding.
    np.testing.assert_array_equal(to_uint8(normalised(levels, CIFAR, "cpu"), CIFAR), levels)


def test_normalised_is_pixel_minus_mean_over_std() -> None:
    images = np.zeros((1, 1, 2, 3), dtype=np.uint8)
    images[0, 0, 1] = (255, 51, 0)
    result = normalised(images, CIFAR, "cpu")
    assert result.shape == (1, 3, 1, 2)
    expected = [(1 - 0.4914) / 0.2023, (0.2 - 0.4822) / 0.1994, -0.4465 / 0.2010]
    torch.testing.assert_close(result[0, :, 0, 1], torch.tensor(expected))


def test_eight_bits_are_truncated_and_clamped() -> None:
    values = torch.tensor([199.7, 0.9, -3.0, 300.0]).view(1, 1, 2, 2) / 255
    # Rounding would give 200 and 1.
    assert unit_to_uint8(values).flatten().tolist() == [199, 0, 0, 255]


def test_valid_range_is_black_and_white_of_this_normalisation() -> None:
    low, high = valid_range(CIFAR, "cpu")
    torch.testing.assert_close(low.flatten(), -torch.tensor(CIFAR.mean) / torch.tensor(CIFAR.std))
    assert to_uint8(torch.stack([low, high]), CIFAR).reshape(2, 3).tolist() == [[0] * 3, [255] * 3]


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(InputError, match="float32"):
        normalised(np.zeros((1, 2, 2, 3), dtype=np.float32), CIFAR, "cpu")
    with pytest.raises(InputError, match="1 channels, the normalisation has 3"):
        normalised(np.zeros((1, 2, 2, 1), dtype=np.uint8), CIFAR, "cpu")
