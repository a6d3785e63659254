"""Which epochs of a surrogate's training are kept, and that a killed one keeps the same.

Belongs here: trajectory.py, surrogates.py. Does not belong: gradients (tests/synthesis/test_influence.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.models import trajectory
from dd_assets.models.architectures import build_model
from dd_assets.models.registry import architecture
from dd_assets.models.surrogates import SURROGATES, SurrogateRecipe, surrogate_recipe
from dd_assets.models.trajectory import Keeping, Trajectory, train_surrogate
from dd_assets.planning.digests import plain
from dd_assets.progress import NoCheckpoints
from tests.models.digits import NORMALISATION, digits
from tests.models.interruption import Killed, MemoryCheckpoints

QUICK = replace(SURROGATES["digits"], epochs=6, batch=64, learning_rate=0.05, images=20, threshold=0.9)


def _few() -> ImageArrays:
    train, _ = digits()
    return ImageArrays(train.images[:200], train.labels[:200])


def _trained(place: MemoryCheckpoints | None = None, recipe: SurrogateRecipe = QUICK) -> Trajectory:
    train = _few()
    return train_surrogate(train, train, recipe, NORMALISATION, classes=10, seed=0, checkpoints=place)


def test_an_epoch_is_kept_when_its_gradients_have_turned_from_the_last_kept_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Directions of the one class's gradient after each epoch, in degrees; cos 45.6° is .7.
    angles = iter([0.0, 30.0, 44.0, 50.0, 80.0, 96.0])

    def turned(*_: object) -> torch.Tensor:
        angle = torch.tensor(next(angles)).deg2rad()
        return torch.stack([angle.cos(), angle.sin()])

    monkeypatch.setattr(trajectory, "class_gradient", turned)
    one = ImageArrays(np.zeros((1, 1, 1, 1), dtype=np.uint8), np.zeros(1, dtype=np.int64))
    plain = Normalisation(mean=(0.0,), std=(1.0,))
    keeping = Keeping(NoCheckpoints(), nn.Linear(1, 1), one, replace(QUICK, threshold=0.7), plain, 0, "cpu")
    for epoch in range(6):
        keeping.save({"model/weight": np.full((1, 1), float(epoch)), "model/bias": np.zeros(1)})
    # 50° is .64 from epoch 0; then 96° is .69 from 50°. Compared with the epoch before, none would have been kept;
    # compared with the first always, 80° too.
    assert list(keeping.kept) == [0, 3, 5]
    assert [float(own["weight"][0, 0]) for own in keeping.kept.values()] == [0.0, 3.0, 5.0]
    assert keeping.turns[1:] == pytest.approx(np.cos(np.deg2rad([30, 44, 50, 30, 46])), abs=1e-6)


def test_the_first_epoch_is_always_kept_and_all_are_below_a_threshold_of_one() -> None:
    assert list(_trained(recipe=replace(QUICK, threshold=-1.0)).kept) == [0]
    assert list(_trained(recipe=replace(QUICK, threshold=1.1)).kept) == list(range(6))


def test_the_untrained_network_is_the_first_where_the_recipe_says_so() -> None:
    usual = _trained(recipe=replace(QUICK, threshold=1.1))
    found = _trained(recipe=replace(QUICK, threshold=1.1, untrained_first=True))
    assert list(found.kept) == list(range(7))
    untrained = build_model(QUICK.architecture, classes=10, channels=1, size=8, seed=0).state_dict()
    for epoch, expected in enumerate([untrained, *usual.kept.values()]):
        assert all(torch.equal(value, found.kept[epoch][name]) for name, value in expected.items())
    # From the second epoch on each is compared with the one before it, as without the untrained network.
    np.testing.assert_array_equal(found.turns[2:], usual.turns[1:])
    assert list(_trained(recipe=replace(QUICK, threshold=-1.0, untrained_first=True)).kept) == [0]
    # What was measured on small images began with the first epoch; the papers' sets begin as the paper's code does.
    assert {name for name, recipe in SURROGATES.items() if recipe.untrained_first} == {
        *("tiny_imagenet", "imagenette", "imagewoof", "imageidc", "imagenet1k")
    }
    assert "untrained_first" not in plain(QUICK)


@pytest.mark.parametrize("recipe", [QUICK, replace(QUICK, untrained_first=True)])
def test_a_killed_training_keeps_the_same_epochs(recipe: SurrogateRecipe) -> None:
    whole = _trained(recipe=recipe)
    assert 1 < len(whole.kept) < 6
    place = MemoryCheckpoints(die_after=4)
    with pytest.raises(Killed):
        _trained(place, recipe)
    place.die_after = None
    rest = _trained(place, recipe)
    assert np.array_equal(rest.turns, whole.turns)
    assert list(rest.kept) == list(whole.kept)
    for epoch, state in whole.kept.items():
        assert all(torch.equal(value, rest.kept[epoch][name]) for name, value in state.items())
    assert all(torch.equal(value, rest.result.state[name]) for name, value in whole.result.state.items())


def test_keeping_epochs_changes_nothing_in_the_training() -> None:
    strict, lax = _trained(recipe=replace(QUICK, threshold=-1.0)), _trained(recipe=replace(QUICK, threshold=1.1))
    assert all(torch.equal(value, lax.result.state[name]) for name, value in strict.result.state.items())


def test_surrogates_norm_each_image_alone_and_say_where_they_come_from() -> None:
    for recipe in SURROGATES.values():
        # With batch norm a single image would be normed by itself or by running figures of another kind.
        assert not architecture(recipe.architecture).batch_norm
        assert recipe.source
    assert surrogate_recipe("mine", 32).architecture == "convnet3_w64_in"
    assert surrogate_recipe("mine", 128).architecture == "convnet6_w128_in"
    assert surrogate_recipe("imagewoof", 224).threshold == 0.7
