"""Moments over dimensions and by patch against hand-computed figures, torch's own, and their gradients.

Belongs here: moments.py. Does not belong: what is measured with them (test_bn_statistics.py,
test_feature_statistics.py).
"""

from __future__ import annotations

import pytest
import torch

from dd_assets.synthesis.feature_statistics import cells
from dd_assets.synthesis.moments import moments, patch_moments


def test_the_variance_is_biased_and_its_gradient_exact() -> None:
    inputs = torch.tensor([[[[0.0, 4.0]]], [[[2.0, 2.0]]]], requires_grad=True)
    mean, variance = moments(inputs, (0, 2, 3))
    # 0, 4, 2, 2: mean 2, squares 4 + 4 over 4 values; divided by 3 it would be 2.67.
    assert (mean.tolist(), variance.tolist()) == ([2.0], [2.0])
    (variance + 3 * mean).sum().backward()
    # 2 (x - 2) / 4 + 3 / 4; without the mean's own dependence nothing changes, since deviations sum to nought.
    assert inputs.grad is not None
    assert inputs.grad.flatten().tolist() == [-0.25, 1.75, 0.75, 0.75]


@pytest.mark.parametrize("over", [(0, 2, 3), (2, 3), (0, 1)])
def test_they_are_torchs_with_the_same_gradient(over: tuple[int, ...]) -> None:
    inputs = torch.randn(3, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mean, variance = moments(inputs, over)
    torch_variance, torch_mean = torch.var_mean(inputs, dim=over, correction=0)
    torch.testing.assert_close((mean, variance), (torch_mean, torch_variance))
    assert torch.autograd.gradcheck(lambda values: moments(values, over), (inputs,))


def test_a_far_offset_costs_no_precision() -> None:
    inputs = torch.randn(8, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    # E[x^2] - E[x]^2 would have lost every digit: the squares are a hundred million times the variance.
    torch.testing.assert_close(moments(inputs + 1e4, (0, 2, 3))[1], moments(inputs, (0, 2, 3))[1], rtol=1e-3, atol=0)


@pytest.mark.parametrize(("over", "pooled"), [((0, 1), (0, 1, 3, 5)), ((1,), (1, 3, 5))])
def test_a_patchs_variance_is_over_all_its_values(over: tuple[int, ...], pooled: tuple[int, ...]) -> None:
    maps = torch.randn(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    maps = maps.mul(torch.linspace(0.1, 3, 64).view(8, 8)).add(torch.linspace(-4, 4, 64).view(8, 8)).requires_grad_()
    mean, variance = patch_moments(cells(maps, 4), over)
    torch_variance, torch_mean = torch.var_mean(cells(maps, 4), dim=pooled, correction=0)
    torch.testing.assert_close((mean, variance), (torch_mean, torch_variance))
    # Leaving out the spread between places within a patch would give far less.
    assert (variance > 1.5 * moments(cells(maps, 4), over)[1].mean((-3, -1))).all()
    assert torch.autograd.gradcheck(lambda values: patch_moments(cells(values, 4), over), (maps,))
