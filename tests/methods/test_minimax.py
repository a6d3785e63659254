"""The minimax method: plain samples of its own generator.

Belongs here: methods/minimax. Does not belong: the fine-tuning (tests/diffusion/test_minimax.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dd_assets.diffusion.generate import generate
from dd_assets.methods.minimax import recipe
from dd_assets.methods.minimax.synthesis import synthesise
from dd_assets.methods.registry import method
from tests.diffusion.tiny import generator
from tests.methods.requests import digit_facts, request

QUICK = recipe.Parameters(steps=4, batch=5)


def test_it_is_plain_sampling_of_the_fine_tuned_generator() -> None:
    made, asked = generator(), request(QUICK, 2)
    asked.generator = lambda: made
    whole = synthesise(asked).images
    assert np.array_equal(whole, generate(request(QUICK, 2), generator=made).images)
    parts = []
    for index in range(2):
        part = request(QUICK, 2, first=index, last=index + 1)
        part.generator = lambda: made
        parts.append(synthesise(part).images)
    assert np.array_equal(np.concatenate(parts), whole)


def test_every_recipe_samples_from_the_fine_tuned_generator_and_from_noise() -> None:
    chosen = method("minimax")
    assert chosen.generators() == ["minimax"]
    own = chosen.recipe_for("digits").parameters
    facts = digit_facts()
    assert "has no generator minimax" in str(chosen.reason_against(own, facts, 10))
    facts = replace(facts, generators=("small", "minimax"))
    assert chosen.reason_against(own, facts, 10) is None
    assert "no class centroids" in str(chosen.reason_against(replace(own, start="centroid"), facts, 10))
    assert "steps=0" in str(chosen.reason_against(replace(own, steps=0), facts, 10))
