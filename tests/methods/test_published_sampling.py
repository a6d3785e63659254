"""Published values of the methods that are a choice of sampling fields: CaO2, D3HR, BO+repulsion.

Belongs here: their recipes against the numbers of the generation reference. Does not belong: what the fields do
(tests/diffusion), recipes for small data.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dd_assets.diffusion.references import DRAWN
from dd_assets.diffusion.refinement import WORST
from dd_assets.diffusion.repulsion import SIGMA_LIMIT
from dd_assets.diffusion.starts import from_random
from dd_assets.methods.registry import method
from dd_assets.methods.request import ReferenceLatents
from dd_assets.sweeps.compositions import as_method, read_composition
from dd_assets.synthesis.batches import Batch
from tests.diffusion.test_levels import DIT, STABLE, _schedule
from tests.methods.requests import digit_facts


def test_bo_repulsions_strengths_are_levels_of_stable_diffusion() -> None:
    published = method("bo_repulsion").recipe_for("imagenet1k").parameters
    assert (published.generator, published.condition, published.start, published.steps) == (
        "pretrained",
        "text",
        "random",
        50,
    )
    stable = _schedule(STABLE)
    # Strengths .4 and .9 of 50 steps run 20 and 45 of them; the middle one is .65, of 32.5.
    left = [50 - stable.position_of(level) for level in published.search_levels]
    assert left == [20, 32, 45]
    for level, steps in ((published.search_levels[0], 20), (published.search_levels[2], 45)):
        assert level == pytest.approx(stable.level(50 - steps), abs=5e-5)
    # 3 to 8 times the difference beside the conditional answer: 4 to 9 in the form that 1 leaves alone.
    assert published.search_scales == (4.0, 6.5, 9.0)
    # λ .3 while σ is above 1.
    assert (published.repulsion, published.repulsion_until) == (0.3, 0.5)
    assert ((1 - stable.alpha_bars[-1]) / stable.alpha_bars[-1]) ** 0.5 == pytest.approx(SIGMA_LIMIT, abs=0.05)
    # One draw of whole classes, which the teacher judges.
    assert published.joint
    assert method("bo_repulsion").reads_teacher(published)


def test_bo_repulsion_begins_from_as_many_real_images_as_a_class_has() -> None:
    """Starts begin again where a class is drawn more often than it has kept latents, but not for what is kept."""
    chosen = method("bo_repulsion")
    own = chosen.recipe_for("digits").parameters
    facts = replace(digit_facts(), generators=("small",))
    fewest = min(facts.train_counts)
    assert chosen.reason_against(own, facts, fewest) is None
    reason = f"its smallest class has {fewest} training images, IPC is {fewest + 1}"
    assert chosen.reason_against(own, facts, fewest + 1) == reason
    assert chosen.reason_against(replace(own, start="noise", search_scales=(), search_levels=()), facts, 1000) is None
    assert chosen.reason_against(own, replace(facts, train_counts=()), 1000) is None


def test_bo_repulsion_as_released_draws_each_kept_latent_more_than_once() -> None:
    path = Path(__file__).resolve().parents[2] / "docs/examples/recipes/bo_repulsion_released.yaml"
    released = as_method(read_composition(path), method("bo_repulsion"))
    parameters = released.recipe_for("imagenet1k").parameters
    facts = replace(digit_facts(), generators=("pretrained",), train_counts=(1300,) * 10)
    assert released.reason_against(parameters, facts, 10) is None
    drawn = 10 * parameters.candidates
    assert (drawn, drawn > DRAWN) == (600, True)
    assert f"{DRAWN} of them at most" in path.read_text("utf-8")
    latents = np.arange(DRAWN, dtype=np.float32)[:, None, None, None]
    whole = np.zeros(DRAWN, dtype=np.int64)
    references = ReferenceLatents(latents=latents, source_index=np.arange(DRAWN), labels=whole, indices=whole - 1)
    start = from_random(parameters, references, 0)(Batch(np.arange(drawn), np.zeros(drawn, dtype=np.int64)))
    assert start is not None
    # Each as often as any other, up to one: 600 / 128.
    counts = np.bincount(start.latents.flatten().long(), minlength=DRAWN)
    assert (counts.min(), counts.max()) == (4, 5)


def test_d3hr_starts_at_step_31_of_50() -> None:
    published, linear = method("d3hr").recipe_for("imagenet1k").parameters, _schedule(DIT, 1000)
    assert (published.generator, published.condition, published.start, published.steps) == (
        "pretrained",
        "class",
        "gaussian",
        50,
    )
    # group_sampling.py's statistics 6, of loop index 24 + 6, whose latents lie at t = 30 · 20.
    assert published.start_level == pytest.approx(linear.alpha_bars[600], abs=5e-5)
    assert published.start_level == 0.0256
    # DiT's own scale; the best of many groups.
    assert published.guidance_scale == 4.0
    assert published.groups == 1000
    assert (published.eta, published.sampler) == (0.0, "ddim")


def test_cao2_keeps_one_of_four_and_refines_a_hundred_steps() -> None:
    chosen = method("cao2")
    easy, hard = (chosen.recipe_for(data).parameters for data in ("imagenette", "imagewoof"))
    for published in (easy, hard):
        assert (published.generator, published.condition, published.start) == ("pretrained", "class", "noise")
        assert (published.guidance_scale, published.sampler) == (2.7, "ddpm")
        assert (published.refine, published.refine_rate) == (100, 6e-4)
    assert WORST == 10
    # sample_woof.py: two candidates, refined under no class; sample_imagenet.py: four. The surest are kept.
    assert (easy.keep, easy.refine_condition, easy.candidates) == ("confident", "class", 4)
    assert (hard.keep, hard.refine_condition, hard.candidates) == ("confident", "null", 2)
    assert chosen.recipe_for("imagenet1k").parameters == replace(hard, candidates=4)
    # Spaced indices up to 11 of 50, as timesteps of the schedule.
    linear = _schedule(DIT)
    assert 49 - linear.within(easy.refine_from, 1.0)[0] == 11
