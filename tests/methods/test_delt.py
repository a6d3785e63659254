"""DELT: groups, batches, active images, common schedules (reference 16.11, section 10 traps).

Belongs here: delt's synthesis and recipe. Does not belong: the median order (tests/synthesis/test_selection.py), Adam
with late images by itself (tests/synthesis/test_recover.py).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dd_assets.errors import InputError
from dd_assets.methods.delt.recipe import Parameters, refuse
from dd_assets.methods.delt.synthesis import class_major_batches, entry_iterations, group_sizes, synthesise
from dd_assets.methods.median.recipe import Parameters as MedianParameters
from dd_assets.methods.median.synthesis import synthesise as median
from dd_assets.methods.registry import method
from dd_assets.synthesis import recover
from dd_assets.synthesis.recover import starting_from
from dd_assets.synthesis.schedules import crop_floor_at
from tests.methods.requests import request
from tests.models.digits import facts
from tests.models.interruption import Killed, MemoryCheckpoints
from tests.synthesis.two_layers import FACTS, Weights, images, network, normalised

PLAIN = Parameters(iterations=2, rounds=2, hflip=False)
SHORT = Parameters(iterations=16, rounds=4, learning_rate=0.1, hflip=False, crop_scale_min=0.5)


def _tiny(parameters: Parameters, ipc: int, **changes):
    return synthesise(request(parameters, ipc, facts=FACTS, train=images, teacher=network, **changes))


def test_group_sizes_of_the_original() -> None:
    assert group_sizes(10, 8) == [2, 2, 1, 1, 1, 1, 1, 1]
    assert group_sizes(50, 8) == [7, 7, 6, 6, 6, 6, 6, 6]
    # Fewer images than rounds: the run stays as long, the last rounds bring no one.
    assert group_sizes(3, 8) == [1, 1, 1, 0, 0, 0, 0, 0]
    assert group_sizes(1, 8) == [1, 0, 0, 0, 0, 0, 0, 0]


def test_an_image_is_optimised_from_its_entry_to_the_end() -> None:
    entry = entry_iterations(10, 8, 4000)
    assert (4000 - entry).tolist() == [4000, 4000, 3500, 3500, 3000, 2500, 2000, 1500, 1000, 500]
    # Means of 2,550 and 2,310 iterations; every image for 4,000, or 500 each, would be another method.
    assert (4000 - entry).mean() == 2550
    assert (4000 - entry_iterations(50, 8, 4000)).mean() == 2310
    assert entry_iterations(3, 8, 4000).tolist() == [0, 500, 1000]


def test_batches_hold_whole_classes() -> None:
    (single,) = class_major_batches(10, 10, 100)
    assert single.labels.tolist() == np.repeat(np.arange(10), 10).tolist()
    assert single.indices.tolist() == np.tile(np.arange(10), 10).tolist()
    fifties = class_major_batches(50, 10, 100)
    assert [sorted(set(batch.labels.tolist())) for batch in fifties] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert [len(batch.labels) for batch in class_major_batches(150, 3, 100)] == [150] * 3
    assert [len(batch.labels) for batch in class_major_batches(7, 5, 16)] == [14, 14, 7]


def test_loss_at_iteration_0_is_over_the_active_images_by_hand() -> None:
    start = _tiny(dataclasses.replace(PLAIN, iterations=0), 2)
    # One iteration of two rounds at IPC 2: index 1 has not entered, rows 0 and 1 (index 0) are all that counts.
    made = _tiny(PLAIN, 2)
    x, everything = normalised(start.images[:2]), normalised(start.images)
    assert made.curves["bn_loss"][0] == pytest.approx(Weights().bn(x), abs=1e-5)
    assert made.curves["ce"][0] == pytest.approx(Weights().ce(x, np.arange(2)), abs=1e-5)
    # Statistics, or CE, over the whole batch:
    assert abs(Weights().bn(everything) - Weights().bn(x)) > 1e-3
    assert abs(Weights().ce(everything, np.array([0, 1, 0, 1])) - Weights().ce(x, np.arange(2))) > 1e-3


def test_inactive_images_are_bit_identical_until_their_round() -> None:
    parameters = dataclasses.replace(SHORT, iterations=200, rounds=2)
    three = dataclasses.replace(facts(), classes=facts().classes[:3])
    start = synthesise(request(dataclasses.replace(parameters, iterations=0), 2, facts=three))
    checkpoints = MemoryCheckpoints(1)
    with pytest.raises(Killed):
        synthesise(request(parameters, 2, facts=three, checkpoints=checkpoints))
    # Saved at iteration 100, when the second group is about to enter; batch rows are (class, index).
    assert int(checkpoints.state["iteration"]) == 100
    images, rows = np.array(checkpoints.state["images"]), class_major_batches(2, 3, 100)[0]
    late = rows.indices == 1
    begun = starting_from(start, request(parameters, 2, facts=three))(rows).numpy()
    np.testing.assert_array_equal(images[late], begun[late])
    assert not checkpoints.state["exp_avg"][late].any()
    assert (images[~late] != begun[~late]).any(axis=(1, 2, 3)).all()
    resumed = synthesise(request(parameters, 2, facts=three, checkpoints=checkpoints))
    undisturbed = synthesise(request(parameters, 2, facts=three))
    np.testing.assert_array_equal(resumed.images, undisturbed.images)
    assert (undisturbed.images[3:] != start.images[3:]).any(axis=(1, 2, 3)).all()


def test_a_late_group_joins_rate_and_adam_as_they_stand() -> None:
    parameters = dataclasses.replace(PLAIN, learning_rate=1.0, crop=False)
    start = _tiny(dataclasses.replace(parameters, iterations=0), 2)
    made = _tiny(parameters, 2)
    moved = np.abs(made.images[2:].astype(int) - start.images[2:])
    # Iteration 1 of 2: rate .5, step count 2: .5 · (.5 / .75) / sqrt(.1 / .19) = .4595, times .25 · 255 = 29.3.
    # An Adam of its own would move by .5 (31.9), a rate that starts again by .919 (58.6).
    assert set(moved.flatten().tolist()) <= {29, 30}
    late = {at: 0.5 / (1 - 0.5 ** (at + 1)) / (0.1 / (1 - 0.9 ** (at + 1))) ** 0.5 for at in (1, 500)}
    assert late[1] / 2 == pytest.approx(0.4595, abs=1e-4)
    assert late[500] == pytest.approx(1.58, abs=1e-2)


def test_crops_follow_one_curriculum_over_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    floors = []
    draw = recover.draw_shared_view

    def recording(*args, crop_scale, **kwargs):
        floors.append(crop_scale[0])
        return draw(*args, crop_scale=crop_scale, **kwargs)

    monkeypatch.setattr(recover, "draw_shared_view", recording)
    _tiny(dataclasses.replace(PLAIN, iterations=8, rounds=4), 4)
    # One that started again for each group would be back at 1.0 at iterations 2, 4 and 6.
    assert floors == [crop_floor_at(at, 8, "cosine", 1.0, 0.08) for at in range(8)]


def test_no_iterations_give_the_median_coreset() -> None:
    start = synthesise(request(dataclasses.replace(SHORT, iterations=0), 10))
    coreset = median(request(MedianParameters(), 10))
    np.testing.assert_array_equal(start.images, coreset.images)
    np.testing.assert_array_equal(start.labels, np.tile(np.arange(10), 10))
    for name, values in coreset.columns.items():
        np.testing.assert_array_equal(start.columns[name], values)


def test_rows_are_index_major_and_the_first_images_move_most() -> None:
    parameters = dataclasses.replace(SHORT, batch=8)
    start = synthesise(request(dataclasses.replace(parameters, iterations=0), 4))
    made = synthesise(request(parameters, 4))
    np.testing.assert_array_equal(made.labels, np.tile(np.arange(10), 4))
    np.testing.assert_array_equal(made.columns["source_index"], start.columns["source_index"])
    moved = np.abs(made.images.astype(int) - start.images).reshape(4, -1).mean(axis=1)
    assert (np.diff(moved) < 0).all()


def test_images_depend_on_ipc_so_a_shard_is_the_whole_set() -> None:
    assert not method("delt").shards_by_index(SHORT)
    with pytest.raises(InputError, match="in parts"):
        synthesise(request(SHORT, 4, first=1))


def test_published_settings() -> None:
    for name in ("cifar10", "cifar100", "tiny_imagenet", "imagenette", "imagewoof", "imagenet1k"):
        given = method("delt").recipes[name].parameters
        assert (given.iterations, given.rounds, given.batch, given.jitter) == (4000, 8, 100, 0), name
        assert (given.learning_rate, given.r_bn, given.crop_scale_min) == (0.25, 0.01, 0.08), name
        assert (given.curriculum, given.milestone) == ("cosine", 1.0), name


def test_refusals() -> None:
    few = dataclasses.replace(facts(), train_counts=(142, 3, *[142] * 8))
    assert refuse(SHORT, few, 5) == "class '1' has 3 training images, IPC 5 needs 5 different ones"
    for start in ("noise", "rded"):
        assert refuse(dataclasses.replace(SHORT, init=start), few, 5) is None
    assert refuse(SHORT, facts(), 50) is None
