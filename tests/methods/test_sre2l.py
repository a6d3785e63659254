"""SRe2L's loop: loss at iteration 0, three iterations by formula, shards, resumption (reference 16.1, 2, 4, 17).

Belongs here: sre2l's synthesis and recipe. Does not belong: views and BN distances by themselves (tests/synthesis).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from dd_assets import randomness
from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.methods.contract import Facts
from dd_assets.methods.registry import method
from dd_assets.methods.sre2l.recipe import Parameters, refuse
from dd_assets.methods.sre2l.synthesis import batches_of, learning_rate_at, synthesise
from tests.methods.requests import request
from tests.models.digits import facts
from tests.models.interruption import Killed, MemoryCheckpoints

PLAIN = Parameters(iterations=1, crop=False, hflip=False, jitter=0)
TINY = Facts(
    setting="tiny",
    classes=("a", "b"),
    train_counts=(5, 5),
    size=4,
    channels=1,
    normalisation=Normalisation(mean=(0.5,), std=(0.25,)),
    hflip=True,
)


def _two_layer_net() -> nn.Module:
    """BN, 1x1 convolution to two channels, BN, mean over pixels; every number chosen."""
    model = nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    with torch.no_grad():
        model[0].running_mean.fill_(0.3)
        model[0].running_var.fill_(2.0)
        model[1].weight.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1, 1))
        model[2].running_mean.copy_(torch.tensor([0.5, -0.5]))
        model[2].running_var.copy_(torch.tensor([3.0, 0.25]))
    return model.eval().requires_grad_(False)


def _initial() -> np.ndarray:
    rows = [randomness.normal(16, 0, "sre2l", "init", 0, label).reshape(1, 4, 4) for label in range(2)]
    return np.stack(rows).astype(np.float64)


def test_bn_loss_at_iteration_0_by_hand() -> None:
    result = synthesise(request(PLAIN, 1, facts=TINY, teacher=_two_layer_net))
    x = _initial()
    first = abs(2.0 - x.var()) + abs(0.3 - x.mean())
    y = (x - 0.3) / np.sqrt(2.0 + 1e-5)
    variance, mean = np.array([4.0, 1.0]) * y.var(), np.array([2.0, -1.0]) * y.mean()
    second = np.hypot(*(np.array([3.0, 0.25]) - variance)) + np.hypot(*(np.array([0.5, -0.5]) - mean))
    assert result.curves["bn_loss"][0] == pytest.approx(10 * first + second, abs=1e-5)
    # The wrong versions: no factor on the first layer; unbiased variance; squared norms. All differ by far more.
    for wrong in (first + second, 10 * abs(2.0 - x.var(ddof=1)) + 10 * abs(0.3 - x.mean()) + second):
        assert abs(wrong - (10 * first + second)) > 1e-3
    logits = y.mean(axis=(2, 3)) * np.array([2.0, -1.0])
    logits = (logits - np.array([0.5, -0.5])) / np.sqrt(np.array([3.0, 0.25]) + 1e-5)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert result.curves["ce"][0] == pytest.approx(-np.diag(log_p).mean(), abs=1e-5)


def test_adam_cosine_clamp_and_last_iterate_by_formula() -> None:
    parameters = dataclasses.replace(PLAIN, iterations=3, learning_rate=0.5)
    result = synthesise(request(parameters, 1, facts=TINY, teacher=_two_layer_net))
    model, labels = _two_layer_net().double(), torch.tensor([0, 1])
    x = torch.from_numpy(_initial())
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    for it, rate in enumerate((0.5, 0.375, 0.125)):
        x.requires_grad_()
        inner = model[1](model[0](x))
        distance = 10 * ((2.0 - x.var(correction=0)).abs() + (0.3 - x.mean()).abs())
        distance = distance + (model[2].running_var - inner.var(dim=(0, 2, 3), correction=0)).norm()
        distance = distance + (model[2].running_mean - inner.mean(dim=(0, 2, 3))).norm()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), labels) + 0.01 * distance, x)
        m, v = 0.5 * m + 0.5 * gradient, 0.9 * v + 0.1 * gradient**2
        step = rate * (m / (1 - 0.5 ** (it + 1))) / ((v / (1 - 0.9 ** (it + 1))).sqrt() + 1e-8)
        x = (x.detach() - step).clamp(-2.0, 2.0)
    expected = np.floor((x * 0.25 + 0.5).numpy().transpose(0, 2, 3, 1) * 255 + 1e-3)
    # Pixels within float32 rounding of a boundary may fall to the other side.
    assert (np.abs(result.images - expected) <= 1).all()
    assert (result.images == expected).mean() > 0.95
    # Clamp bounds follow the normalisation: (0 - .5) / .25 and (1 - .5) / .25.
    assert {0, 255} <= set(result.images.flatten().tolist())


def test_the_rate_is_read_before_the_step() -> None:
    assert learning_rate_at(0, 1000, 0.25) == 0.25
    assert learning_rate_at(500, 1000, 0.25) == pytest.approx(0.125)
    assert 0 < learning_rate_at(999, 1000, 0.25) < 1e-5


SHORT = Parameters(iterations=25, batch=4, crop=True, jitter=2, learning_rate=0.1)


def test_an_index_alone_equals_the_same_index_in_a_longer_range() -> None:
    whole = synthesise(request(SHORT, 5, first=2, last=5))
    alone = synthesise(request(SHORT, 50, first=3, last=4))
    np.testing.assert_array_equal(alone.images, whole.images[10:20])
    np.testing.assert_array_equal(whole.labels, np.tile(np.arange(10), 3))
    other_draw = synthesise(request(SHORT, 50, first=3, last=4, seed=1))
    assert not np.array_equal(alone.images, other_draw.images)


def test_a_killed_synthesis_ends_bit_identically() -> None:
    parameters = dataclasses.replace(SHORT, iterations=150)
    facts_of_six = dataclasses.replace(facts(), classes=facts().classes[:6])

    def run(checkpoints: MemoryCheckpoints | None = None):
        return synthesise(request(parameters, 1, facts=facts_of_six, checkpoints=checkpoints))

    undisturbed = run()
    # Saves: iteration 100 and 150 of batch 0 (four classes), then of batch 1 (two classes).
    for die_after in (1, 2, 3):
        checkpoints = MemoryCheckpoints(die_after)
        with pytest.raises(Killed):
            run(checkpoints)
        resumed = run(checkpoints)
        assert checkpoints.saves == 4
        np.testing.assert_array_equal(resumed.images, undisturbed.images)
        for name, values in undisturbed.curves.items():
            np.testing.assert_array_equal(resumed.curves[name], values)


def test_the_digits_recipe_convinces_the_teacher() -> None:
    recipe = method("sre2l").recipes["digits"].parameters
    curves = synthesise(request(recipe, 1)).curves
    assert curves["ce"][-1] < 0.05
    assert curves["bn_loss"][-1] < 0.2 * curves["bn_loss"][0]
    assert 50 <= len(curves["ce"]) <= 151


def test_batches_of_both_layouts() -> None:
    published = batches_of(1, 3, 5, 3, "one_per_class")
    assert [batch.labels.tolist() for batch in published] == [[0, 1, 2], [3, 4], [0, 1, 2], [3, 4]]
    assert [set(batch.indices.tolist()) for batch in published] == [{1}, {1}, {2}, {2}]
    whole = batches_of(0, 3, 2, 4, "whole_set")
    assert [batch.labels.tolist() for batch in whole] == [[0, 1, 0, 1], [0, 1]]
    assert [batch.indices.tolist() for batch in whole] == [[0, 0, 1, 1], [2, 2]]


def test_whole_set_is_not_sharded() -> None:
    whole = dataclasses.replace(SHORT, batch_layout="whole_set", iterations=2)
    assert method("sre2l").shards_by_index(SHORT)
    assert not method("sre2l").shards_by_index(whole)
    assert not method("rded").shards_by_index(method("rded").recipes["default"].parameters)
    with pytest.raises(InputError, match="in parts"):
        synthesise(request(whole, 5, first=3, last=4))
    assert len(synthesise(request(whole, 2)).images) == 20


def test_refusals() -> None:
    assert refuse(Parameters(), dataclasses.replace(facts(), size=32), 1) == (
        "jitter 32 wraps around 32 px images; choose a smaller one"
    )
    assert refuse(Parameters(), dataclasses.replace(facts(), size=224), 1) is None
    with pytest.raises(InputError, match=r"not finite at iteration .*lower learning_rate or r_bn"):
        synthesise(request(dataclasses.replace(SHORT, r_bn=float("inf")), 1, teacher=_two_layer_net, facts=TINY))
