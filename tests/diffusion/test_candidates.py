"""The choice among candidates, and the refinement of latents: CaO2's two stages.

Belongs here: candidates.py, refinement.py and what generate.py does with them. Does not belong: any recipe's numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dd_assets.diffusion.candidates import kept, probabilities
from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.diffusion.generate import conditions, generate
from dd_assets.diffusion.refinement import prediction_error, refined
from dd_assets.methods.registry import method
from dd_assets.models.pixels import normalised
from dd_assets.planning.digests import plain
from tests.diffusion.tiny import generator, rows
from tests.methods.requests import request
from tests.models.digits import digits, facts, teacher
from tests.models.interruption import Killed, MemoryCheckpoints

FIVE = Sampling(steps=5, guidance_scale=1.0, batch=20)

CHANCES = np.array(
    [
        # Class 0: two right ones, of which the first is surer; two wrong ones, of which the second is likelier.
        [0.9, 0.1],
        [0.6, 0.4],
        [0.2, 0.8],
        [0.4, 0.6],
        # Class 1: all right.
        [0.3, 0.7],
        [0.1, 0.9],
        [0.2, 0.8],
        [0.4, 0.6],
    ]
)
INDICES, LABELS = np.tile(np.arange(4), 2), np.repeat([0, 1], 4)


def test_the_surest_of_the_right_ones_are_kept_by_rank_and_class() -> None:
    assert kept(CHANCES, INDICES, LABELS, 2, "confident").tolist() == [0, 5, 1, 6]
    # Not asking whether the answer is right would keep row 2 of class 0 when the least sure are wanted.
    assert kept(CHANCES, INDICES, LABELS, 2, "uncertain").tolist() == [1, 7, 0, 4]


def test_too_few_right_ones_are_made_up_for_by_the_likeliest_others() -> None:
    assert kept(CHANCES, INDICES, LABELS, 3, "confident").reshape(3, 2)[:, 0].tolist() == [0, 1, 3]
    # Among those that are wrong anyway, the least sure of the class would be the worst: the order does not turn.
    assert kept(CHANCES, INDICES, LABELS, 3, "uncertain").reshape(3, 2)[:, 0].tolist() == [1, 0, 3]


def test_equals_go_by_index() -> None:
    same = np.full((4, 2), 0.5)
    assert kept(same, np.array([3, 1, 2, 0]), np.zeros(4, dtype=int), 2, "confident").tolist() == [3, 1]


def test_the_teacher_sees_normalised_images_batch_by_batch() -> None:
    images = digits()[0].images[:7]
    found = probabilities(teacher(), images, facts().normalisation, 3, "cpu")
    with torch.no_grad():
        whole = torch.softmax(teacher()(normalised(images, facts().normalisation, "cpu")).double(), dim=1)
        signed = torch.softmax(teacher()(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).double(), dim=1)
    np.testing.assert_allclose(found, whole.numpy(), atol=1e-6)
    # Pixels in [-1, 1], as the original's classifier got them, are other answers.
    assert np.abs(found - signed.numpy()).max() > 0.01


def test_a_method_keeps_what_its_teacher_names_best() -> None:
    how = replace(FIVE, candidates=3)
    every = generate(request(replace(FIVE, repulsion=1e-12), 6), generator=generator())
    chosen = generate(request(how, 2), generator=generator())
    assert chosen.labels.tolist() == [*range(10), *range(10)]
    chances = probabilities(teacher(), every.images, facts().normalisation, 20, "cpu")
    order = kept(chances, np.repeat(np.arange(6), 10), every.labels, 2, "confident")
    # Candidate k of a class is image k of a larger set: the same noise, whatever is kept.
    assert np.array_equal(chosen.images, every.images[order])
    # Six candidates of three classes fill a batch of twenty: four passes of five steps.
    assert chosen.curves["passes"] == 4 * 5
    own = chances[order, chosen.labels]
    assert own.mean() > chances[:20][np.arange(20), every.labels[:20]].mean()


def test_the_error_is_squared_plus_ten_times_the_worst() -> None:
    noise = torch.zeros(2, 1, 1, 2)
    predicted = torch.tensor([[[[1.0, -3.0]]], [[[0.5, 0.5]]]])
    assert prediction_error(predicted, noise).tolist() == pytest.approx([5.0 + 30.0, 0.25 + 5.0])


def test_refinement_lowers_its_own_error_and_no_image_depends_on_its_batch() -> None:
    made, batch, how = generator(), rows(6), replace(FIVE, refine=40, refine_rate=0.02)
    z = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    asked, _ = conditions(made, batch, how)
    found, errors = refined(made, z, batch, how, 0, asked)
    assert errors.shape == (40,)
    assert errors[-10:].mean() < errors[:10].mean() - 1.0
    alone, _ = refined(
        made, z[2:4], type(batch)(batch.indices[2:4], batch.labels[2:4]), how, 0, asked.rows(slice(2, 4))
    )
    torch.testing.assert_close(alone, found[2:4], rtol=0, atol=2e-4)


def test_refinement_stays_at_small_timesteps(monkeypatch) -> None:
    made, batch, seen = generator(), rows(4), []
    asked, _ = conditions(made, batch, FIVE)
    real = made.noise_at
    monkeypatch.setattr(made, "noise_at", lambda x, t, condition: (seen.append(t.clone()), real(x, t, condition))[1])
    refined(made, torch.zeros(4, 1, 8, 8), batch, replace(FIVE, refine=30), 0, asked)
    levels = made.schedule(50).alpha_bars[torch.cat(seen).numpy()]
    # Spaced indices 1 to 11 handed on as timesteps would all lie above ᾱ = .998.
    assert levels.min() >= 0.6
    assert levels.min() < 0.75
    assert levels.max() > 0.98


def test_no_refinement_changes_no_bit_and_some_changes_images() -> None:
    plain_set = generate(request(FIVE, 1), generator=generator())
    assert np.array_equal(generate(request(replace(FIVE, refine=0), 1), generator=generator()).images, plain_set.images)
    moved = generate(request(replace(FIVE, refine=5, refine_rate=0.05), 1), generator=generator())
    assert not np.array_equal(moved.images, plain_set.images)
    assert moved.curves["refinement_error"].shape == (5,)


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_set_goes_on_in_either_stage(after: int) -> None:
    how = replace(FIVE, candidates=2, refine=3, batch=10)
    whole, place = generate(request(how, 3), generator=generator()), MemoryCheckpoints(die_after=after)
    with pytest.raises(Killed):
        generate(request(how, 3, checkpoints=place), generator=generator())
    rest = generate(request(how, 3, checkpoints=place), generator=generator())
    assert np.array_equal(rest.images, whole.images)


def test_a_choice_reads_the_teacher_and_other_sampling_does_not() -> None:
    chosen, plain_one = method("cao2"), method("d4m")
    own = plain_one.recipe_for("digits").parameters
    assert chosen.reads_teacher(chosen.recipe_for("digits").parameters)
    assert not plain_one.reads_teacher(own)
    assert plain_one.reads_teacher(replace(own, candidates=2))


def test_new_fields_leave_stored_recipes_their_digests() -> None:
    fields = plain(method("d4m").recipe_for("digits").parameters)
    assert not {"candidates", "keep", "refine", "groups", "search_scales"} & set(fields)
    assert plain(method("cao2").recipe_for("digits").parameters)["candidates"] == 4


def test_values_that_make_no_sense_are_refused() -> None:
    for changed, words in (
        ({"candidates": 0}, "at least 1"),
        ({"groups": 5}, "only starts of a gaussian come in groups"),
        ({"keep": "best"}, "neither confident nor uncertain"),
        ({"refine": -1}, "refine=-1"),
        ({"refine_from": 1.0}, "refine=0"),
        ({"refine_condition": "text"}, "neither class nor null"),
        ({"search_scales": (1.0,)}, "start is 'noise', not random"),
        ({"start": "random", "search_scales": (1.0, -0.5)}, "search_scales=(1.0, -0.5): at least 0"),
        ({"guidance_scale": -1.0}, "guidance_scale=-1.0, search_scales=(): at least 0"),
        ({"start": "random", "search_levels": (0.4, 1.0)}, "between 0 and 1"),
    ):
        assert words in str(sampling_reason(replace(FIVE, **changed))), changed
