"""Losses of several teachers against sums by hand (reference sections 9 and 11).

Belongs here: synthesis/committee.py and several.py. Does not belong: who votes (tests/methods/test_cvdd.py,
test_prism.py).
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from dd_assets.errors import InputError
from dd_assets.models.pixels import to_uint8
from dd_assets.synthesis import recover as loop
from dd_assets.synthesis.committee import Shares, committee_loss, networks_run, softmax_weights
from dd_assets.synthesis.recover import Batch, Recovery, batches_of, recover
from dd_assets.synthesis.several import recover_each
from dd_assets.synthesis.views import SharedView
from tests.methods.requests import request
from tests.models.interruption import Killed, MemoryCheckpoints
from tests.synthesis.committees import Calls, bn, ce, committee, member
from tests.synthesis.two_layers import FACTS, images, normalised

STILL = SharedView(crop=None, flip=False, roll=(0, 0))
LABELS = np.array([0, 0, 1, 1])


def _pixels() -> np.ndarray:
    return normalised(images().images[[0, 1, 6, 7]])


def _evaluated(members, shares: Shares, r_bn: float = 0.01):
    x = torch.from_numpy(_pixels()).float().requires_grad_()
    loss, figures = committee_loss(members, lambda: shares, r_bn, 10.0)(x, torch.from_numpy(LABELS))
    return loss, figures, x


def test_softmax_over_the_chosen_alone_and_in_percent() -> None:
    priors = {"resnet18": 63.0, "resnet50": 65.3, "shufflenet_v2_x0_5": 68.5}
    weights = softmax_weights(priors, ["resnet18", "resnet50"], 5.0)
    # exp(-2.3 / 5) = .631: .387 and .613. Priors as fractions would give .4989, over all three .179 to ResNet-18.
    assert weights == pytest.approx({"resnet18": 0.38698, "resnet50": 0.61302}, abs=1e-5)
    # 1 + exp(-.55) + exp(-.32) = 2.3031.
    assert softmax_weights(priors, list(priors), 10.0)["shufflenet_v2_x0_5"] == pytest.approx(1 / 2.30310, abs=1e-5)


def test_the_weighted_sum_by_hand() -> None:
    x, members = _pixels(), committee("a", "b", "c")
    shares = Shares(ce={"a": 0.25, "c": 0.75}, bn={"a": 0.5, "b": 0.5})
    loss, figures, _ = _evaluated(members, shares)
    expected_ce = 0.25 * ce("a", x, LABELS) + 0.75 * ce("c", x, LABELS)
    expected_bn = 0.5 * bn("a", x) + 0.5 * bn("b", x)
    assert float(figures["ce"].detach()) == pytest.approx(expected_ce, abs=1e-5)
    assert float(figures["bn_loss"].detach()) == pytest.approx(expected_bn, abs=1e-5)
    assert float(loss.detach()) == pytest.approx(expected_ce + 0.01 * expected_bn, abs=1e-5)


def test_a_network_in_both_sums_runs_once_and_no_hook_stays() -> None:
    members = committee("a", "b", "flat")
    calls = Calls(members)
    shares = Shares(ce={"a": 1.0}, bn={"a": 1 / 3, "b": 1 / 3, "flat": 1 / 3})
    _evaluated(members, shares)
    # Without batch norm, and asked for no logits: nothing to run it for.
    assert calls.names == networks_run(members, shares) == ["a", "b"]
    assert networks_run(members, Shares(ce={"flat": 1.0}, bn={"b": 1.0})) == ["b", "flat"]
    assert not any(layer._forward_pre_hooks for model in members.values() for layer in model.modules())


def test_a_network_without_batch_norm_contributes_nothing_and_still_counts() -> None:
    x = _pixels()
    _, figures, _ = _evaluated(committee("a", "flat"), Shares(ce={"a": 1.0}, bn={"a": 0.5, "flat": 0.5}))
    # Divided by the two of them; leaving AlexNet out of the count would give all of BN_a.
    assert float(figures["bn_loss"].detach()) == pytest.approx(0.5 * bn("a", x), abs=1e-5)
    _, figures, _ = _evaluated(committee("a", "flat"), Shares(ce={"flat": 1.0}, bn={"a": 1.0}))
    assert float(figures["ce"].detach()) == pytest.approx(ce("flat", x, LABELS), abs=1e-6)
    with pytest.raises(InputError, match="none of flat has batch norm layers"):
        committee_loss({"flat": member("flat")}, lambda: Shares(ce={}, bn={}), 0.01, 10.0)


def test_the_gradient_is_the_sum_of_the_members_gradients() -> None:
    shares = Shares(ce={"a": 0.3, "b": 0.7}, bn={"a": 0.3, "b": 0.7})
    loss, _, x = _evaluated(committee("a", "b"), shares)
    (together,) = torch.autograd.grad(loss, x)
    alone = torch.zeros_like(together)
    for name, weight in shares.ce.items():
        loss, _, x = _evaluated(committee(name), Shares(ce={name: 1.0}, bn={name: 1.0}))
        alone += weight * torch.autograd.grad(loss, x)[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-7)


def _fading(length: int, index: int) -> Recovery:
    """One IPC index of two classes in two batches whose pixels grow brighter."""

    def brighten(viewed: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = -viewed.mean()
        return loss, {"ce": loss, "bn_loss": loss * 2}

    def grey(batch: Batch) -> Tensor:
        return torch.full((len(batch.labels), 1, 4, 4), -1.0) + 0.1 * index

    return Recovery(
        name="test",
        iterations=length,
        batches=batches_of(index, index + 1, 2, 1, "one_per_class"),
        initial=grey,
        rate=lambda at: 0.02,
        view=lambda batch, at: STILL,
        objective=lambda batch: nullcontext(brighten),
    )


LENGTHS = (24, 13, 0, 12)


def test_recoveries_of_different_lengths_are_what_each_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 10)
    parts = [recover(request(None, 4, facts=FACTS), _fading(length, index)) for index, length in enumerate(LENGTHS)]
    told: list[tuple[int, int]] = []
    asked = request(None, 4, facts=FACTS)
    asked.progress = lambda step, total, **figures: told.append((step, total))
    whole = recover_each(asked, [_fading(length, index) for index, length in enumerate(LENGTHS)])
    np.testing.assert_array_equal(whole.images, np.concatenate([part.images for part in parts]))
    assert whole.labels.tolist() == [0, 1] * 4
    for name in ("iteration", "ce", "bn_loss"):
        kept = [part.curves[name] for part in parts if part.curves]
        np.testing.assert_array_equal(whole.curves[name], np.concatenate(kept))
    # A constant gradient makes Adam's steps the rate itself: 24 of .02 from -1 (index 0).
    assert whole.images[0, 0, 0, 0] == to_uint8(torch.full((1, 1, 1, 1), -1 + 0.48), FACTS.normalisation)[0, 0, 0, 0]
    assert told[-1] == (98, 98)
    assert [step for step, _ in told] == sorted(step for step, _ in told)


@pytest.mark.parametrize("die_after", [1, 2, 3, 5, 7, 8, 9, 10])
def test_several_recoveries_resume_where_they_were(die_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 10)

    def run(checkpoints: MemoryCheckpoints | None = None):
        asked = request(None, 4, facts=FACTS, checkpoints=checkpoints)
        return recover_each(asked, [_fading(length, index) for index, length in enumerate(LENGTHS)])

    undisturbed = run()
    checkpoints = MemoryCheckpoints(die_after)
    with pytest.raises(Killed):
        run(checkpoints)
    resumed = run(checkpoints)
    # 3 saves per batch of 24 iterations, 2 per batch of 13 or 12: none is repeated.
    assert checkpoints.saves == 2 * (3 + 2 + 0 + 2)
    np.testing.assert_array_equal(resumed.images, undisturbed.images)
    for name, values in undisturbed.curves.items():
        np.testing.assert_array_equal(resumed.curves[name], values)


def test_shares_are_asked_at_every_evaluation() -> None:
    x, members, turn = torch.from_numpy(_pixels()).float(), committee("a", "b"), iter("ab")

    def shares() -> Shares:
        name = next(turn)
        return Shares(ce={name: 1.0}, bn={name: 1.0})

    loss = committee_loss(members, shares, 0.01, 10.0)
    for name in "ab":
        figures = loss(x, torch.from_numpy(LABELS))[1]
        assert float(figures["bn_loss"]) == pytest.approx(bn(name, _pixels()), abs=1e-5)
