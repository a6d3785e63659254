"""CDA: the loss at iteration 0, the curriculum's clock, refusals (reference 16.3 and section 4, traps a to c).

Belongs here: cda's synthesis and recipe. Does not belong: schedules by themselves (tests/synthesis), SRe2L's loop.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dd_assets import randomness
from dd_assets.methods.cda.recipe import Parameters, refuse
from dd_assets.methods.cda.synthesis import synthesise
from dd_assets.methods.registry import method
from dd_assets.synthesis import recover
from dd_assets.synthesis.schedules import crop_floor_at
from tests.methods.requests import request
from tests.models.digits import facts
from tests.models.interruption import Killed, MemoryCheckpoints
from tests.synthesis.two_layers import FACTS, Weights, network

PLAIN = Parameters(iterations=1, hflip=False, jitter=0)


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Every crop scale that the loop asks for, in order."""
    asked: list[tuple[float, float]] = []
    draw = recover.draw_shared_view

    def recording(*args, crop_scale, **kwargs):
        asked.append(crop_scale)
        return draw(*args, crop_scale=crop_scale, **kwargs)

    monkeypatch.setattr(recover, "draw_shared_view", recording)
    return asked


def _noise() -> np.ndarray:
    rows = [randomness.normal(16, 0, "cda", "init", 0, label).reshape(1, 4, 4) for label in range(2)]
    return np.stack(rows).astype(np.float64)


def test_loss_at_iteration_0_is_that_of_the_whole_images_by_hand() -> None:
    made = synthesise(request(PLAIN, 1, facts=FACTS, teacher=network))
    assert made.curves["bn_loss"][0] == pytest.approx(Weights().bn(_noise()), abs=1e-5)
    assert made.curves["ce"][0] == pytest.approx(Weights().ce(_noise(), np.arange(2)), abs=1e-5)
    # The original parser's default, milestone 0, crops from the first iteration: another loss.
    wrong = synthesise(request(dataclasses.replace(PLAIN, milestone=0.0), 1, facts=FACTS, teacher=network))
    assert abs(wrong.curves["bn_loss"][0] - made.curves["bn_loss"][0]) > 1e-3


@pytest.mark.parametrize("iterations", [8, 16])
def test_the_crop_runs_on_the_clock_of_the_step_size(scales, iterations: int) -> None:
    parameters = dataclasses.replace(PLAIN, iterations=iterations)
    synthesise(request(parameters, 1, facts=FACTS, teacher=network))
    assert scales == [(crop_floor_at(at, iterations, "cosine", 1.0, 0.08), 1.0) for at in range(iterations)]
    # A curriculum that kept the published 4,000 while the run is short would still be at 1.0 in the middle.
    assert scales[iterations // 2][0] == pytest.approx(0.54)


def test_the_published_recipes_have_the_curriculum_on() -> None:
    for name, recipe in method("cda").recipes.items():
        assert recipe.parameters.milestone == 1.0, name
        assert recipe.parameters.curriculum == "cosine", name
        assert recipe.parameters.crop, name
    tiny = method("cda").recipes["tiny_imagenet"].parameters
    assert (tiny.learning_rate, tiny.r_bn, tiny.jitter) == (0.4, 0.05, 4)
    large = method("cda").recipes["imagenet1k"].parameters
    assert (large.learning_rate, large.r_bn, large.jitter, large.iterations) == (0.25, 0.01, 32, 4000)


def test_modes_and_milestone_reach_the_loop(scales) -> None:
    parameters = dataclasses.replace(PLAIN, iterations=4, curriculum="step", milestone=0.5, crop_scale_min=0.3)
    synthesise(request(parameters, 1, facts=FACTS, teacher=network))
    assert [low for low, _ in scales] == [1.0, 1.0, 0.3, 0.3]


SHORT = Parameters(iterations=8, batch=4, jitter=2, learning_rate=0.1, hflip=False, crop_scale_min=0.5)


def test_an_index_alone_equals_the_same_index_in_a_longer_range() -> None:
    whole = synthesise(request(SHORT, 3))
    alone = synthesise(request(SHORT, 50, first=1, last=2))
    np.testing.assert_array_equal(alone.images, whole.images[10:20])
    assert not np.array_equal(alone.images, synthesise(request(SHORT, 2, first=1, seed=1)).images)


def test_a_killed_synthesis_ends_bit_identically() -> None:
    parameters, three = dataclasses.replace(SHORT, iterations=110), dataclasses.replace(facts(), classes=tuple("012"))
    undisturbed = synthesise(request(parameters, 1, facts=three))
    checkpoints = MemoryCheckpoints(1)
    with pytest.raises(Killed):
        synthesise(request(parameters, 1, facts=three, checkpoints=checkpoints))
    resumed = synthesise(request(parameters, 1, facts=three, checkpoints=checkpoints))
    assert checkpoints.saves == 2
    np.testing.assert_array_equal(resumed.images, undisturbed.images)


def test_the_digits_recipe_convinces_the_teacher() -> None:
    curves = synthesise(request(method("cda").recipes["digits"].parameters, 1)).curves
    assert curves["ce"][-10:].mean() < 0.2
    assert curves["bn_loss"][-1] < 0.6 * curves["bn_loss"][0]


def test_refusals() -> None:
    assert refuse(dataclasses.replace(PLAIN, crop=False), facts(), 1) == (
        "crop is off, so the curriculum has nothing to change; use sre2l"
    )
    assert refuse(Parameters(), facts(), 1) == "jitter 32 wraps around 8 px images; choose a smaller one"
    assert refuse(PLAIN, facts(), 1) is None
