"""Class gradients, their cosine, and its slope in the image: closed forms and finite differences.

Belongs here: synthesis/influence.py. Does not belong: which epochs are kept (tests/models/test_trajectory.py),
guidance (tests/methods/test_igd.py).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.models.architectures import build_model
from dd_assets.models.pixels import normalised
from dd_assets.synthesis.influence import (
    CHUNK,
    chosen_rows,
    class_gradient,
    cosine,
    loss_and_slope,
    mean_loss_and_slope,
)

PLAIN = Normalisation(mean=(0.0,), std=(1.0,))


class _Linear(nn.Module):
    """Two pixels, two classes, no bias: the gradient is (p - y) xᵀ."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.flatten(1))


class _TwoLayers(nn.Module):
    """Smooth, so that finite differences hold anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(images.flatten(1))))


def _two_layers() -> nn.Module:
    torch.manual_seed(0)
    return _TwoLayers().double()


def _data(*pixels: tuple[int, int], labels: tuple[int, ...]) -> ImageArrays:
    return ImageArrays(np.array(pixels, dtype=np.uint8).reshape(len(pixels), 1, 2, 1), np.array(labels))


def test_a_class_gradient_is_the_mean_over_its_images() -> None:
    train = _data((255, 0), (255, 255), (0, 51), labels=(0, 0, 1))
    # Zero weights give p = (.5, .5): for class 0 (p - y) = (-.5, .5) times the mean image (1, .5).
    found = class_gradient(_Linear(), train, 0, 200, PLAIN, 0)
    assert found.tolist() == pytest.approx([-0.5, -0.25, 0.5, 0.25])
    assert class_gradient(_Linear(), train, 1, 200, PLAIN, 0).tolist() == pytest.approx([0.0, 0.1, 0.0, -0.1])


def test_a_short_last_chunk_weighs_by_its_images() -> None:
    count = CHUNK + 1
    train = _data(*[(255, 0)] * count, labels=(0,) * count)
    train.images[0] = 0
    # Fifty white pixels in 51 images; the mean of two chunks' means would be (1 + 49 / 50) / 2 or less.
    assert float(class_gradient(_Linear(), train, 0, 200, PLAIN, 0)[2]) == pytest.approx(0.5 * 50 / 51)


def test_at_most_the_stated_images_take_part_and_the_seed_says_which() -> None:
    labels = np.arange(100) % 2
    train = ImageArrays(np.zeros((100, 1, 2, 1), dtype=np.uint8), labels)
    rows = chosen_rows(train, 1, 20, 0)
    assert len(set(rows.tolist())) == 20
    assert (labels[rows] == 1).all()
    assert rows.tolist() == chosen_rows(train, 1, 20, 0).tolist() != chosen_rows(train, 1, 20, 1).tolist()
    assert chosen_rows(train, 1, 200, 0).tolist() == list(range(1, 100, 2))


def test_the_cosine_forgets_lengths() -> None:
    one, other = torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])
    assert float(cosine(one, other)) == pytest.approx(24 / 25)
    # A squared distance would grow from 2 to 962 here; class gradients differ by such lengths along a training.
    assert float(cosine(one, 10 * other)) == pytest.approx(24 / 25)
    assert float(cosine(one, torch.zeros(2))) == 0.0


def test_an_image_that_does_what_its_class_does_has_no_loss() -> None:
    train = _data((255, 102), labels=(0,))
    image = normalised(train.images, PLAIN, "cpu")
    network = _Linear()
    wanted = class_gradient(network, train, 0, 200, PLAIN, 0)[None]
    same, slope = loss_and_slope(network, image, torch.tensor([0]), wanted)
    assert float(same) == pytest.approx(0.0, abs=1e-6)
    assert float(slope.abs().max()) < 1e-3
    # For this network the cosine is that of the images themselves: (1, .4) and (.4, 1).
    other, _ = loss_and_slope(network, image.flip(3), torch.tensor([0]), wanted)
    assert float(other) == pytest.approx(1 - 0.8 / 1.16, abs=1e-5)
    opposite, _ = loss_and_slope(network, image, torch.tensor([1]), wanted)
    assert float(opposite) == pytest.approx(2.0, abs=1e-5)


def test_the_slope_is_the_finite_difference_of_the_loss() -> None:
    network = _two_layers()
    torch.manual_seed(1)
    images, labels = torch.randn(3, 1, 2, 2, dtype=torch.float64), torch.tensor([0, 2, 1])
    wanted = torch.randn(3, sum(p.numel() for p in network.parameters()), dtype=torch.float64)
    _, slope = loss_and_slope(network, images, labels, wanted)
    # Were the image's own gradient detached (first order only), the slope would be nothing at all.
    assert float(slope.abs().sum()) > 0.1
    step = 1e-6
    for place in np.ndindex(*images.shape):
        ends = []
        for sign in (1, -1):
            moved = images.clone()
            moved[place] += sign * step
            ends.append(loss_and_slope(network, moved, labels, wanted)[0].sum())
        assert float(slope[place]) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), abs=1e-7)


def test_rows_do_not_see_each_other_and_checkpoints_are_averaged() -> None:
    networks = [build_model("convnet3_w64_in", classes=10, channels=1, size=8, seed=seed).eval() for seed in (0, 1)]
    torch.manual_seed(0)
    images, labels = torch.randn(10, 1, 8, 8), torch.arange(10)
    size = sum(p.numel() for p in networks[0].parameters())
    wanted = [torch.randn(10, size) for _ in networks]
    losses, slopes = mean_loss_and_slope(networks, images, labels, wanted)
    alone = [mean_loss_and_slope(networks, images[n : n + 1], labels[n : n + 1], [w[n : n + 1] for w in wanted])
             for n in (0, 9)]  # fmt: skip
    for row, (loss, slope) in zip((0, 9), alone, strict=True):
        torch.testing.assert_close(losses[row], loss[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(slopes[row], slope[0], rtol=1e-3, atol=1e-7)
    each = [loss_and_slope(network, images, labels, own)[0] for network, own in zip(networks, wanted, strict=True)]
    torch.testing.assert_close(losses, (each[0] + each[1]) / 2)
