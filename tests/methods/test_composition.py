"""The fields that all generation methods share, with each of them: it runs, or says why not.

Belongs here: candidates with every generation method. Does not belong: the choice itself
(tests/diffusion/test_candidates.py), what a method does without them (its own test).
"""

from __future__ import annotations

import importlib
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dd_assets.diffusion import generate as generating
from dd_assets.diffusion.contract import Sampling
from dd_assets.methods.contract import Method
from dd_assets.methods.prism_dfkd.synthesis import synthesise as prompted
from dd_assets.methods.registry import METHODS, method
from dd_assets.methods.request import ClassGaussians, Request, SyntheticImages
from tests.diffusion.tiny import generator
from tests.methods.requests import digit_facts, request
from tests.methods.test_dap import _bank
from tests.methods.test_igd import _influence
from tests.methods.test_mgd3 import _centroids
from tests.methods.test_prism_dfkd import BANK, reader

GENERATION = [name for name, entry in METHODS().items() if entry.family == "generation"]
IPC = 2


def _quick(parameters: Sampling, **changes: Any) -> Sampling:
    """A recipe in four steps, with what costs time cut short."""
    few = {
        "steps": 4,
        "batch": 20,
        "refine": min(parameters.refine, 2),
        "groups": min(parameters.groups, 3),
        "search_scales": parameters.search_scales[:1],
        "search_levels": parameters.search_levels[:2],
    }
    return replace(parameters, **few, **changes)


def _asked(chosen: Method, parameters: Any) -> Request:
    """Whatever a generation method may read, on the digits and tiny untrained generators."""
    asked = request(parameters, IPC)
    asked.generator = reader if parameters.condition == "text" else generator
    asked.centroids, asked.influence, asked.prompts = _centroids, _influence, lambda: BANK
    asked.reference_latents = lambda: _bank(chosen.references_of(parameters))
    means = np.zeros((10, 1, 8, 8), dtype=np.float32)
    asked.class_gaussians = lambda: ClassGaussians(means=means, deviations=means + 1, level=0.02)
    return asked


def _made(chosen: Method, parameters: Any) -> SyntheticImages:
    module, function = chosen.synthesis.split(":")
    return getattr(importlib.import_module(module), function)(_asked(chosen, parameters))


@pytest.mark.parametrize("name", GENERATION)
def test_of_several_candidates_one_is_kept_or_a_reason_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, drawn, sampled = method(name), set(), generating.sample_rows

    def counted(made: Any, rows: Any, *given: Any) -> Any:
        drawn.update(zip(rows.indices.tolist(), rows.labels.tolist(), strict=True))
        return sampled(made, rows, *given)

    monkeypatch.setattr(generating, "sample_rows", counted)
    parameters = _quick(chosen.recipe_for("digits").parameters, candidates=2)
    facts = replace(digit_facts(), generators=("small", "text", "minimax"))
    reason = chosen.reason_against(parameters, facts, IPC)
    if name == "igd":
        assert "no earlier ones to deviate from; set deviation: 0" in str(reason)
        parameters = replace(parameters, deviation=0.0)
        reason = chosen.reason_against(parameters, facts, IPC)
    assert reason is None
    # An asset has one shard then: which of them stay depends on all.
    assert not chosen.shards_by_index(parameters)
    made = _made(chosen, parameters)
    assert made.images.shape == (IPC * 10, 8, 8, 1)
    assert made.labels.tolist() == [*range(10)] * IPC
    assert all(len(values) == IPC * 10 for values in made.columns.values())
    # Not as many as are kept: ignored candidates would give images of the same shape.
    assert drawn == set(itertools.product(range(2 * IPC), range(10)))


def test_declared_recipes_are_drawn_in_the_shards_that_they_had() -> None:
    """Parts of a set have recipes of their own; another layout would compute every declared set again."""
    chosen = {name: method(name) for name in GENERATION}
    by_index = {name for name, entry in chosen.items() if entry.shards_by_index(entry.recipe_for("digits").parameters)}
    variants = {"prism_dfkd_no_energy", "prism_dfkd_no_prompts", "prism_dfkd_plain"}
    assert by_index == {"d4m", "mgd3", "minimax", "dap_kmeans", "prism_dfkd", *variants}


def test_the_prompt_column_tells_the_prompt_of_the_candidate_that_was_kept() -> None:
    chosen = method("prism_dfkd")
    how = _quick(chosen.recipe_for("digits").parameters)
    kept = _made(chosen, replace(how, candidates=2))
    asked = _asked(chosen, how)
    asked.ipc = asked.last = 2 * IPC
    every = prompted(asked)
    indices = []
    for row, label in enumerate(kept.labels):
        own = every.images[label::10].astype(int)
        indices.append(int(np.abs(own - kept.images[row]).reshape(len(own), -1).sum(axis=1).argmin()))
        assert kept.columns["prompt"][row] == every.columns["prompt"][indices[-1] * 10 + label]
    # Numbered by rank, the column would be that of images 0 and 1 of each class.
    assert max(indices) >= IPC
