"""Compositions of generation methods in a sweep: beginnings and choices that no declared recipe has."""

from __future__ import annotations

from pathlib import Path

import pytest

from dd_assets.methods.registry import method
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import stages
from dd_assets.planning.sweeps import Bench, Candidate
from dd_assets.sweeps.halving import Trial
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.diffusion.test_pretrained_stages import Enable, enable

__all__ = ["enable"]

SETTING = """
own:
  base: digits
  ipc: [1]
  committee: []
  students: [convnet2_w64]
  teacher: {recipe: {epochs: 1, accuracy_floor: 0.2}}
  protocol: {epochs: 2, window: 0.5, window_step: 1}
  generators:
    text: null
    minimax: null
    small: {space: pixels, width: 8, heads: 2, layers: 2, iterations: 10, batch: 32, learning_rate: 4e-3, warmup: 2,
            recognition_floor: 0.0}
  recipes:
    dap: {steps: 2, batch: 5}
    d4m: {steps: 2, batch: 5}
"""


@pytest.mark.parametrize(
    ("name", "changes", "edge"),
    [
        ("dap", {"start": "centroid", "start_level": 0.4}, "class_centroids"),
        ("d4m", {"candidates": 2}, "teacher"),
    ],
)
def test_a_candidate_reads_what_the_graph_has_no_edge_to(
    enable: Enable, tmp_path: Path, name: str, changes: dict, edge: str
) -> None:
    chosen = enable(SETTING)
    assert edge not in stages()[f"{name}/synthetic_images"].inputs
    engine = Engine(
        ArtefactStore(str(tmp_path / "store")).open(), RawData(str(tmp_path)), Compute(device="cpu", workers=1)
    )
    bench = Bench(engine, chosen, 1, "convnet2_w64", "hard")
    plain, composed = (bench.attempt(Candidate(method=method(name), overrides=o), 1) for o in ({}, changes))
    assert isinstance(plain, Trial), plain
    assert isinstance(composed, Trial), composed
    manifests = (engine.store.lookup(path.rsplit("/", 1)[-1][:-5]) for path in engine.store.list("manifests"))
    sets = {manifest.content for manifest in manifests if manifest and manifest.recipe["unit"] == "image_set"}
    assert len(sets) == 2
