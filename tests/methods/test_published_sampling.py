"""Published values of the methods that are a choice of sampling fields: CaO2, D3HR, BO+repulsion.

Belongs here: their recipes against the numbers of the generation reference. Does not belong: what the fields do
(tests/diffusion), recipes for small data.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from dd_assets.diffusion.refinement import WORST
from dd_assets.diffusion.repulsion import SIGMA_LIMIT
from dd_assets.methods.registry import method
from tests.diffusion.test_levels import DIT, STABLE, _schedule


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
