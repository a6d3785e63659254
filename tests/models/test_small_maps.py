"""Convolutions onto small maps as products of matrices: the same numbers as the library's, and only where asked for.

Belongs here: the three passes against the library's convolution, and which layers take them. Does not belong: that
evaluation and teachers follow a precision (tests/evaluation, tests/units).
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dd_assets.models.architectures import build_model
from dd_assets.models.small_maps import _Products, _SmallMapConv2d, choose_products, windows


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def test_the_windows_of_a_two_by_two_map_are_those_on_paper() -> None:
    seen = windows(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 1)
    assert seen.tolist() == [
        [0, 0, 0, 0, 1, 2, 0, 3, 4],
        [0, 0, 0, 1, 2, 0, 3, 4, 0],
        [0, 1, 2, 0, 3, 4, 0, 0, 0],
        [1, 2, 0, 3, 4, 0, 0, 0, 0],
    ]
    assert windows(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2).tolist() == [[0, 0, 0, 0, 1, 2, 0, 3, 4]]


def test_channels_are_the_fastest_index_of_a_window() -> None:
    assert windows(torch.tensor([[[[1.0]], [[2.0]]]]), 1).tolist() == [[0.0] * 8 + [1.0, 2.0] + [0.0] * 8]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 8])
def test_products_and_their_gradients_are_the_librarys(side: int, stride: int) -> None:
    maps, weight = drawn(3, 5, side, side).requires_grad_(), drawn(4, 5, 3, 3).requires_grad_()
    made, expected = _Products.apply(maps, weight, stride), F.conv2d(maps, weight, stride=stride, padding=1)
    torch.testing.assert_close(made, expected)
    assert torch.autograd.gradcheck(lambda m, w: _Products.apply(m, w, stride), (maps, weight))
    far = drawn(*expected.shape)
    for ours, theirs in zip(*(torch.autograd.grad(out, (maps, weight), far) for out in (made, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)


def answers(network: nn.Module, inputs: Tensor, half: bool) -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        return network(inputs).float()


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the maps whose windows were copied: the layers that went by products."""
    seen: list[tuple[int, ...]] = []

    def noted(maps: Tensor, stride: int) -> Tensor:
        seen.append(tuple(maps.shape))
        return windows(maps, stride)

    monkeypatch.setattr("dd_assets.models.small_maps.windows", noted)
    return seen


def test_only_the_gradients_that_are_asked_for_are_computed(copied: list[tuple[int, ...]]) -> None:
    maps, weight = drawn(2, 3, 4, 4).requires_grad_(), drawn(5, 3, 3, 3).requires_grad_()
    given, back = (2, 3, 4, 4), (2, 5, 4, 4)
    _Products.apply(maps.detach(), weight, 1).sum().backward()
    assert copied == [given, given], "forward, and the gradient of the weights"
    copied.clear()
    _Products.apply(maps, weight.detach(), 1).sum().backward()
    assert copied == [given, back], "forward, and the gradient of the maps"


def test_a_network_takes_products_only_in_bf16_and_only_when_told(copied: list[tuple[int, ...]]) -> None:
    network = build_model("resnet18", classes=10, channels=3, size=32, seed=0).eval()
    changed, inputs = copy.deepcopy(network), drawn(4, 3, 32, 32, dtype=torch.float32)
    choose_products(changed, "bf16_products")
    assert list(changed.state_dict()) == list(network.state_dict())
    whole = answers(network, inputs, half=False)
    assert torch.equal(whole, answers(changed, inputs, half=False))
    plain = answers(network, inputs, half=True)
    assert copied == []
    products = answers(changed, inputs, half=True)
    assert copied == [(4, 256, 8, 8), *[(4, 512, 4, 4)] * 3], "the last stage, and nothing else"
    # No further from float32 than the library's bf16 is.
    assert (products - whole).abs().max() < 2 * (plain - whole).abs().max()
    choose_products(changed, "bf16")
    assert torch.equal(answers(changed, inputs, half=True), plain)
    assert len(copied) == 4


@pytest.mark.parametrize(
    ("side", "stride", "small"), [(4, 1, True), (8, 2, True), (7, 2, True), (5, 1, False), (9, 2, False)]
)
def test_larger_maps_stay_with_the_library(side: int, stride: int, small: bool, copied: list[tuple[int, ...]]) -> None:
    layer, inputs = nn.Conv2d(64, 64, 3, stride, 1), drawn(8, 64, side, side, dtype=torch.float32)
    torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(0))
    plain = answers(layer, inputs, half=True)
    choose_products(layer, "bf16_products")
    made = answers(layer, inputs, half=True)
    assert bool(copied) is small
    torch.testing.assert_close(made, plain, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, stride=3),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 4, 3, padding=1),
    ],
    ids=["1x1", "no padding", "groups", "dilation", "stride 3", "reflect", "transposed"],
)
def test_other_convolutions_are_left_alone(layer: nn.Module) -> None:
    kind = type(layer)
    choose_products(layer, "bf16_products")
    assert type(layer) is kind


def test_weights_get_float32_gradients() -> None:
    layer = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    choose_products(layer, "bf16_products")
    assert type(layer) is _SmallMapConv2d
    with torch.autocast("cpu", torch.bfloat16):
        layer(drawn(2, 8, 4, 4, dtype=torch.float32)).float().square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
