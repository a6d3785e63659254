"""DAP's kernels against values computed by hand.

Belongs here: methods/dap/kernels.py. Does not belong: features (test_dap.py).
"""

from __future__ import annotations

import math

import pytest
import torch

from dd_assets.methods.dap import kernels
from dd_assets.methods.dap.recipe import KERNELS


@pytest.mark.parametrize(
    ("kernel", "a", "b", "expected"),
    [
        (kernels.LINEAR, [0.0, 3.0], [4.0, 0.0], 5.0),
        # K(a, a) = (4 + 1)², K(b, b) = K(a, b) = 1.
        (kernels.POLYNOMIAL, [2.0], [0.0], math.sqrt(25 + 1 - 2)),
        (kernels.COSINE, [0.0, 7.0], [2.0, 0.0], math.sqrt(2)),
        (kernels.rbf(2.0), [0.0, 3.0], [4.0, 0.0], math.sqrt(2 - 2 * math.exp(-25 / 8))),
        # |a - b|₁ is 7, not 5.
        (kernels.laplacian(2.0), [0.0, 3.0], [4.0, 0.0], math.sqrt(2 - 2 * math.exp(-7 / 2))),
    ],
)
def test_distances_are_those_computed_by_hand(kernel, a: list[float], b: list[float], expected: float) -> None:
    assert float(kernels.distances(kernel, torch.tensor([a]), torch.tensor([b]))) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", KERNELS)
def test_each_kernel_is_mercers_and_smooth_at_zero(name: str) -> None:
    torch.manual_seed(0)
    points = torch.randn(12, 5)
    kernel = kernels.kernel_of(name, points)
    gram = kernel.gram(points, points)
    assert torch.linalg.eigvalsh(gram.double()).min() > -1e-4
    torch.testing.assert_close(gram.diagonal(), kernel.diagonal(points), rtol=1e-4, atol=1e-4)
    x = points[:3].clone().requires_grad_()
    found = kernels.distances(kernel, x, points)
    assert float(found.detach()[0, 0]) < 0.01
    # sqrt alone would have an infinite slope at the three zeros, hence NaN everywhere.
    assert torch.isfinite(torch.autograd.grad(found.sum(), x)[0]).all()


def test_the_width_of_a_kernel_follows_the_references() -> None:
    # Distances 3, 4 and 5: their mean is 4, so that K of two points 4 apart is exp(-1/2).
    references = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    gram = kernels.kernel_of("rbf", references).gram(torch.tensor([[0.0, 0.0]]), references)
    assert gram[0].tolist() == pytest.approx([1.0, math.exp(-9 / 32), math.exp(-1 / 2)])
    # |a - b|₁ is 3, 4 and 7.
    wide = kernels.kernel_of("laplacian", references).gram(torch.tensor([[0.0, 0.0]]), references)
    assert wide[0, 2].item() == pytest.approx(math.exp(-4 / (14 / 3)))
    # One reference has no distance from others; nothing breaks.
    alone = kernels.kernel_of("rbf", references[:1])
    assert torch.isfinite(kernels.distances(alone, references, references[:1])).all()


@pytest.mark.parametrize("numbers", [5, 4096])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", KERNELS)
def test_references_that_do_not_differ_guide_all_the_same(name: str, count: int, numbers: int) -> None:
    """Of one reference, or equal ones, the width was 1e-6 and every gradient 0."""
    torch.manual_seed(0)
    references = 3 * torch.randn(1, numbers).repeat(count, 1)
    x = torch.randn(2, numbers, requires_grad=True)
    distance = kernels.distances(kernels.kernel_of(name, references), x, references).mean()
    (slope,) = torch.autograd.grad(distance, x)
    assert slope.isfinite().all()
    assert (slope.norm(dim=1) > 1e-5).all()


@pytest.mark.parametrize("name", ["rbf", "laplacian"])
def test_references_at_zero_have_a_width_too(name: str) -> None:
    x = torch.ones(1, 3, requires_grad=True)
    kernel = kernels.kernel_of(name, torch.zeros(2, 3))
    (slope,) = torch.autograd.grad(kernels.distances(kernel, x, torch.zeros(2, 3)).sum(), x)
    assert (slope > 0).all()
