"""A cell waits for what its own setting and parameters read, not for what those of others do."""

from __future__ import annotations

import dataclasses

from dd_assets.datasets.registry import setting
from dd_assets.planning import graph
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell
from dd_assets.planning.plan import Planner
from dd_resources.injection import NAMESPACE
from dd_resources.raw_data import RawData
from tests.planning.tiny import WEIGHTS, Edit, Tiny

EDC, RDED = "edc/synthetic_images", "rded/synthetic_images"


def test_images_that_another_recipe_starts_from_are_not_waited_for() -> None:
    stage = graph.stages()[EDC]
    assert RDED in stage.inputs
    digits = Cell(setting=setting("digits"), ipc=1)
    assert RDED not in stage.reads(digits)
    assert "teacher" in graph.stages()["edc/soft_labels"].reads(digits)
    assert RDED in stage.reads(dataclasses.replace(digits, overrides={"init": "rded"}))


def test_hard_labels_alone_need_neither_a_teacher_nor_tables(tiny: Tiny, edit: Edit) -> None:
    """The setting's teacher may not even be there yet."""
    edit(labels=("hard",), normalisation=dataclasses.replace(setting("tiny").normalisation, std=(0.5, 0.5, 0.5)))
    (tiny.data / WEIGHTS).unlink()
    score = "random/score_convnet2_w64"
    assert set(graph.stages()[score].reads(Cell.of("tiny|1"))) == {"dataset", "random/synthetic_images"}
    chain = [("dataset", "tiny"), ("random/synthetic_images", "tiny|1"), (score, "tiny|1")]
    assert "training" in tiny.make(chain)
    reference = tiny.store.read_reference(NAMESPACE, score, "tiny|1")
    assert reference is not None
    assert all(key.startswith("hard/") for key in reference.units)
    planner = Planner(Engine(tiny.store, RawData(str(tiny.data)), look_only=True), NAMESPACE)
    assert planner.visit((score, "tiny|1")).status == "fresh"
