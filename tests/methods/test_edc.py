"""EDC: loss at iteration 0 by hand, class statistics, flatness, patch shuffle, resumption (reference 16.7, section 7).

Belongs here: edc's synthesis and recipe. Does not belong: class targets by themselves (tests/synthesis).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dd_assets.errors import InputError
from dd_assets.methods.edc.recipe import Parameters, refuse
from dd_assets.methods.edc.synthesis import flatness, shuffled, synthesise
from dd_assets.methods.registry import method
from dd_assets.synthesis import recover
from tests.models.digits import facts
from tests.models.interruption import Killed, MemoryCheckpoints
from tests.synthesis import two_layer_moments as example
from tests.synthesis.two_layers import FACTS, Weights, images, normalised

PLAIN = Parameters(iterations=1, crop=False, hflip=False, patch_shuffle=1, init="random")
START = images().images[[0, 6, 1, 7]]
"""Two images of each class, rows in (index, class) order."""
CLASS_MAJOR = [0, 2, 1, 3]


def _tiny(parameters: Parameters, start: np.ndarray = START, checkpoints: MemoryCheckpoints | None = None):
    return synthesise(example.committee_request(parameters, len(start) // 2, start, checkpoints=checkpoints))


def test_loss_at_iteration_0_by_hand() -> None:
    x, labels = normalised(START)[CLASS_MAJOR], np.array([0, 0, 1, 1])
    real = example.real()
    now, whole = example.of_batch(x), example.of_whole_set(real)
    classes = example.of_classes(real, images().labels, labels)
    curves = _tiny(PLAIN).curves
    expected = 0.5 * example.distance(now, whole) + 0.5 * example.distance(now, classes)
    assert curves["ce"][0] == pytest.approx(Weights().ce(x, labels), abs=1e-5)
    assert curves["feature_loss"][0] == pytest.approx(expected, rel=1e-5)
    # The images are their own average at first.
    assert curves["flatness"][0] == pytest.approx(0.0, abs=1e-6)
    # Global alone, classes alone, both in full:
    for wrong in (example.distance(now, whole), example.distance(now, classes), 2 * expected):
        assert abs(wrong - expected) > 1e-2
    # As released: .2 of every statistic at momentum .8.
    released = _tiny(dataclasses.replace(PLAIN, ema_init="zero")).curves["feature_loss"][0]
    value = example.scaled(now, 0.2)
    zero_start = 0.5 * example.distance(value, whole) + 0.5 * example.distance(value, classes)
    assert released == pytest.approx(zero_start, rel=1e-5)


def test_flatness_by_hand_in_both_directions() -> None:
    logits, average = torch.tensor([[4.0, 0.0], [0.0, 8.0]]), torch.tensor([[0.0, 4.0], [0.0, 4.0]])

    def softmax(values: list[float]) -> np.ndarray:
        odds = np.exp(np.array(values) / 4.0)
        return odds / odds.sum()

    p, q = [softmax(row) for row in logits.tolist()], [softmax(row) for row in average.tolist()]
    forward = sum((a * np.log(a / b)).sum() for a, b in zip(p, q, strict=True)) / 2
    backward = sum((b * np.log(b / a)).sum() for a, b in zip(p, q, strict=True)) / 2
    assert float(flatness(logits, average, 4.0, "paper")) == pytest.approx(forward, rel=1e-5)
    # The code's mean also divides by the classes.
    assert float(flatness(logits, average, 4.0, "code")) == pytest.approx(backward / 2, rel=1e-5)
    assert abs(forward - backward) > 5e-3
    # Temperature 1 would give many times as much.
    assert float(flatness(logits, average, 1.0, "paper")) > 3 * forward


def test_flatness_at_iteration_2_sees_the_average_through_the_same_view() -> None:
    parameters = dataclasses.replace(
        PLAIN, iterations=3, learning_rate=0.4, flatness_beta=0.5, jitter=3, crop=True, flatness_weight=1.0
    )
    made = _tiny(parameters)
    assert made.curves["flatness"][0] == pytest.approx(0.0, abs=1e-6)
    assert made.curves["flatness"][2] > 0
    # With the average at rest (beta 1) it is the distance to the beginning; at beta 0 it lags one step.
    lagging = _tiny(dataclasses.replace(parameters, flatness_beta=0.0)).curves["flatness"][1]
    # Iteration 1: at beta 0 the average is the images before step 0, as with beta 1. A view of its own would differ.
    resting = _tiny(dataclasses.replace(parameters, flatness_beta=1.0)).curves["flatness"][1]
    assert lagging == pytest.approx(resting, abs=1e-7)


def test_the_average_follows_the_images_before_the_step() -> None:
    parameters = dataclasses.replace(PLAIN, iterations=2, flatness_beta=0.0, learning_rate=0.0)
    checkpoints = MemoryCheckpoints(1)
    with pytest.raises(Killed):
        _tiny(parameters, checkpoints=checkpoints)
    np.testing.assert_allclose(checkpoints.state["memory/images"], normalised(START)[CLASS_MAJOR], atol=1e-6)


def test_flatness_changes_the_images_and_off_takes_no_second_pass() -> None:
    parameters = dataclasses.replace(PLAIN, iterations=6, learning_rate=0.3, flatness_beta=0.9, flatness_weight=5.0)
    on, off = _tiny(parameters), _tiny(dataclasses.replace(parameters, flatness="off"))
    assert not np.array_equal(on.images, off.images)
    assert off.curves["flatness"].tolist() == [0.0] * 6
    without = _tiny(dataclasses.replace(parameters, flatness_weight=0.0))
    np.testing.assert_array_equal(without.images, off.images)


def test_patches_are_really_shuffled() -> None:
    # 32 images whose pixel is their quadrant: 0 1 / 2 3.
    quadrants = np.array([[0, 1], [2, 3]], dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)[None, ..., None]
    pixels = quadrants.repeat(32, axis=0)
    made = shuffled(pixels, 2, 0, 0, 4)
    corners = {tuple(image[[0, 0, 7, 7], [0, 7, 0, 7], 0].tolist()) for image in made}
    # Strips swap as wholes: 4 of the 24 arrangements, all of which occur. Released EDC gives the first alone.
    assert corners == {(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}
    assert (np.sort(made.reshape(32, -1)) == np.sort(pixels.reshape(32, -1))).all()
    np.testing.assert_array_equal(shuffled(pixels, 1, 0, 0, 4), pixels)
    odd = np.arange(7 * 7, dtype=np.uint8).reshape(1, 7, 7, 1)
    # Nothing is lost where the side is odd.
    assert sorted(shuffled(odd, 2, 0, 0, 1).flatten().tolist()) == list(range(49))
    # An image's arrangement is its own, whatever is before it.
    np.testing.assert_array_equal(shuffled(pixels[:8], 2, 0, 3, 4), made[12:20])


def test_no_iterations_give_back_the_beginning() -> None:
    still = dataclasses.replace(PLAIN, iterations=0)
    made = _tiny(still)
    np.testing.assert_array_equal(made.images, START)
    assert made.labels.tolist() == [0, 1, 0, 1]
    four = dataclasses.replace(still, patch_shuffle=2)
    np.testing.assert_array_equal(_tiny(four).images, shuffled(START, 2, 0, 0, 2))
    # The loop gives the same, so that one iteration at rate 0 changes nothing either.
    resting = dataclasses.replace(PLAIN, learning_rate=0.0)
    np.testing.assert_array_equal(_tiny(resting).images, START)


def test_a_killed_synthesis_ends_bit_identically(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "CHECKPOINT_EVERY", 10)
    parameters = dataclasses.replace(
        PLAIN, iterations=15, batch=3, learning_rate=0.2, crop=True, ema_reset=False, flatness_beta=0.9, patch_shuffle=2
    )
    undisturbed = _tiny(parameters)
    for die_after in (1, 2, 3):
        checkpoints = MemoryCheckpoints(die_after)
        with pytest.raises(Killed):
            _tiny(parameters, checkpoints=checkpoints)
        resumed = _tiny(parameters, checkpoints=checkpoints)
        assert checkpoints.saves == 4
        np.testing.assert_array_equal(resumed.images, undisturbed.images)
        for name, values in undisturbed.curves.items():
            np.testing.assert_array_equal(resumed.curves[name], values)


def test_batch_0_is_all_images() -> None:
    whole = dataclasses.replace(PLAIN, iterations=2, batch=0)
    np.testing.assert_array_equal(_tiny(whole).images, _tiny(dataclasses.replace(whole, batch=4)).images)
    assert not np.array_equal(_tiny(whole).images, _tiny(dataclasses.replace(whole, batch=2)).images)


def test_beginnings_are_edges_and_the_variant_does_not_iterate() -> None:
    edc, unmoved = method("edc"), method("edc_init")
    assert edc.starts() == ["random", "rded"]
    assert {data for data, recipe in edc.recipes.items() if recipe.parameters.init == "rded"} == {
        "imagenette",
        "imagewoof",
        "imagenet1k",
    }
    assert all(recipe.parameters.iterations == 0 for recipe in unmoved.recipes.values())
    assert unmoved.variant_of == "edc"
    assert refuse(dataclasses.replace(PLAIN, patch_shuffle=9), facts(), 1) == (
        "patch_shuffle 9; 1 to 8 strips are possible"
    )
    with pytest.raises(InputError, match="use init: random"):
        _tiny(dataclasses.replace(PLAIN, init="real"))
    with pytest.raises(InputError, match="edc: cannot be computed in parts"):
        synthesise(dataclasses.replace(example.committee_request(PLAIN, 5), first=1, last=2, facts=FACTS))


def test_a_loss_that_is_not_finite_names_the_weight_that_edc_has() -> None:
    with pytest.raises(InputError, match=r"edc: the loss is not finite .*lower learning_rate or r_loss"):
        _tiny(dataclasses.replace(PLAIN, r_loss=float("inf"), first_multiplier=float("nan")))
