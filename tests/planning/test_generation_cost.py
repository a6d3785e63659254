"""What a generation will take, before it starts: worked examples and a network that is really measured.

Belongs here: planning/generation_cost.py, diffusion/footprint.py. Does not belong: optimisations (test_memory.py).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dd_assets.diffusion.footprint import footprint
from dd_assets.methods.registry import method
from dd_assets.planning.generation_cost import (
    LIBRARIES,
    LIVE,
    SURROGATE_PASSES,
    sampling_memory,
    sampling_seconds,
)
from dd_assets.planning.memory import PROCESS
from tests.diffusion.test_levels import DIT, STABLE
from tests.diffusion.tiny import LATENT, TINY, generator
from tests.planning.test_memory import _facts

KNOWN = {"weights": 1000, "denoiser": 10, "denoiser_kept": 100, "decoder": 30, "decoder_kept": 200}


def _samples(seconds: float = 100.0, schedule: Mapping[str, Any] | None = None, **known: int) -> Any:
    told = {} if schedule is None else {"schedule": schedule}
    summary = {"rows": 20, "footprint": known or KNOWN, **told}
    return SimpleNamespace(seconds=seconds, total_bytes=5000, summary=summary)


def test_a_network_by_hand() -> None:
    made = generator(TINY)
    found = footprint(made)
    module = made.denoiser.module
    assert found["weights"] == 4 * sum(parameter.numel() for parameter in module.parameters())
    # 16 tokens; the widest layer of a block is the feed-forward one, four times 32 numbers wide.
    assert found["denoiser"] == 4 * 16 * 4 * 32
    assert "decoder" not in found
    # The network itself stays where it was: a shadow of it went to the meta device.
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}
    latent = footprint(generator(LATENT, size=16))
    assert latent["decoder_kept"] > 0
    # 64 images of 16 px a pass; the first block of the encoder has eight channels.
    assert latent["encoder"] == 64 * 4 * 8 * 16**2


def test_a_larger_image_keeps_more_and_weighs_the_same() -> None:
    small, large = (footprint(generator(TINY, size=size)) for size in (8, 16))
    assert large["denoiser"] == 4 * small["denoiser"]
    assert large["denoiser_kept"] > 3 * small["denoiser_kept"]
    # Only the table of positions grows, by 48 of 32 numbers; weights counted among what is kept would hide the ratio.
    assert large["weights"] - small["weights"] in (0, 4 * 48 * 32)


def test_plain_sampling_needs_layers_and_a_guided_one_what_autograd_keeps() -> None:
    facts = _facts(10, 32)
    d4m, dap, dfkd = (method(name) for name in ("d4m", "dap", "prism_dfkd"))
    plain = replace(d4m.recipe_for("digits").parameters, batch=4)
    found = sampling_memory(d4m, plain, facts, 10, _samples())
    assert found.fixed == PROCESS + LIBRARIES + 1000
    # Classifier-free guidance asks twice per image; the decoder asks once, for more.
    assert (found.per_image, found.batch) == (LIVE * 30, 4)
    assert sampling_memory(d4m, replace(plain, batch=50), facts, 10, _samples()).batch == 10
    guided = dap.recipe_for("digits").parameters
    assert sampling_memory(dap, guided, facts, 10, _samples()).per_image == round(1.2 * 2 * 100)
    both = dfkd.recipe_for("digits").parameters
    assert sampling_memory(dfkd, both, facts, 10, _samples()).per_image == round(1.2 * (2 * 100 + 200))
    assert sampling_memory(d4m, plain, facts, 10, None).per_image == 0


def test_a_comparison_of_losses_asks_twice_per_candidate() -> None:
    facts, ddps = _facts(10, 32), method("ddps")
    own = ddps.recipe_for("digits").parameters
    found = sampling_memory(ddps, own, facts, 1, _samples())
    assert found.fixed == PROCESS + LIBRARIES + 1000 + 1000 * 3 * 32**2
    # With the label and without it; 50 of a class's 100 candidates at a time, at any IPC. Nothing is decoded.
    assert (found.per_image, found.batch) == (LIVE * 2 * 10, 50)
    assert sampling_memory(ddps, replace(own, mipc=20), facts, 1, _samples()).batch == 20
    # Three draws of a thousand candidates of eight pairs, each as long as a guided step.
    assert sampling_seconds(ddps, own, facts, 1, _samples(), ddps.draws) == pytest.approx(3 * 1000 * 8 * 0.1)
    assert sampling_seconds(ddps, own, facts, 10, _samples(), ddps.draws) == pytest.approx(3 * 1000 * 8 * 0.1)


def test_a_method_that_encodes_needs_a_pass_of_the_encoder() -> None:
    facts, large = _facts(10, 32), _samples(**KNOWN, encoder=10**6)
    for name, encodes in (("ddps", True), ("dap", True), ("d4m", False)):
        chosen = method(name)
        own = chosen.recipe_for("digits").parameters
        without, found = (sampling_memory(chosen, own, facts, 10, samples) for samples in (_samples(), large))
        assert found.total == (without.fixed + LIVE * 10**6 if encodes else without.total)
        # No batch of the method's would make the encoder's smaller, so that none is offered.
        assert (found.per_image == 0) is encodes
        assert sampling_memory(chosen, own, facts, 10, _samples(**KNOWN, encoder=1)) == without


def test_time_follows_steps_candidates_and_gradients() -> None:
    facts = _facts(10, 32)
    d4m, dap, cao2 = (method(name) for name in ("d4m", "dap", "cao2"))
    plain = d4m.recipe_for("digits").parameters
    # 20 samples of 50 steps in 100 s: .1 s per step.
    assert sampling_seconds(d4m, plain, facts, 10, _samples(), d4m.draws) == pytest.approx(100 * 50 * 0.1)
    guided = dap.recipe_for("digits").parameters
    # 64 references of a class once per step for all of its images, and once for the figure at the end: each half a pass
    # up to the layer at .3, at most a quarter of the blocks beyond.
    references = 51 * 64 * 0.5 * 0.55
    assert sampling_seconds(dap, guided, facts, 10, _samples(), dap.draws) == pytest.approx(
        (100 * 50 * 4 + 10 * references) * 0.1
    )
    # Classes of 10 images in passes of 4 are drawn in three parts; references of its own are asked per image.
    assert sampling_seconds(dap, replace(guided, batch=4), facts, 10, _samples(), dap.draws) == pytest.approx(
        (100 * 50 * 4 + 30 * references) * 0.1
    )
    own = replace(guided, references="kmeans", count=5)
    assert sampling_seconds(dap, own, facts, 10, _samples(), dap.draws) == pytest.approx(
        100 * (50 * 4 + 51 * 5 * 0.5 * 0.55) * 0.1
    )
    assert sampling_seconds(dap, replace(guided, gamma=0.0), facts, 10, _samples(), 1) == pytest.approx(
        (100 * 50 + 10 * 64 * 0.5 * 0.55) * 0.1
    )
    chosen = cao2.recipe_for("digits").parameters
    # Four candidates each, and a hundred steps of refinement without classifier-free guidance's second half.
    assert sampling_seconds(cao2, chosen, facts, 10, _samples(), cao2.draws) == pytest.approx(
        100 * (4 * 50 + 150) * 0.1
    )
    assert sampling_seconds(d4m, plain, facts, 10, None, d4m.draws) is None


@pytest.mark.parametrize(("schedule", "steps"), [(DIT, 111), (STABLE, 153), (None, 9 * 25)])
def test_time_follows_a_search(schedule: Mapping[str, Any] | None, steps: int) -> None:
    facts, bo = _facts(10, 32), method("bo_repulsion")
    for data in ("digits", "imagenet1k"):
        own = bo.recipe_for(data).parameters
        # Nine pairs at half the steps before each image; where the schedule is not known, all of half the steps.
        samples = _samples(schedule=schedule)
        assert sampling_seconds(bo, own, facts, 10, samples, bo.draws) == pytest.approx(100 * (steps + 50) * 0.1)


def test_a_search_passes_one_class_at_a_time_with_and_without_the_label() -> None:
    facts, bo = _facts(10, 32), method("bo_repulsion")
    own = bo.recipe_for("digits").parameters
    bare = _samples(**{**KNOWN, "decoder": 0})
    # The scales that are tried count, not the one that they take the place of.
    for scales, passes in (((1.0, 2.5), 2), ((1.0,), 1)):
        tried = replace(own, guidance_scale=4.0 - 3 * (passes - 1), search_scales=scales)
        assert sampling_memory(bo, tried, facts, 10, bare).per_image == LIVE * passes * 10
    assert sampling_memory(bo, own, facts, 10, _samples()).batch == 10
    assert sampling_memory(bo, replace(own, search_scales=(), search_levels=()), facts, 10, _samples()).batch == 50


@pytest.mark.parametrize(("schedule", "window"), [(DIT, 18), (None, 50)])
def test_time_follows_surrogates(schedule: Mapping[str, Any] | None, window: int) -> None:
    facts, igd = _facts(10, 32), method("igd")
    own, samples = igd.recipe_for("digits").parameters, _samples(4.9 * 20 / 100, schedule=schedule)
    found = sampling_seconds(igd, own, facts, 10, samples, igd.draws)
    assert found == pytest.approx(4.9 / 50 * (50 * 4 + window * SURROGATE_PASSES))
    # What 100 digits took: 33 s, 4.9 s of them for plain samples.
    assert found is not None
    assert found >= 33
    without = sampling_seconds(igd, replace(own, influence=0.0), facts, 10, samples, igd.draws)
    assert without == pytest.approx(4.9 * 4)


MEASURED = """
import torch
torch.set_num_threads(1)
from dd_assets.diffusion.registry import GeneratorRecipe
from dd_assets.diffusion.footprint import footprint
from dd_resources.compute import peak_memory
from tests.diffusion.tiny import generator, rows
made = generator(GeneratorRecipe(width=384, heads=6, layers=4, patch=1, iterations=1), size=64, channels=3)
found = footprint(made)
def one_pass(count):
    condition, null = made.condition(rows(count).labels), made.null_condition(count)
    x = torch.randn(count, *made.shape)
    return x, lambda: made.guided_noise(x, 100, condition, null, 2.0)
count = 48
with torch.no_grad():
    # The first pass of a process brings libraries' own buffers with it.
    one_pass(1)[1]()
    before = peak_memory()
    one_pass(count)[1]()
free = peak_memory() - before
x, run = one_pass(count)
x.requires_grad_()
torch.autograd.grad(run().sum(), x)
print(free, 2 * count * found["denoiser"], peak_memory() - before, 2 * count * found["denoiser_kept"])
"""


@pytest.mark.slow
def test_the_estimate_is_what_a_pass_takes() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    free, layers, kept, stored = map(int, done.stdout.split())
    assert LIVE * layers == pytest.approx(free, rel=0.4)
    assert 1.2 * stored == pytest.approx(kept, rel=0.4)
