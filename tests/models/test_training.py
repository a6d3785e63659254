"""Teacher training: accuracy, resumption, the schedule, refusals.

Belongs here: training.py. Does not belong: checkpoints as files (test_checkpoint.py).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.field_notes import field_notes
from dd_assets.models.architectures import build_model
from dd_assets.models.registry import TeacherRecipe
from dd_assets.models.training import _TrainingViews, _unpack, learning_rate_at, top1, train_teacher
from dd_assets.planning.digests import plain
from tests.models.digits import NORMALISATION, digits, teacher, trained
from tests.models.interruption import Killed, MemoryCheckpoints

SHORT = TeacherRecipe(epochs=3, batch=64, learning_rate=0.1, pad_crop=1, hflip=True, warmup_epochs=1)


def _small() -> tuple[ImageArrays, ImageArrays]:
    train, test = digits()
    return ImageArrays(train.images[:200], train.labels[:200]), ImageArrays(test.images[:100], test.labels[:100])


def _train(checkpoints: MemoryCheckpoints | None = None, seed: int = 0, recipe: TeacherRecipe = SHORT):
    model = build_model("convnet2_w64", classes=10, channels=1, size=8, seed=seed)
    return train_teacher(model, *_small(), recipe, NORMALISATION, seed=seed, checkpoints=checkpoints)


def test_four_epochs_on_digits_pass_95_percent() -> None:
    result = trained()
    assert result.test_accuracy >= 0.95
    assert result.history["train_loss"].shape == (4,)
    assert result.history["test_epoch"].tolist() == [1, 2, 3, 4]
    accuracy, correct = top1(teacher(), digits()[1], NORMALISATION, "cpu")
    # The last epoch's weights, whichever epoch was best.
    assert accuracy == result.test_accuracy == result.history["test_accuracy"][-1]
    assert correct.sum() == round(accuracy * 360)


def test_a_wrong_class_order_shows_in_top1() -> None:
    test = digits()[1]
    shifted = ImageArrays(test.images, (test.labels + 1) % 10)
    assert top1(teacher(), shifted, NORMALISATION, "cpu")[0] < 0.05


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_training_ends_bit_identically(precision: str) -> None:
    recipe = dataclasses.replace(SHORT, precision=precision)
    undisturbed = _train(recipe=recipe)
    for die_after in (1, 2):
        checkpoints = MemoryCheckpoints(die_after)
        with pytest.raises(Killed):
            _train(checkpoints, recipe=recipe)
        resumed = _train(checkpoints, recipe=recipe)
        assert checkpoints.saves == 3
        for name, value in undisturbed.state.items():
            assert torch.equal(resumed.state[name], value), name
        for name, values in undisturbed.history.items():
            np.testing.assert_array_equal(resumed.history[name], values)


def test_mixed_precision_has_channels_last_also_after_a_restart() -> None:
    recipe, size = dataclasses.replace(SHORT, precision="bf16"), {"classes": 10, "channels": 1, "size": 8}
    place = MemoryCheckpoints(2)
    model = build_model("convnet2_w64", seed=0, **size)
    with pytest.raises(Killed):
        train_teacher(model, *_small(), recipe, NORMALISATION, seed=0, checkpoints=place)
    saved = place.load()
    assert saved is not None
    again = build_model("convnet2_w64", seed=0, **size).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9)
    _unpack(saved, again, optimiser, {"train_loss": [], "test_accuracy": [], "test_epoch": []})
    deep = [parameter for parameter in again.parameters() if parameter.ndim == 4 and parameter.shape[1] > 1]
    assert deep
    for parameter in deep:
        assert parameter.is_contiguous(memory_format=torch.channels_last)
        assert optimiser.state[parameter]["momentum_buffer"].stride() == parameter.stride()
    # The killed one had it too, and not by how a network is built.
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in model.parameters() if p.ndim == 4)
    fresh = build_model("convnet2_w64", seed=0, **size)
    assert not all(p.is_contiguous(memory_format=torch.channels_last) for p in fresh.parameters() if p.ndim == 4)


def test_the_seed_matters() -> None:
    first, second = _train(seed=0), _train(seed=1)
    assert not torch.equal(first.state["head.weight"], second.state["head.weight"])


def test_warmup_ends_at_the_peak_and_the_cosine_stays_above_zero() -> None:
    rates = [learning_rate_at(step, 12, 4, 0.2) for step in range(12)]
    assert rates[:4] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert rates[4] == 0.2
    assert rates[8] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.01
    constant = [learning_rate_at(step, 12, 4, 0.2, "constant") for step in range(12)]
    assert constant == pytest.approx([0.05, 0.1, 0.15, *[0.2] * 9])


def test_a_recipe_with_a_constant_rate_trains_with_it() -> None:
    constant = dataclasses.replace(SHORT, schedule="constant")
    assert not torch.equal(_train().state["head.weight"], _train(recipe=constant).state["head.weight"])
    # Recipes without a word on the schedule keep their digests.
    assert "schedule" not in plain(SHORT)
    assert plain(constant)["schedule"] == "constant"


@pytest.mark.parametrize(("changes", "named"), [({"precision": "bf61"}, "bf16"), ({"schedule": "cosin"}, "cosine")])
def test_a_recipe_names_what_it_can_have(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnknownNameError, match=named):
        TeacherRecipe(epochs=1, **changes)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("epochs", [0, -1]),
        ("batch", [0, 1]),
        ("learning_rate", [-1.0, float("inf"), float("nan")]),
        ("momentum", [1.0, -0.1]),
        ("weight_decay", [-1e-4]),
        ("warmup_epochs", [-1]),
        ("label_smoothing", [1.0]),
        ("pad_crop", [-1]),
        ("accuracy_floor", [-0.1, 90.0, float("nan")]),
    ],
)
def test_a_recipe_refuses_numbers_that_cannot_be(name: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(InputError) as refused:
            dataclasses.replace(SHORT, **{name: value})
        assert refused.value.problem == f"teacher's recipe: {name}={value!r}"


def test_every_field_of_a_recipe_says_what_it_is() -> None:
    assert [name for name, note in field_notes(TeacherRecipe).items() if not note.text] == []


def test_views_are_crops_of_the_zero_padded_image() -> None:
    image = np.arange(1, 17, dtype=np.uint8).reshape(1, 4, 4, 1)
    padded = np.pad(image[0, :, :, 0], 1)
    legal = {padded[top : top + 4, left : left + 4].tobytes() for top in range(3) for left in range(3)}
    mirrored = {
        np.ascontiguousarray(padded[top : top + 4, left : left + 4][:, ::-1]).tobytes()
        for top in range(3)
        for left in range(3)
    }
    count = 400
    train = ImageArrays(image.repeat(count, axis=0), np.zeros(count, dtype=np.int64))
    for hflip, expected in ((False, legal), (True, legal | mirrored)):
        views = _TrainingViews(train, dataclasses.replace(SHORT, hflip=hflip), NORMALISATION, "cpu")
        views.start_epoch(0, 0)
        batch = views.batch(torch.arange(count))
        pixels = ((batch * NORMALISATION.std[0] + NORMALISATION.mean[0]) * 255).round().to(torch.uint8)
        # One offset for the whole batch would give a single view.
        assert {view.numpy().tobytes() for view in pixels} == expected


def test_a_diverging_training_names_the_epoch() -> None:
    with pytest.raises(InputError, match="in epoch 1"):
        _train(recipe=dataclasses.replace(SHORT, learning_rate=1e30, warmup_epochs=0))


def test_dropout_draws_from_the_seed_alone() -> None:
    train, test = (ImageArrays(part.images[:96], part.labels[:96]) for part in digits())
    recipe = dataclasses.replace(SHORT, epochs=1, warmup_epochs=0, learning_rate=0.01)
    states = []
    for other in (1, 2):
        model = build_model("alexnet", classes=10, channels=1, size=8, seed=0)
        torch.manual_seed(other)
        expected = torch.rand(1)
        torch.manual_seed(other)
        states.append(train_teacher(model, train, test, recipe, NORMALISATION, seed=0).state)
        assert torch.equal(torch.rand(1), expected)
    # Dropout that drew from the global generator would have left other weights.
    assert torch.equal(states[0]["classifier.4.weight"], states[1]["classifier.4.weight"])
