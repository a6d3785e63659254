"""DWA: the adjustment by hand, fresh and accumulating weights, real beginnings (reference 16.5, section 6 traps).

Belongs here: dwa's synthesis and recipe. Does not belong: r_var by itself (tests/synthesis/test_bn_statistics.py).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets.errors import InputError
from dd_assets.methods.dwa.recipe import Parameters, refuse
from dd_assets.methods.dwa.synthesis import adjusted, ascend, synthesise
from dd_assets.methods.registry import method
from dd_assets.models.pixels import normalised as network_input
from dd_assets.synthesis import recover
from dd_assets.synthesis.recover import Batch
from tests.methods.requests import request
from tests.models.digits import NORMALISATION, digits, facts, teacher
from tests.models.interruption import Killed, MemoryCheckpoints
from tests.synthesis.two_layers import FACTS, Weights, images, network, normalised

PLAIN = Parameters(iterations=1, crop=False, hflip=False, jitter=0, steps=2, rho=0.5, r_var=11.0)
NAMES = ("gamma1", "beta1", "kernel", "gamma2", "beta2")


def _tiny(parameters: Parameters, ipc: int = 1, **changes):
    return synthesise(request(parameters, ipc, facts=FACTS, train=images, teacher=network, **changes))


def _ascended(x: np.ndarray, labels: np.ndarray, steps: int, rho: float) -> Weights:
    weights = Weights()
    for _ in range(steps):
        gradients = weights.gradients(x, labels)
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        moved = {name: getattr(weights, name) + rho / steps * gradients[name] / norm for name in NAMES}
        weights = Weights(**moved)
    return weights


def test_loss_at_iteration_0_under_adjusted_weights_by_hand() -> None:
    start = _tiny(dataclasses.replace(PLAIN, iterations=0))
    x, labels = normalised(start.images), np.arange(2)
    weights = _ascended(x, labels, steps=2, rho=0.5)
    made = _tiny(PLAIN)
    assert made.curves["ce"][0] == pytest.approx(weights.ce(x, labels), abs=1e-5)
    assert made.curves["bn_loss"][0] == pytest.approx(weights.bn(x, r_var=11.0), abs=1e-4, rel=1e-6)
    # The wrong versions: no adjustment; descent; the whole rho at each step; r_var on both terms.
    assert abs(Weights().ce(x, labels) - weights.ce(x, labels)) > 1e-2
    assert abs(_ascended(x, labels, 2, -0.5).ce(x, labels) - weights.ce(x, labels)) > 1e-2
    assert abs(_ascended(x, labels, 2, 1.0).ce(x, labels) - weights.ce(x, labels)) > 1e-2
    assert abs(11 * weights.bn(x) - weights.bn(x, r_var=11.0)) > 1e-2


def _displacement(before: nn.Module, after: nn.Module) -> float:
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    return float(sum(((new - old).double() ** 2).sum() for old, new in pairs) ** 0.5)


def _batch_of_digits() -> tuple[Tensor, Tensor]:
    train = digits()[0]
    return network_input(train.images[:30], NORMALISATION, "cpu"), torch.from_numpy(train.labels[:30])


def test_the_adjustment_climbs_within_rho_and_leaves_buffers_and_teacher() -> None:
    x, y = _batch_of_digits()
    original, batch = teacher(), Batch(np.zeros(30, dtype=np.int64), y.numpy())
    moved = adjusted(original, [batch], lambda each: x, 12, 0.3)
    # Norms per tensor instead of one for all would give rho · sqrt(number of tensors) = .3 · sqrt(8) = .85.
    assert 0.15 < _displacement(original, moved) <= 0.3 + 1e-6
    assert F.cross_entropy(moved(x), y) > F.cross_entropy(original(x), y)
    for (name, before), after in zip(original.named_buffers(), moved.buffers(), strict=True):
        assert torch.equal(before, after), name
    assert _displacement(original, teacher()) == 0.0
    assert not any(weight.requires_grad for weight in moved.parameters())
    assert not moved.training


def test_one_step_has_exactly_the_length_rho() -> None:
    x, y = _batch_of_digits()
    moved = teacher()
    ascend(moved, x, y, 1, 0.015)
    assert _displacement(teacher(), moved) == pytest.approx(0.015, rel=1e-4)


def test_fresh_weights_by_default_and_accumulating_ones_on_request() -> None:
    x, y = _batch_of_digits()
    halves = [Batch(np.zeros(15, dtype=np.int64), y.numpy()[part]) for part in (slice(15), slice(15, 30))]

    def seen(batch: Batch) -> Tensor:
        return x[:15] if batch is halves[0] else x[15:]

    fresh, twice = adjusted(teacher(), halves[1:], seen, 3, 0.2), adjusted(teacher(), halves, seen, 3, 0.2)
    by_hand = teacher()
    ascend(by_hand, x[:15], y[:15], 3, 0.2)
    ascend(by_hand, x[15:], y[15:], 3, 0.2)
    assert _displacement(by_hand, twice) == 0.0
    assert _displacement(fresh, twice) > 0.05


def test_compat_changes_all_batches_of_an_index_but_the_first() -> None:
    parameters = dataclasses.replace(SHORT, batch=4, rho=0.5)
    fresh = synthesise(request(parameters, 2))
    compat = synthesise(request(dataclasses.replace(parameters, compat=True), 2))
    same = [np.array_equal(one, other) for one, other in zip(fresh.images, compat.images, strict=True)]
    # Classes 0 to 3 of each index are its first batch: the weights go back to the teacher's at a new index.
    assert same[:4] == same[10:14] == [True] * 4
    assert not any(same[4:10] + same[14:20])


SHORT = Parameters(iterations=8, batch=10, crop=False, jitter=1, learning_rate=0.1, steps=2, r_var=2.0)


def test_no_iterations_give_the_real_images() -> None:
    start = synthesise(request(dataclasses.replace(SHORT, iterations=0), 5))
    train = digits()[0]
    np.testing.assert_array_equal(start.images, train.images[start.columns["source_index"]])
    np.testing.assert_array_equal(start.labels, train.labels[start.columns["source_index"]])
    assert len(set(start.columns["source_index"].tolist())) == 50
    assert start.curves == {}
    nested = synthesise(request(dataclasses.replace(SHORT, iterations=0), 1))
    np.testing.assert_array_equal(nested.images, start.images[:10])
    other = synthesise(request(dataclasses.replace(SHORT, iterations=0), 1, seed=1))
    assert not np.array_equal(nested.images, other.images)


def test_optimised_images_keep_their_beginning_as_a_column() -> None:
    start = synthesise(request(dataclasses.replace(SHORT, iterations=0), 1))
    made = synthesise(request(SHORT, 1))
    np.testing.assert_array_equal(made.columns["source_index"], start.columns["source_index"])
    difference = np.abs(made.images.astype(int) - start.images).mean()
    # Eight steps of at most .1 · 96 grey levels each move an image, yet it stays near where it began (noise: above 70).
    assert 1 < difference < 40


def test_the_steps_see_the_view_of_iteration_0(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = []
    draw = recover.draw_shared_view

    def recording(size, seed, *stream, **kwargs):
        streams.append(stream)
        return draw(size, seed, *stream, **kwargs)

    monkeypatch.setattr(recover, "draw_shared_view", recording)
    synthesise(request(dataclasses.replace(SHORT, iterations=2, steps=5), 1))
    # Once for all five ascent steps, then for each iteration.
    assert streams == [("dwa", "view", 0, 0, at) for at in (0, 0, 1)]


def test_an_index_alone_equals_the_same_index_in_a_longer_range() -> None:
    for compat in (False, True):
        parameters = dataclasses.replace(SHORT, batch=4, compat=compat)
        whole = synthesise(request(parameters, 3))
        alone = synthesise(request(parameters, 50, first=1, last=2))
        np.testing.assert_array_equal(alone.images, whole.images[10:20])
        np.testing.assert_array_equal(alone.columns["source_index"], whole.columns["source_index"][10:20])


@pytest.mark.parametrize("die_after", [1, 2, 3])
def test_a_killed_synthesis_ends_bit_identically(die_after: int) -> None:
    # Two batches of 110 iterations; the second one's weights build on the first one's, which the resumed process
    # never optimises.
    parameters = dataclasses.replace(SHORT, iterations=110, batch=2, compat=True, rho=0.5)

    def run(checkpoints: MemoryCheckpoints | None = None):
        four = dataclasses.replace(facts(), classes=tuple("0123"))
        return synthesise(request(parameters, 1, facts=four, checkpoints=checkpoints))

    undisturbed, checkpoints = run(), MemoryCheckpoints(die_after)
    with pytest.raises(Killed):
        run(checkpoints)
    resumed = run(checkpoints)
    assert checkpoints.saves == 4
    np.testing.assert_array_equal(resumed.images, undisturbed.images)
    for name, values in undisturbed.curves.items():
        np.testing.assert_array_equal(resumed.curves[name], values)


def test_published_settings() -> None:
    recipes = method("dwa").recipes
    for name in ("cifar10", "cifar100"):
        given = recipes[name].parameters
        assert (given.iterations, given.steps, given.rho, given.r_var, given.crop) == (1000, 12, 0.015, 11.0, False)
    tiny, large = recipes["tiny_imagenet"].parameters, recipes["imagenet1k"].parameters
    assert (tiny.batch, tiny.learning_rate, tiny.iterations, tiny.r_var) == (200, 0.1, 2000, 11.0)
    assert (large.steps, large.r_var, large.learning_rate, large.jitter) == (15, 2.0, 0.25, 32)
    assert not any(recipe.parameters.compat for recipe in recipes.values())


def test_refusals() -> None:
    few = dataclasses.replace(facts(), train_counts=(142, 3, *[142] * 8))
    assert refuse(SHORT, few, 5) == "class '1' has 3 training images, IPC 5 needs 5 different ones"
    # Noise and another method's images take none of the class.
    for start in ("noise", "rded"):
        assert refuse(dataclasses.replace(SHORT, init=start), few, 5) is None
    assert refuse(Parameters(), facts(), 1) == "jitter 32 wraps around 8 px images; choose a smaller one"
    with pytest.raises(InputError, match="class 'a' has 6 images"):
        _tiny(PLAIN, 7)
    with pytest.raises(InputError, match="in parts"):
        synthesise(request(dataclasses.replace(SHORT, batch_layout="whole_set"), 5, first=1))
