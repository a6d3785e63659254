"""CV-DD: weights, voters per IPC index, both at every iteration (reference 16.10, section 9 traps).

Belongs here: cvdd's synthesis and recipe. Does not belong: sums over networks (tests/synthesis/test_committee.py).
"""

from __future__ import annotations

import collections
import dataclasses
import itertools

import numpy as np
import pytest

from dd_assets.datasets.catalogue import CATALOGUE, VOTERS
from dd_assets.errors import InputError
from dd_assets.methods.cvdd.recipe import POOL, SMALL_POOL, Parameters, refuse
from dd_assets.methods.cvdd.synthesis import pairs_of, synthesise, voters_of
from dd_assets.methods.registry import method
from dd_assets.synthesis import recover
from dd_assets.units.priors import PUBLISHED
from tests.models.digits import facts
from tests.models.interruption import Killed, MemoryCheckpoints
from tests.synthesis.committees import Calls, bn, ce, committee, initial, tiny
from tests.synthesis.two_layers import normalised

FIVE = ("a", "b", "c", "d", "e")
PLAIN = Parameters(iterations=1, crop=False, hflip=False, jitter=0, pool=("a", "b"))
SHORT = Parameters(iterations=6, learning_rate=0.05, crop_scale_min=0.5, jitter=1, pool=FIVE)
PRIORS = {"a": 63.0, "b": 65.3, "c": 68.5, "d": 67.6, "e": 67.4}


def _run(parameters: Parameters, ipc: int, *names: str, **changes):
    return synthesise(tiny(parameters, ipc, committee(*names), priors=lambda: PRIORS, **changes))


def test_loss_at_iteration_0_by_hand() -> None:
    made = _run(PLAIN, 1, "a", "b")
    x, labels = normalised(initial(1)), np.arange(2)
    # softmax(63.0 / 5, 65.3 / 5)
    w_a, w_b = 0.38698, 0.61302
    expected_ce = w_a * ce("a", x, labels) + w_b * ce("b", x, labels)
    expected_bn = w_a * bn("a", x) + w_b * bn("b", x)
    assert made.curves["ce"][0] == pytest.approx(expected_ce, abs=1e-5)
    assert made.curves["bn_loss"][0] == pytest.approx(expected_bn, rel=1e-5)
    # Priors as fractions (.4989 and .5011), equal weights, and the relabelling's temperature of 10 (.4428):
    for wrong in (0.4989, 0.5, 0.4428):
        assert abs(wrong * ce("a", x, labels) + (1 - wrong) * ce("b", x, labels) - expected_ce) > 1e-3
    # The softmax over the whole pool would not sum to 1 over the pair.
    assert w_a + w_b == pytest.approx(1.0)


def test_ten_pairs_of_five_appear_once_each_at_ipc_10() -> None:
    voters = [voters_of(SHORT, FIVE, PRIORS, 10, index, 0) for index in range(10)]
    assert voters == list(itertools.combinations(FIVE, 2))
    # The published order, with ResNet-18 first and MobileNet with DenseNet last.
    assert pairs_of(POOL)[0] == ("resnet18", "resnet50")
    assert pairs_of(POOL)[9] == ("mobilenet_v2", "densenet121")


def test_the_two_best_vote_at_ipc_1_and_the_scripts_pair_with_compat() -> None:
    assert voters_of(SHORT, FIVE, PRIORS, 1, 0, 0) == ("c", "d")
    assert voters_of(SHORT, FIVE, dict.fromkeys(FIVE, 20.0), 1, 0, 0) == ("a", "b")
    cifar = method("cvdd").recipes["cifar10"].parameters
    best = voters_of(cifar, VOTERS, PUBLISHED["cifar10"], 1, 0, 0)
    assert best == ("shufflenet_v2_x0_5", "mobilenet_v2")
    # The script names another pair than its own priors do.
    compat = dataclasses.replace(cifar, compat=True)
    assert voters_of(compat, VOTERS, PUBLISHED["cifar10"], 1, 0, 0) == ("mobilenet_v2", "densenet121")
    hundred = dataclasses.replace(method("cvdd").recipes["cifar100"].parameters, compat=True)
    assert voters_of(hundred, VOTERS, PUBLISHED["cifar100"], 1, 0, 0) == ("shufflenet_v2_x0_5", "mobilenet_v2")
    # At other IPCs `compat` changes nothing.
    assert voters_of(compat, VOTERS, PUBLISHED["cifar10"], 10, 0, 0) == ("resnet18", "resnet50")


def test_other_ipcs_draw_a_pair_per_index_from_the_seed() -> None:
    def drawn(seed: int) -> list[tuple[str, str]]:
        return [voters_of(SHORT, FIVE, PRIORS, 1000, index, seed) for index in range(1000)]

    counts = collections.Counter(drawn(0))
    # 100 each on average, standard deviation 9.5.
    assert len(counts) == 10
    assert 60 < min(counts.values()) < max(counts.values()) < 140
    assert drawn(0) == drawn(0) != drawn(1)
    # Four members have six pairs, so that ten indices cannot take the k-th.
    four = [voters_of(SHORT, FIVE[:4], PRIORS, 10, index, 0) for index in range(10)]
    assert set(four) <= set(itertools.combinations(FIVE[:4], 2))
    assert [voters_of(SHORT, FIVE[:4], PRIORS, 6, k, 0) for k in range(6)] == pairs_of(FIVE[:4])


def test_both_voters_run_at_every_iteration_and_for_every_class() -> None:
    members = committee(*FIVE)
    calls = Calls(members)
    synthesise(tiny(dataclasses.replace(SHORT, iterations=3, batch=1), 10, members, priors=lambda: PRIORS))
    # 10 indices, 2 batches of one class, 3 iterations, 2 voters. One voter at a time would make half as many calls; a
    # pair per iteration or batch would mix the pairs within an index.
    assert len(calls.names) == 10 * 2 * 3 * 2
    for index, pair in enumerate(itertools.combinations(FIVE, 2)):
        assert calls.names[12 * index : 12 * index + 12] == [*pair] * 6


def test_voters_depend_on_ipc_so_a_shard_is_the_whole_set_unless_nested() -> None:
    assert voters_of(SHORT, FIVE, PRIORS, 1, 0, 0) != voters_of(SHORT, FIVE, PRIORS, 10, 0, 0)
    assert not method("cvdd").shards_by_index(SHORT)
    with pytest.raises(InputError, match="in parts"):
        _run(SHORT, 10, *FIVE, first=2, last=3)
    nested = dataclasses.replace(SHORT, voters="nested", iterations=5)
    assert method("cvdd").shards_by_index(nested)
    voters = [[voters_of(nested, FIVE, PRIORS, ipc, index, 0) for index in range(ipc)] for ipc in (1, 10, 50)]
    assert voters[2][:10] == voters[1]
    assert voters[1][:1] == voters[0]
    assert all(sorted(voters[2][k : k + 10]) == sorted(pairs_of(FIVE)) for k in range(0, 50, 10))
    whole, alone = _run(nested, 3, *FIVE), _run(nested, 3, *FIVE, first=1, last=2)
    np.testing.assert_array_equal(alone.images, whole.images[2:4])


def test_no_iterations_give_back_rdeds_images() -> None:
    made = _run(dataclasses.replace(SHORT, iterations=0), 10, *FIVE)
    np.testing.assert_array_equal(made.images, initial(10))
    np.testing.assert_array_equal(made.labels, np.tile([0, 1], 10))


@pytest.mark.parametrize("die_after", [1, 2, 3, 5])
def test_a_killed_synthesis_ends_bit_identically(die_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "CHECKPOINT_EVERY", 4)
    undisturbed = _run(SHORT, 3, *FIVE)
    checkpoints = MemoryCheckpoints(die_after)
    with pytest.raises(Killed):
        _run(SHORT, 3, *FIVE, checkpoints=checkpoints)
    resumed = _run(SHORT, 3, *FIVE, checkpoints=checkpoints)
    assert checkpoints.saves == 6
    np.testing.assert_array_equal(resumed.images, undisturbed.images)
    for name, values in undisturbed.curves.items():
        np.testing.assert_array_equal(resumed.curves[name], values)


def test_published_settings() -> None:
    small, large = ("cifar10", "cifar100", "tiny_imagenet"), ("imagenette", "imagewoof", "imagenet1k")
    for name in (*small, *large):
        given = method("cvdd").recipes[name].parameters
        assert (given.iterations, given.learning_rate, given.r_bn, given.batch) == (4000, 0.25, 0.01, 100), name
        assert (given.temperature, given.crop, given.crop_scale_min, given.init) == (5.0, True, 0.08, "rded"), name
        assert (given.jitter, given.pool_name, given.pool) == (4 if name in small else 32, "published", VOTERS), name
        members = {choice.key for choice in CATALOGUE[name].committee}
        assert set(given.pool) <= members, name
    digits = method("cvdd").recipes["digits"].parameters
    assert (digits.pool_name, digits.pool) == ("small", SMALL_POOL)
    assert set(SMALL_POOL) <= {choice.key for choice in CATALOGUE["digits"].committee}


def test_refusals() -> None:
    digits = dataclasses.replace(facts(), committee=("convnet2_w64", "resnet20_cifar"))
    whole = dataclasses.replace(SHORT, pool=())
    assert refuse(whole, digits, 1) is None
    assert refuse(whole, facts(), 1) == "a pool of 0 has no pair of voters"
    assert refuse(dataclasses.replace(whole, pool=("resnet18",)), digits, 1) == "a pool of 1 has no pair of voters"
    compat = dataclasses.replace(whole, compat=True, compat_pair=("mobilenet_v2", "densenet121"))
    assert refuse(compat, digits, 1) == "the pool lacks mobilenet_v2, densenet121 of the pair that `compat` asks for"
    assert refuse(dataclasses.replace(whole, jitter=8), digits, 1) is not None
    assert method("cvdd").reason_against(SHORT, digits, 1) is not None
    with pytest.raises(InputError, match="not finite at iteration"):
        _run(dataclasses.replace(PLAIN, r_bn=float("inf"), iterations=3), 1, "a", "b")
