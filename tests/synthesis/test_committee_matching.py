"""Turns, moving averages, targets and drops of committee matching (reference 16.6, 16.7; sections 5 and 7, traps).

Belongs here: committee_matching.py on the two-layer network. Does not belong: whole methods (tests/methods).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dd_assets.synthesis.batches import Batch
from dd_assets.synthesis.committee_matching import CommitteeMatcher, Matching, segment_norms
from dd_assets.synthesis.real_statistics import measure
from dd_assets.synthesis.recover import Moment
from tests.synthesis import two_layer_moments as example
from tests.synthesis.two_layers import FACTS, images

BATCH = Batch(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
PLAIN = Matching(first_multiplier=10.0, momentum=0.8, ema_init="zero", ema_reset=False)
X = [example.real()[:4], example.real()[3:7], example.real()[5:9]]


def _matcher(matching: Matching = PLAIN, batch: Batch = BATCH) -> CommitteeMatcher:
    matcher = CommitteeMatcher(example.committee_request(None, 2), "test", matching)
    matcher.start(batch, torch.zeros(4, 1, 4, 4))
    return matcher


def _visit(matcher: CommitteeMatcher, x: np.ndarray) -> Tensor:
    """One iteration with these images; the images keep the gradient."""
    images = torch.from_numpy(x).float().requires_grad_()
    matcher.see(Moment(at=0, batch=BATCH, images=images.detach(), view=lambda seen: seen))
    with matcher.watching():
        _, distance = matcher.forward(images)
    distance.backward()
    matcher.gradient = images.grad
    return distance.detach()


def _target() -> example.Moments:
    return example.of_whole_set(example.real())


def test_members_take_turns_and_each_has_its_own_average() -> None:
    matcher = _matcher()
    turns = []
    for x in (X[0], X[1], X[2]):
        distance = _visit(matcher, x)
        turns.append(matcher.turn)
    assert turns == [matcher.members["one"], matcher.members["two"], matcher.members["one"]]
    # The third iteration is member one's second: .8 (.2 of X0) + .2 of X2; X1 went to the other member.
    parts = zip(example.of_batch(X[0]), example.of_batch(X[2]), strict=True)
    value = [[0.16 * a + 0.2 * b for a, b in zip(*pair, strict=True)] for pair in parts]
    assert float(distance) == pytest.approx(example.distance(value, _target()), rel=1e-5)


def test_an_average_begins_at_zero_as_released_or_with_the_first_value() -> None:
    now = example.of_batch(X[0])
    released = _visit(_matcher(), X[0])
    assert float(released) == pytest.approx(example.distance(example.scaled(now, 0.2), _target()), rel=1e-5)
    first = _visit(_matcher(dataclasses.replace(PLAIN, ema_init="first")), X[0])
    assert float(first) == pytest.approx(example.distance(now, _target()), rel=1e-5)
    assert abs(float(first) - float(released)) > 1


def test_the_gradient_is_that_of_the_current_batch_undiminished() -> None:
    matcher = _matcher()
    _visit(matcher, X[0])
    ((_, value_gradient),) = [_gradient_of_norms(X[0], 0.2)]
    torch.testing.assert_close(matcher.gradient, value_gradient, rtol=1e-4, atol=1e-6)
    # An average that carries the gradient gives a fifth of it.
    assert float(matcher.gradient.norm()) > 1.5 * float((0.2 * value_gradient).norm())


def _gradient_of_norms(x: np.ndarray, share: float) -> tuple[Tensor, Tensor]:
    """The distance with values `share` · s and d value / d s = 1, and its gradient to the images, in plain torch."""
    images = torch.from_numpy(x).float().requires_grad_()
    y = 1.2 * (images - 0.3) / (2.0 + 1e-5) ** 0.5 + 0.1
    z = y * torch.tensor([2.0, -1.0]).view(1, 2, 1, 1)
    grid = y.view(4, 1, 2, 2, 2, 2)
    moments = [
        [images.mean((0, 2, 3)), images.var((0, 2, 3), correction=0)],
        [
            y.mean((0, 2, 3)),
            y.var((0, 2, 3), correction=0),
            grid.mean((0, 1, 3, 5)).flatten(),
            grid.var((0, 1, 3, 5), correction=0).flatten(),
        ],
        [z.mean((0, 2, 3)), z.var((0, 2, 3), correction=0)],
    ]
    total = torch.zeros(())
    for weight, layer, targets in zip((10.0, 1.0, 1.0), moments, _target(), strict=True):
        for moment, target in zip(layer, targets, strict=True):
            value = share * moment.detach() + moment - moment.detach()
            total = total + weight * (torch.from_numpy(target).float() - value).norm()
    (gradient,) = torch.autograd.grad(total, images)
    return total.detach(), gradient


def test_the_first_layer_counts_ten_times() -> None:
    now = example.of_batch(X[0])
    ones = _visit(_matcher(dataclasses.replace(PLAIN, ema_init="first", first_multiplier=1.0)), X[0])
    assert float(ones) == pytest.approx(example.distance(now, _target(), first=1.0), rel=1e-5)
    tens = _visit(_matcher(dataclasses.replace(PLAIN, ema_init="first")), X[0])
    assert float(tens) == pytest.approx(example.distance(now, _target()), rel=1e-5)


def test_batches_share_averages_or_begin_anew() -> None:
    for reset, share in ((False, 0.36), (True, 0.2)):
        matcher = _matcher(dataclasses.replace(PLAIN, ema_reset=reset))
        _visit(matcher, X[0])
        _visit(matcher, X[0])
        matcher.start(BATCH, torch.zeros(4, 1, 4, 4))
        # Member one again: 1 - .8² of its value where it goes on, .2 where it begins anew.
        value = example.scaled(example.of_batch(X[0]), share)
        assert float(_visit(matcher, X[0])) == pytest.approx(example.distance(value, _target()), rel=1e-5)
        # The turn goes on from batch to batch either way.
        assert matcher.counter == 3


def test_half_of_the_distance_is_to_the_classes_of_the_batch() -> None:
    labels = images().labels
    batch = Batch(np.array([0, 1, 2, 0]), np.array([0, 0, 0, 1]))
    matching = dataclasses.replace(PLAIN, ema_init="first", class_weight=0.5)
    now, x = example.of_batch(X[0]), example.real()
    of_classes = example.of_classes(x, labels, batch.labels)
    expected = 0.5 * example.distance(now, _target()) + 0.5 * example.distance(now, of_classes)
    assert float(_visit(_matcher(matching, batch), X[0])) == pytest.approx(expected, rel=1e-5)
    # Each class once instead of once per image, and the whole set alone:
    once = example.of_classes(x, labels, np.array([0, 1]))
    for wrong in (example.distance(now, once) * 0.5 + 0.5 * example.distance(now, _target()),):
        assert abs(wrong - expected) > 1e-4
    assert abs(example.distance(now, _target()) - expected) > 1e-2


def test_the_class_variance_is_per_image_or_pooled() -> None:
    batch = Batch(np.arange(4), np.zeros(4, dtype=np.int64))
    x = example.real()
    now, pooled = example.of_batch(X[0]), example.of_batch(x[:6])
    per_image = example.of_classes(x, images().labels, batch.labels)
    found = {}
    for kind, target in (("pooled", pooled), ("per_image", per_image)):
        matching = dataclasses.replace(PLAIN, ema_init="first", class_weight=1.0, class_variance=kind)
        found[kind] = float(_visit(_matcher(matching, batch), X[0]))
        assert found[kind] == pytest.approx(example.distance(now, target), rel=1e-4)
    assert abs(found["pooled"] - found["per_image"]) > 1e-3


def test_patch_statistics_of_classes_may_be_swapped_as_released() -> None:
    """Half of the distance alone: the convolution's patch means against variances, all other moments as named."""
    matching = dataclasses.replace(PLAIN, ema_init="first", class_weight=1.0)
    now, of_classes = example.of_batch(X[0]), example.of_classes(example.real(), images().labels, BATCH.labels)
    swapped = [list(layer) for layer in of_classes]
    swapped[1][2], swapped[1][3] = swapped[1][3], swapped[1][2]
    for kind, target in (("named", of_classes), ("swapped", swapped)):
        found = float(_visit(_matcher(dataclasses.replace(matching, patch_classes=kind)), X[0]))
        assert found == pytest.approx(example.distance(now, target), rel=1e-5), kind
    assert abs(example.distance(now, swapped) - example.distance(now, of_classes)) > 1e-2


def test_dropped_convolutions_neither_count_nor_move_their_average() -> None:
    always = _matcher(dataclasses.replace(PLAIN, ema_init="first", drop=1.0))
    now, target = example.of_batch(X[0]), _target()
    assert float(_visit(always, X[0])) == pytest.approx(example.distance([now[0], target[1], now[2]], target), rel=1e-5)
    one = always.members["one"]
    assert not one.average[2:12].any()
    assert one.average[:2].all()
    assert one.seen[:2].all()
    assert not one.seen[2:12].any()
    draws = _matcher(dataclasses.replace(PLAIN, drop=0.4))
    flags = []
    for _ in range(400):
        draws.see(Moment(at=0, batch=BATCH, images=torch.zeros(0), view=lambda seen: seen))
        flags.append(draws.kept.copy())
    kept = np.mean(flags, axis=0)
    # Batch norm always counts, the convolution six times of ten.
    assert kept[0] == kept[2] == 1.0
    assert 0.53 < kept[1] < 0.67


def test_other_images_are_looked_at_without_a_trace() -> None:
    matcher = _matcher()
    _visit(matcher, X[0])
    before = matcher.turn.average.clone()
    with matcher.watching():
        logits = matcher.look(torch.from_numpy(X[1]).float())
    assert logits.shape == (4, 2)
    assert not logits.requires_grad
    assert torch.equal(matcher.turn.average, before)


def test_a_member_without_batch_norm_has_its_convolutions() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 1))
    model = nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval().requires_grad_(False)
    given = images()
    settings = {"classes": 2, "patch": 2, "batch": 12, "pad_crop": 0, "hflip": False, "seed": 0, "device": "cpu"}
    found = measure(model, given.images, given.labels, normalisation=FACTS.normalisation, **settings)
    base = example.committee_request(None, 2)
    request = dataclasses.replace(base, committee=lambda: {"plain": model}, statistics=lambda name: found)
    matcher = CommitteeMatcher(request, "test", dataclasses.replace(PLAIN, ema_init="first", class_weight=0.5))
    matcher.start(BATCH, torch.zeros(4, 1, 4, 4))
    assert float(_visit(matcher, X[0])) > 0
    assert (matcher.gradient != 0).any()


def test_norms_of_parts_and_their_gradient_at_zero() -> None:
    values = torch.tensor([3.0, 4.0, 0.0, 0.0, -2.0], requires_grad=True)
    norms = segment_norms(values, torch.tensor([2, 2, 1]))
    assert norms.tolist() == [5.0, 0.0, 2.0]
    norms.sum().backward()
    # A plain square root gives NaN for the part that is 0.
    assert values.grad.tolist() == pytest.approx([0.6, 0.8, 0.0, 0.0, -1.0])
