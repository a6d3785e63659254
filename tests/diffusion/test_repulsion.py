"""Repulsion within a class, and classes drawn at once.

Belongs here: repulsion.py, guiding.py and the joint layout of generate.py. Does not belong: any method.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.diffusion.generate import conditions, generate
from dd_assets.diffusion.guiding import Along, stretched
from dd_assets.diffusion.repulsion import Repulsion, push
from dd_assets.diffusion.sampling import Trace, sample
from dd_assets.errors import InputError
from dd_assets.methods.registry import method
from dd_assets.planning.digests import plain
from dd_assets.synthesis.batches import Batch
from tests.diffusion.tiny import generator
from tests.methods.requests import request
from tests.models.interruption import Killed, MemoryCheckpoints

FIVE = Sampling(steps=5, guidance_scale=1.0)
CLASS = Batch(np.arange(4), np.full(4, 3))
"""Four images of class 3."""


def _drawn(rows: Batch, *guidances, trace: Trace | None = None) -> torch.Tensor:
    made = generator()
    condition, null = conditions(made, rows, FIVE)
    return sample(made, rows, FIVE, 0, condition=condition, null=null, guidances=guidances, trace=trace)


def test_two_points_push_each_other_as_computed_by_hand() -> None:
    # h = 2² / ln 2, weight 2/h · exp(-4/h) = (ln 2 / 2) · 1/2, times the difference 2: ln 2 / 2.
    found = push(torch.tensor([[0.0], [2.0]]))
    # The original's log(n - 1) is log 1 = 0 here: an infinite width and no push at all.
    assert found.flatten().tolist() == pytest.approx([-math.log(2) / 2, math.log(2) / 2])


def test_the_push_is_the_gradient_of_the_kernel_at_its_width() -> None:
    points = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    between = torch.cdist(points, points)
    for own in range(5):
        others = between[own][torch.arange(5) != own]
        width = others.median() ** 2 / math.log(5)
        z = points[own].clone().requires_grad_()
        energy = sum(torch.exp(-(z - points[j]).pow(2).sum() / width) for j in range(5) if j != own)
        (slope,) = torch.autograd.grad(energy, z)
        torch.testing.assert_close(push(points)[own], -slope)


def test_alone_or_in_one_place_nothing_moves_and_nothing_breaks() -> None:
    assert push(torch.ones(1, 3)).abs().sum() == 0
    assert push(torch.ones(3, 3)).abs().sum() == 0


def test_samples_of_a_class_spread_and_those_of_others_do_not_matter() -> None:
    plain_set, trace = _drawn(CLASS), Trace()
    spread = _drawn(CLASS, Repulsion(3.0, 1.0), trace=trace)
    assert trace.guided == [5]
    before, after = (torch.pdist(found.flatten(1)).mean() for found in (plain_set, spread))
    assert after > 1.05 * before
    mixed = Batch(np.arange(4), np.arange(4))
    assert torch.equal(_drawn(mixed, Repulsion(3.0, 1.0)), _drawn(mixed))


def test_strength_zero_changes_no_bit_and_the_window_ends_at_sigma_one() -> None:
    assert torch.equal(_drawn(CLASS, Repulsion(0.0, 1.0)), _drawn(CLASS))
    trace, levels = Trace(), generator().schedule(5).levels()
    guide = Repulsion(0.3, FIVE.repulsion_until)
    _drawn(CLASS, guide, trace=trace)
    assert trace.guided == [int((levels <= 0.5).sum())]
    # Of five steps the noisy ones, by index counted down.
    assert guide.curves()["repulsion_distance_index"].tolist() == [4.0, 3.0, 2.0]


def test_a_class_drawn_at_once_comes_in_the_rows_of_the_set() -> None:
    how = replace(FIVE, batch=4, repulsion=1e-12)
    joint, single = generate(request(how, 3), generator=generator()), replace(how, repulsion=0.0)
    separate = generate(request(single, 3), generator=generator())
    assert joint.labels.tolist() == list(range(10)) * 3
    # Rows left in the order of the passes (class by class) would be other images.
    assert np.array_equal(joint.images, separate.images)
    assert joint.curves["passes"] == 10 * 5
    # No pass is larger than `batch`: of five images of a class, three go alone, two with two of the next class.
    assert generate(request(how, 5), generator=generator()).curves["passes"] == (10 + 5) * 5


def test_what_is_drawn_at_once_is_one_shard() -> None:
    d4m = method("d4m")
    parameters = d4m.recipe_for("digits").parameters
    assert d4m.shards_by_index(parameters)
    assert not d4m.shards_by_index(replace(parameters, repulsion=0.3))
    with pytest.raises(InputError, match="cannot be drawn in parts"):
        generate(request(replace(FIVE, repulsion=0.3), 2, first=1), generator=generator())


def test_a_killed_joint_set_goes_on_with_the_same_images() -> None:
    how = replace(FIVE, repulsion=0.3, batch=4)
    whole, place = generate(request(how, 3), generator=generator()), MemoryCheckpoints(die_after=3)
    with pytest.raises(Killed):
        generate(request(how, 3, checkpoints=place), generator=generator())
    rest = generate(request(how, 3, checkpoints=place), generator=generator())
    assert np.array_equal(rest.images, whole.images)
    assert rest.curves["passes"] == 7 * 5


def test_a_long_set_is_saved_fifty_times_at_most() -> None:
    how, place = replace(FIVE, steps=1, repulsion=0.3, batch=1), MemoryCheckpoints()
    generate(request(how, 6, checkpoints=place), generator=generator())
    # Sixty passes; each checkpoint holds all before it, so that one for each would write 1,770 batches.
    assert place.saves == 29


def test_older_results_keep_their_digests() -> None:
    assert "repulsion" not in plain(Sampling())
    assert plain(Sampling(repulsion=0.3))["repulsion"] == 0.3
    assert "repulsion=-1" in str(sampling_reason(Sampling(repulsion=-1)))


def test_lengths_of_a_gradient() -> None:
    slope = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert torch.equal(stretched(slope, "raw", 0.19), slope)
    # Root mean square of (3, 4) is 5 / sqrt(2).
    assert stretched(slope, "unit", 0.19)[0].tolist() == pytest.approx([3 * 2**0.5 / 5, 4 * 2**0.5 / 5])
    assert stretched(slope, "noise", 0.19).pow(2).mean(dim=1).sqrt().tolist() == pytest.approx([0.9, 0.0])


def test_figures_along_the_steps_are_means_over_all_batches() -> None:
    along = Along("figure")
    along.add(3, torch.tensor([1.0, 2.0]))
    along.add(4, torch.tensor([5.0]))
    along.add(3, torch.tensor([6.0]))
    assert {name: values.tolist() for name, values in along.curves().items()} == {
        "figure": [5.0, 3.0],
        "figure_index": [4.0, 3.0],
    }
