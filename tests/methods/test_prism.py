"""PRISM: subsets, shares, lengths by index, the ablation's cells (reference 16.12, section 11 traps).

Belongs here: prism's synthesis and recipe. Does not belong: sums over networks and recoveries of different lengths
(tests/synthesis/test_committee.py).
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.errors import InputError
from dd_assets.methods.prism import synthesis
from dd_assets.methods.prism.recipe import METHOD, POOL, RESEEDED_POOL, Parameters, refuse
from dd_assets.methods.prism.synthesis import length_of, paid_for, shares_of, subset_of, synthesise
from dd_assets.methods.registry import method
from dd_assets.synthesis import recover
from tests.models.digits import facts
from tests.models.interruption import Killed, MemoryCheckpoints
from tests.synthesis.committees import Calls, beginning_of, bn, ce, committee, initial, tiny
from tests.synthesis.two_layers import images

FIVE = ("a", "b", "c", "d", "flat")
PLAIN = Parameters(iterations=1, shorter_by=0, crop=False, hflip=False, jitter=0)
SHORT = Parameters(
    iterations=9, shorter_by=2, cycle=3, learning_rate=0.05, crop_scale_min=0.5, hflip=False, jitter=1, pool=FIVE
)


def _run(parameters: Parameters, ipc: int, *names: str, **changes):
    return synthesise(tiny(parameters, ipc, committee(*names), **changes))


def test_the_subset_always_holds_the_primary_and_each_other_with_the_same_chance() -> None:
    subsets = [subset_of(POOL, 3, 0.5, 0, index) for index in range(2000)]
    assert all(subset[0] == "resnet18" and len(set(subset)) == len(subset) for subset in subsets)
    sizes = collections.Counter(map(len, subsets))
    # 1 + Binomial(3, 1/2): shares 1/8, 3/8, 3/8, 1/8, standard deviations below .011.
    assert [sizes[size] / 2000 for size in (1, 2, 3, 4)] == pytest.approx([0.125, 0.375, 0.375, 0.125], abs=0.035)
    # 1.5 places among four others: 3/8 each. One flip of a coin per network would give 1/2.
    for name in POOL[1:]:
        assert sum(name in subset for subset in subsets) / 2000 == pytest.approx(0.375, abs=0.035)
    assert subset_of(POOL, 3, 0.0, 0, 0) == ("resnet18",)
    assert len(subset_of(POOL, 3, 1.0, 0, 0)) == 4
    assert subset_of(POOL[:2], 3, 1.0, 0, 0) == POOL[:2]
    assert subset_of(POOL, 3, 0.5, 7, 3) == subset_of(POOL, 3, 0.5, 7, 3)
    assert [subset_of(POOL, 3, 0.5, 7, k) for k in range(9)] != [subset_of(POOL, 3, 0.5, 8, k) for k in range(9)]


def test_lengths_fall_by_500_and_begin_again_at_index_8() -> None:
    lengths = [length_of(Parameters(), index) for index in range(17)]
    assert lengths == [4000, 3500, 3000, 2500, 2000, 1500, 1000, 500] * 2 + [4000]
    # Without the modulus index 8 would get none. The mean at IPC 10 is 2,550 as stated.
    assert np.mean(lengths[:10]) == 2550


def test_loss_at_iteration_0_divides_by_the_subset_with_networks_without_batch_norm() -> None:
    made = _run(dataclasses.replace(PLAIN, chance=1.0), 1, "a", "b", "flat")
    x, labels = beginning_of(_run(dataclasses.replace(PLAIN, iterations=0), 1, "a", "b", "flat")), np.arange(2)
    assert made.curves["ce"][0] == pytest.approx(ce("a", x, labels), abs=1e-5)
    assert made.curves["bn_loss"][0] == pytest.approx((bn("a", x) + bn("b", x)) / 3, rel=1e-5)
    # Divided by the two that have batch norm it would be half as large again; summed, three times.
    assert bn("a", x) + bn("b", x) > 1
    alone = _run(dataclasses.replace(PLAIN, chance=0.0), 1, "a", "b", "flat")
    # The primary's distance once, though it judges classes and statistics.
    assert alone.curves["bn_loss"][0] == pytest.approx(bn("a", x), rel=1e-5)


@pytest.mark.parametrize("logits", ["primary", "all"])
@pytest.mark.parametrize("statistics", ["same", "all", "subset"])
def test_the_six_cells_by_hand(logits: str, statistics: str) -> None:
    names, labels = ("a", "b", "c", "flat"), np.arange(2)
    parameters = dataclasses.replace(PLAIN, logits_from=logits, bn_from=statistics)
    made = _run(parameters, 1, *names, seed=2)
    x = beginning_of(_run(dataclasses.replace(PLAIN, iterations=0), 1, *names, seed=2))
    # The subset of this seed: neither the primary alone nor the pool, which would tell no cells apart.
    subset = ("a", "b", "flat")
    judges = {"primary": names[:1], "all": names}[logits]
    matched = {"same": names[:1], "all": names, "subset": subset}[statistics]
    assert made.curves["ce"][0] == pytest.approx(np.mean([ce(name, x, labels) for name in judges]), abs=1e-5)
    assert made.curves["bn_loss"][0] == pytest.approx(np.mean([bn(name, x) for name in matched]), rel=1e-5)


def test_one_subset_per_index_for_all_iterations_and_batches() -> None:
    members = committee(*FIVE)
    calls = Calls(members)
    parameters = dataclasses.replace(SHORT, iterations=3, shorter_by=0, batch=1)
    synthesise(tiny(parameters, 4, members))
    expected = []
    for index in range(4):
        run = [name for name in subset_of(FIVE, 3, 0.5, 0, index) if name != "flat"]
        # 2 batches of one class, 3 iterations; the network that gives logits and statistics runs once.
        expected += run * 2 * 3
    assert calls.names == expected
    assert len({subset_of(FIVE, 3, 0.5, 0, index) for index in range(4)}) > 1


def test_redrawn_subsets_differ_between_iterations_not_between_classes() -> None:
    members = committee(*FIVE)
    calls = Calls(members)
    parameters = dataclasses.replace(SHORT, iterations=6, shorter_by=0, batch=1, draw="per_iteration")
    synthesise(tiny(parameters, 1, members))
    subsets = [[name for name in subset_of(FIVE, 3, 0.5, 0, 0, at) if name != "flat"] for at in range(6)]
    assert calls.names == [name for _ in range(2) for subset in subsets for name in subset]
    assert len({tuple(subset) for subset in subsets}) > 2


def test_each_index_has_a_cosine_of_its_own_length() -> None:
    recoveries = synthesis._index_by_index(tiny(SHORT, 4, committee("a")), committee("a"), None)
    assert [recovery.iterations for recovery in recoveries] == [9, 7, 5, 9]
    for recovery in recoveries:
        assert recovery.rate(0) == 0.05
        # One schedule over 9 for all would leave index 2 at .05 · .587 where it ends.
        assert recovery.rate(recovery.iterations - 1) == pytest.approx(
            0.025 * (1 + np.cos(np.pi * (recovery.iterations - 1) / recovery.iterations))
        )


def test_a_range_of_indices_is_what_its_shards_are() -> None:
    whole = _run(SHORT, 4, *FIVE)
    shards = [_run(SHORT, 4, *FIVE, first=index, last=index + 1) for index in range(4)]
    np.testing.assert_array_equal(whole.images, np.concatenate([shard.images for shard in shards]))
    sources = np.concatenate([shard.columns["source_index"] for shard in shards])
    np.testing.assert_array_equal(whole.columns["source_index"], sources)
    for name, values in whole.curves.items():
        np.testing.assert_array_equal(values, np.concatenate([shard.curves[name] for shard in shards]))
    # An index is the same at any IPC, so that IPC 4 begins with the images of IPC 1.
    np.testing.assert_array_equal(_run(SHORT, 1, *FIVE).images, whole.images[:2])
    assert METHOD.shards_by_index(SHORT)


@pytest.mark.parametrize("draw", ["per_index", "per_iteration"])
@pytest.mark.parametrize("die_after", [1, 2, 4, 6, 7])
def test_a_killed_synthesis_ends_bit_identically(draw: str, die_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "CHECKPOINT_EVERY", 4)
    parameters = dataclasses.replace(SHORT, draw=draw, batch=1)
    undisturbed = _run(parameters, 2, *FIVE)
    checkpoints = MemoryCheckpoints(die_after)
    with pytest.raises(Killed):
        _run(parameters, 2, *FIVE, checkpoints=checkpoints)
    resumed = _run(parameters, 2, *FIVE, checkpoints=checkpoints)
    # Two batches per index; 3 saves of 9 iterations, 2 of 7.
    assert checkpoints.saves == 10
    np.testing.assert_array_equal(resumed.images, undisturbed.images)
    for name, values in undisturbed.curves.items():
        np.testing.assert_array_equal(resumed.curves[name], values)


def test_no_iterations_give_a_seeded_choice_of_real_images() -> None:
    unmoved = dataclasses.replace(SHORT, iterations=0)
    made, other = _run(unmoved, 4, *FIVE), _run(unmoved, 4, *FIVE, seed=1)
    np.testing.assert_array_equal(made.images, images().images[made.columns["source_index"]])
    np.testing.assert_array_equal(images().labels[made.columns["source_index"]], np.tile([0, 1], 4))
    assert len(set(made.columns["source_index"].tolist())) == 8
    # The first images by name, as the original takes them, would be the same for every seed.
    assert made.columns["source_index"].tolist() != other.columns["source_index"].tolist()
    assert made.curves == {}
    given = _run(dataclasses.replace(unmoved, init="random"), 3, *FIVE, first=1, last=3)
    np.testing.assert_array_equal(given.images, initial(3)[2:])


def test_equal_forwards_share_one_budget() -> None:
    assert paid_for(12, lambda at: 3) == 4
    assert paid_for(12, lambda at: 5) == 2
    # 1 + 2 + 3 + 4 = 10 fit into 12, a further 5 do not.
    assert paid_for(12, lambda at: at + 1) == 4
    plain = dataclasses.replace(SHORT, iterations=12, shorter_by=6, cycle=2, equal_forwards=True)

    def lengths(**changes) -> list[int]:
        members = committee(*FIVE)
        asked = tiny(dataclasses.replace(plain, **changes), 2, members)
        return [recovery.iterations for recovery in synthesis._index_by_index(asked, members, None)]

    assert lengths(bn_from="same") == [12, 6]
    # Four networks with batch norm; the fifth runs only for its logits.
    assert lengths(bn_from="all") == [3, 1]
    assert lengths(bn_from="all", logits_from="all") == [2, 1]
    run = [len([name for name in subset_of(FIVE, 3, 0.5, 0, index) if name != "flat"]) for index in range(2)]
    assert lengths() == [12 // run[0], 6 // run[1]]
    assert lengths(equal_forwards=False) == [12, 6]


def test_an_index_whose_budget_pays_for_no_iteration_is_refused() -> None:
    """A budget of 2 pays for none at 3 forward passes: index 1 stayed as it began."""
    assert paid_for(2, lambda at: 3) == 0
    poor = dataclasses.replace(SHORT, iterations=6, shorter_by=2, equal_forwards=True)
    reason = "equal_forwards: 2 iterations of index 2 may not pay for one of 4 networks"
    assert refuse(poor, facts(), 5) == reason
    assert refuse(poor, facts(), 2) is None
    for stated, most in (({"bn_from": "all"}, 5), ({"logits_from": "all", "bn_from": "same"}, 5), ({"extra": 2}, 3)):
        assert f"one of {most} networks" in str(refuse(dataclasses.replace(poor, **stated), facts(), 5))
    assert refuse(dataclasses.replace(poor, bn_from="same"), facts(), 5) is None
    assert refuse(dataclasses.replace(poor, extra=1), facts(), 5) is None
    assert refuse(dataclasses.replace(poor, iterations=0), facts(), 5) is None
    whole = dataclasses.replace(facts(), committee=("a", "b", "c"))
    assert "one of 3 networks" in str(refuse(dataclasses.replace(poor, pool=()), whole, 5))


def test_early_late_images_enter_in_delts_groups_with_a_subset_per_round() -> None:
    members = committee(*FIVE)
    calls = Calls(members)
    parameters = dataclasses.replace(SHORT, iterations=8, layout="early_late", rounds=4)
    made = synthesise(tiny(parameters, 4, members))
    subsets = [[name for name in subset_of(FIVE, 3, 0.5, 0, number) if name != "flat"] for number in range(4)]
    assert calls.names == [name for subset in subsets for _ in range(2) for name in subset]
    start = _run(dataclasses.replace(parameters, iterations=0), 4, *FIVE)
    moved = np.abs(made.images.astype(int) - start.images).reshape(4, -1).mean(axis=1)
    assert (np.diff(moved) < 0).all()
    np.testing.assert_array_equal(made.labels, np.tile([0, 1], 4))
    # The loss of iteration 0 is of the first group alone.
    first = beginning_of(start, slice(0, 2))
    matched = subset_of(FIVE, 3, 0.5, 0, 0)
    plain = dataclasses.replace(parameters, crop=False, jitter=0)
    bn_loss = synthesise(tiny(plain, 4, committee(*FIVE))).curves["bn_loss"][0]
    assert bn_loss == pytest.approx(sum(bn(name, first) for name in matched) / len(matched), rel=1e-5)
    with pytest.raises(InputError, match="in parts"):
        _run(parameters, 4, *FIVE, first=1)
    assert not METHOD.shards_by_index(parameters)


def test_shares_sum_to_one_in_every_cell() -> None:
    for logits in ("primary", "all"):
        for statistics in ("same", "all", "subset"):
            parameters = dataclasses.replace(SHORT, logits_from=logits, bn_from=statistics)
            shares = shares_of(parameters, FIVE, ("a", "flat"))
            assert sum(shares.ce.values()) == pytest.approx(1.0)
            assert sum(shares.bn.values()) == pytest.approx(1.0)


def test_declared_variants() -> None:
    cells = {(logits, statistics) for logits in ("primary", "all") for statistics in ("same", "all", "subset")}
    found = {("primary", "subset"): method("prism")}
    found |= {cell: method("prism_" + "_".join(cell)) for cell in cells - {("primary", "subset")}}
    for data in METHOD.recipes:
        base = METHOD.recipe_for(data).parameters
        for (logits, statistics), cell in found.items():
            expected = dataclasses.replace(base, logits_from=logits, bn_from=statistics)
            assert cell.recipe_for(data).parameters == expected
    assert method("prism_delt").recipe_for("digits").parameters.layout == "early_late"
    assert method("prism_redrawn").recipe_for("digits").parameters.draw == "per_iteration"
    assert method("prism_random").starts() == ["random"]
    reseeded = method("prism_reseeded").recipe_for("digits").parameters
    assert (reseeded.pool, reseeded.pool_name) == (RESEEDED_POOL, "reseeded")


def test_published_settings() -> None:
    for name in ("cifar10", "cifar100", "tiny_imagenet", "imagenette", "imagewoof", "imagenet1k"):
        given = METHOD.recipes[name].parameters
        assert (given.iterations, given.shorter_by, given.cycle, given.batch) == (4000, 500, 8, 100), name
        assert (given.learning_rate, given.r_bn, given.extra, given.chance) == (0.05, 0.01, 3, 0.5), name
        assert (given.crop_scale_min, given.init, given.first_bn_multiplier) == (0.08, "real", 10.0), name
        assert set(given.pool) <= {choice.key for choice in CATALOGUE[name].committee}, name
    for name in ("imagenette", "imagewoof", "imagenet1k"):
        assert METHOD.recipes[name].parameters.pool == POOL, name
        assert METHOD.recipes[name].parameters.jitter == 32, name
    small = {choice.key for choice in CATALOGUE["digits"].committee}
    assert {*METHOD.recipes["digits"].parameters.pool, *RESEEDED_POOL} <= small


def test_refusals() -> None:
    few = dataclasses.replace(facts(), train_counts=(142, 3, *[142] * 8))
    assert refuse(SHORT, few, 5) == "class '1' has 3 training images, IPC 5 needs 5 different ones"
    assert refuse(dataclasses.replace(SHORT, init="random"), few, 5) is None
    wanting = dataclasses.replace(SHORT, iterations=4)
    assert refuse(wanting, facts(), 5) == "4 iterations, 2 fewer per index, leave none for index 2"
    assert refuse(wanting, facts(), 2) is None
    assert refuse(dataclasses.replace(SHORT, iterations=0), facts(), 5) is None
    late = dataclasses.replace(SHORT, layout="early_late")
    assert refuse(late, facts(), 5) is None
    assert refuse(dataclasses.replace(late, equal_forwards=True), facts(), 5) is not None
    with pytest.raises(InputError, match="none of flat has batch norm layers"):
        _run(PLAIN, 1, "flat")
