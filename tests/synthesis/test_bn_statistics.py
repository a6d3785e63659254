"""The BN distance against closed forms (reference 16.1).

Belongs here: bn_statistics.py on nets small enough to compute by hand. Does not belong: SRe2L's loop.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dd_assets.errors import InputError
from dd_assets.synthesis.bn_statistics import BatchNormMatcher, statistics_distance


def _layer(mean: list[float], variance: list[float]) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(mean))
    layer.running_mean, layer.running_var = torch.tensor(mean), torch.tensor(variance)
    return layer.eval()


def test_distance_uses_biased_variance_and_unsquared_norms() -> None:
    # Channel 0 holds 0, 2 (mean 1, biased variance 1); channel 1 holds 0, 4 (mean 2, biased variance 4).
    inputs = torch.tensor([[[[0.0, 2.0]], [[0.0, 4.0]]]])
    distance = statistics_distance(inputs, _layer([4.0, 6.0], [4.0, 8.0]))
    # means off by (3, 4): 5; variances off by (3, 4): 5. The unbiased variance (2, 8) would give 5 + 2 = 7,
    # squared norms 50, a mean over channels 2 · 3.5 = 7 or 25.
    assert float(distance) == pytest.approx(10.0)


def test_variance_weight_stands_on_the_variance_alone() -> None:
    inputs = torch.tensor([[[[0.0, 2.0]], [[0.0, 4.0]]]])
    layer = _layer([4.0, 6.0], [4.0, 8.0])
    # 11 · 5 + 5 (see above); on both terms it would be 110, on the means alone 60 too, hence the unequal second case.
    assert float(statistics_distance(inputs, layer, 11.0)) == pytest.approx(60.0)
    exact = _layer([1.0, 2.0], [4.0, 8.0])
    assert float(statistics_distance(inputs, exact, 11.0)) == pytest.approx(55.0)
    with BatchNormMatcher(nn.Sequential(exact), 10.0, 11.0) as matcher:
        exact(inputs)
        assert float(matcher.loss()) == pytest.approx(550.0)


def test_first_layer_counts_ten_times_and_inputs_are_measured() -> None:
    first, second = _layer([0.0], [1.0]), _layer([0.0], [1.0])
    with torch.no_grad():
        first.weight.fill_(3.0)
        first.bias.fill_(1.0)
    model = nn.Sequential(first, second).eval()
    inputs = torch.tensor([0.0, 4.0]).view(1, 1, 1, 2)
    with BatchNormMatcher(model) as matcher:
        model(inputs)
        loss = float(matcher.loss())
    scale = 3 / (1 + 1e-5) ** 0.5
    # Input of the first: mean 2, variance 4, distance 3 + 2 = 5. Its output is 1 and 1 + 4 · scale.
    second_distance = abs((2 * scale) ** 2 - 1) + (1 + 2 * scale)
    assert loss == pytest.approx(10 * 5 + second_distance, rel=1e-5)
    # Without the factor it would be 5 + d, on outputs 10 · d + …: all far away.
    assert second_distance == pytest.approx(42, rel=1e-4)


def test_layers_count_in_definition_order_and_hooks_go_away() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn1, self.bn2, self.down = _layer([0.0], [1.0]), _layer([0.0], [1.0]), _layer([5.0], [1.0])

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.bn2(self.bn1(images)) + self.down(images)

    model = Residual().eval()
    with BatchNormMatcher(model, first_multiplier=1.0) as matcher:
        model(torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2))
        # bn1 and bn2 agree with their running statistics, the shortcut's mean is off by 5.
        assert float(matcher.loss()) == pytest.approx(5.0, abs=1e-4)
        assert matcher.layers == [model.bn1, model.bn2, model.down]
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_forward_pass_leaves_the_teacher_as_it_was() -> None:
    model = nn.Sequential(_layer([0.5], [2.0])).eval()
    with BatchNormMatcher(model) as matcher:
        images = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
        model(images)
        matcher.loss().backward()
    assert images.grad is not None
    assert model[0].running_mean.item() == 0.5
    assert model[0].running_var.item() == 2.0


def test_a_teacher_without_batch_norm_is_refused() -> None:
    with pytest.raises(InputError, match="no batch norm"):
        BatchNormMatcher(nn.Linear(2, 2))
