"""G-VBSM: loss at iteration 0 by hand, batches, turns, resumption (reference 16.6, section 5).

Belongs here: gvbsm's synthesis and recipe. Does not belong: averages, drops and densification by themselves
(tests/synthesis).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dd_assets import randomness
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.errors import InputError
from dd_assets.methods.gvbsm.recipe import Parameters, refuse
from dd_assets.methods.gvbsm.synthesis import synthesise
from dd_assets.methods.registry import method
from dd_assets.models.registry import ARCHITECTURES
from dd_assets.synthesis import committee_matching, recover
from dd_assets.synthesis.committee_matching import CommitteeMatcher
from tests.models.digits import facts
from tests.models.interruption import Killed, MemoryCheckpoints
from tests.synthesis import two_layer_moments as example
from tests.synthesis.two_layers import FACTS, Weights

PLAIN = Parameters(iterations=1, batch=100, crop=False, hflip=False, jitter=0)
SHORT = dataclasses.replace(
    PLAIN, iterations=15, batch=4, learning_rate=0.05, momentum=0.8, drop=0.4, jitter=1, pad_crop=1, ema_reset=False
)


def _tiny(parameters: Parameters, ipc: int = 2, checkpoints: MemoryCheckpoints | None = None):
    return synthesise(example.committee_request(parameters, ipc, checkpoints=checkpoints))


def _noise(ipc: int) -> np.ndarray:
    """The beginning, rows in class-major order, float64 (2 · ipc, 1, 4, 4)."""
    pairs = [(index, label) for label in range(2) for index in range(ipc)]
    rows = [randomness.normal(16, 0, "gvbsm", "init", index, label).reshape(1, 4, 4) for index, label in pairs]
    return np.stack(rows).astype(np.float64)


def _densification(x: np.ndarray, tau: float) -> float:
    total = 0.0
    for own in (x[:2], x[2:]):
        flat = own.reshape(2, -1)
        eigenvalues = np.linalg.eigvalsh(flat @ flat.T)
        sharp = eigenvalues - np.log(np.exp(eigenvalues).sum())
        soft = eigenvalues / tau - np.log(np.exp(eigenvalues / tau).sum())
        total += float((np.exp(soft) * (soft - sharp)).sum())
    return total


def test_loss_at_iteration_0_by_hand() -> None:
    x, labels = _noise(2), np.array([0, 0, 1, 1])
    now, target = example.of_batch(x), example.of_whole_set(example.real())
    curves = _tiny(PLAIN).curves
    assert curves["ce"][0] == pytest.approx(Weights().ce(x, labels), abs=1e-5)
    assert curves["feature_loss"][0] == pytest.approx(example.distance(now, target), rel=1e-5)
    assert curves["densification"][0] == pytest.approx(_densification(x, 4.0), rel=1e-4)
    # The wrong versions: batch norm alone, no factor on the first layer, one image per class in a batch.
    assert abs(example.distance(now, target) - Weights().bn(x)) > 0.1
    assert abs(example.distance(now, target) - example.distance(now, target, first=1.0)) > 0.1
    apart = example.distance(example.of_batch(x[[0, 2]]), target)
    assert abs(example.distance(now, target) - apart) > 1e-3
    # As released the average begins at zero: momentum .4 leaves .6 of every statistic.
    released = _tiny(dataclasses.replace(PLAIN, ema_init="zero")).curves["feature_loss"][0]
    assert released == pytest.approx(example.distance(example.scaled(now, 0.6), target), rel=1e-5)


def test_one_image_per_class_is_not_densified() -> None:
    assert _tiny(PLAIN, 1).curves["densification"].tolist() == [0.0]
    weighted = dataclasses.replace(PLAIN, iterations=3, densification=1000.0)
    np.testing.assert_array_equal(
        _tiny(weighted, 1).images, _tiny(dataclasses.replace(weighted, densification=0.0), 1).images
    )
    assert not np.array_equal(_tiny(weighted).images, _tiny(dataclasses.replace(weighted, densification=0.0)).images)


def test_members_take_turns_across_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    forward = CommitteeMatcher.forward

    def recording(self: CommitteeMatcher, images):
        turns.append(next(key for key, member in self.members.items() if member is self.turn))
        return forward(self, images)

    monkeypatch.setattr(committee_matching.CommitteeMatcher, "forward", recording)
    # Three iterations of two batches (class 0, class 1): the second batch begins with the other member. One forward
    # pass per iteration: averaging the members would take twelve.
    _tiny(dataclasses.replace(PLAIN, iterations=3, batch=2))
    assert turns == ["one", "two", "one", "two", "one", "two"]


def test_whether_averages_run_on_changes_the_second_batch_alone() -> None:
    parameters = dataclasses.replace(PLAIN, iterations=5, batch=2, learning_rate=0.3)
    anew, on = _tiny(parameters), _tiny(dataclasses.replace(parameters, ema_reset=False))
    # Rows are (index, class): even rows are class 0, the first batch.
    np.testing.assert_array_equal(anew.images[::2], on.images[::2])
    assert not np.array_equal(anew.images[1::2], on.images[1::2])
    assert anew.labels.tolist() == [0, 1, 0, 1]


def test_no_iterations_give_back_the_noise() -> None:
    made = _tiny(dataclasses.replace(PLAIN, iterations=0))
    levels = np.floor((_noise(2).transpose(0, 2, 3, 1) * 0.25 + 0.5).clip(0, 1) * 255 + 1e-3)
    np.testing.assert_array_equal(made.images, levels[[0, 2, 1, 3]])
    assert made.curves == {}


def test_a_killed_synthesis_ends_bit_identically(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "CHECKPOINT_EVERY", 10)
    undisturbed = _tiny(SHORT, 3)
    # Two batches (4 and 2 rows), saves at iteration 10 and 15 of each; averages, drops and turns run on.
    for die_after in (1, 2, 3):
        checkpoints = MemoryCheckpoints(die_after)
        with pytest.raises(Killed):
            _tiny(SHORT, 3, checkpoints)
        assert int(checkpoints.state["memory/counter"]) == {1: 10, 2: 15, 3: 25}[die_after]
        resumed = _tiny(SHORT, 3, checkpoints)
        assert checkpoints.saves == 4
        np.testing.assert_array_equal(resumed.images, undisturbed.images)
        for name, values in undisturbed.curves.items():
            np.testing.assert_array_equal(resumed.curves[name], values)


def test_refusals() -> None:
    # The original's jitter of 32 px stays within 32 px images, on 8 px it would say nothing.
    assert refuse(Parameters(), dataclasses.replace(facts(), size=32), 1) is None
    assert refuse(Parameters(), facts(), 1) == "jitter 32 wraps around 8 px images; choose a smaller one"
    with pytest.raises(InputError, match="gvbsm: cannot be computed in parts"):
        synthesise(dataclasses.replace(example.committee_request(PLAIN, 5), first=1, last=2))
    with pytest.raises(InputError, match=r"gvbsm: the loss is not finite .*lower learning_rate or r_loss"):
        _tiny(dataclasses.replace(PLAIN, r_loss=float("inf"), first_multiplier=float("nan")))


@pytest.mark.parametrize("name", ["gvbsm", "edc"])
def test_every_recipe_names_members_that_its_setting_has(name: str) -> None:
    chosen = method(name)
    for data, recipe in chosen.recipes.items():
        if data in CATALOGUE:
            held = {choice.key for choice in CATALOGUE[data].committee}
            assert set(recipe.parameters.pool) <= held, data
            assert chosen.refuse(recipe.parameters, dataclasses.replace(facts(), size=CATALOGUE[data].size), 10) is None
    assert not chosen.shards_by_index(chosen.recipes["digits"].parameters)
    lacking = chosen.reason_against(dataclasses.replace(chosen.recipes["digits"].parameters, pool=("x",)), FACTS, 1)
    assert lacking == "the committee of tiny lacks x; it has none"


@pytest.mark.parametrize(
    ("name", "held"), [("gvbsm", ("w128",)), ("edc", ("w128", "d1", "d2", "w32"))], ids=["gvbsm", "edc"]
)
def test_on_cifar10_the_committee_is_of_the_codes_own_networks(name: str, held: tuple[str, ...]) -> None:
    """squeeze.sh: ResNet18, MobileNetV2, ShuffleNetV2_0_5, WRN_16_2, ConvNetW128; EDC's squeeze_2.sh adds D1, D2, W32.

    `model_dict` makes them RepDistiller's, `get_default_convnet_setting` gives depth 3, width 128 and instance norm;
    they are trained for 5 epochs with batches of 64 at a constant .05 without weight decay.
    """
    convnets = {
        "w128": "convnet3_w128_in",
        "d1": "convnet1_w128_in",
        "d2": "convnet2_w128_in",
        "w32": "convnet3_w32_in",
    }
    members = {choice.key: choice for choice in CATALOGUE["cifar10"].committee}
    pool = [members[key] for key in method(name).recipes["cifar10"].parameters.pool]
    assert {choice.architecture for choice in pool} == {
        "resnet18",
        "mobilenet_v2_half",
        "shufflenet_v2_half",
        "wrn16_2",
        *(convnets[key] for key in held),
    }
    for choice in pool:
        recipe = choice.recipe
        assert (recipe.epochs, recipe.batch, recipe.learning_rate, recipe.weight_decay) == (5, 64, 0.05, 0.0)
        assert (recipe.schedule, recipe.warmup_epochs) == ("constant", 0)
        assert ARCHITECTURES[choice.architecture].batch_norm == (not choice.architecture.endswith("_in"))
