"""A study of priors measures the images of every cell, and those of a method under the unit of its own asset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dd_assets.planning import graph
from dd_assets.planning import studies as planning
from dd_assets.report.study_pages import results_of
from dd_assets.studies import registry
from dd_resources.injection import NAMESPACE
from tests.planning.tiny import Tiny, forget_graph

ASSET = "studies/test_2"
TEXT = """
title: Test
source: own
scores: priors
datasets: [imagenet1k]
method: [noise]
ipc: [2]
student: [convnet2_w64]
variants:
  as declared: {label: hard}
  weak: {label: hard, parameters: {sigma: 0.1}}
figures:
  sigma: [parameters.sigma, accuracy, representativeness, diversity]
"""


@pytest.fixture
def shipped(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Study]:
    """The one study there is."""
    path = tmp_path / "test_2.yaml"
    path.write_text(TEXT)
    entry = registry.read_study(path)
    monkeypatch.setattr(registry, "studies", lambda: {entry.name: entry})
    monkeypatch.setattr(planning, "studies", lambda: {entry.name: entry})
    forget_graph()
    yield entry
    monkeypatch.undo()
    forget_graph()


def test_every_cell_is_measured_and_a_methods_own_images_once(tiny: Tiny, shipped: registry.Study) -> None:
    tiny.make([(ASSET, "tiny|2"), ("noise/diversity", "tiny|2")])
    kept = {name: tiny.store.read_reference(NAMESPACE, name, "tiny|2") for name in (ASSET, "noise/diversity")}
    assert all(kept.values())
    own = {key: digest for key, digest in kept[ASSET].units.items() if key.startswith("measured/")}
    draws = {
        f"measured/noise/score_convnet2_w64/{variant}/hard/draw{n}"
        for variant in ("as declared", "weak")
        for n in range(3)
    }
    assert set(own) == draws
    declared = {key.rsplit("/", 1)[-1]: digest for key, digest in own.items() if "as declared" in key}
    assert declared == dict(kept["noise/diversity"].units)
    assert len(set(own.values())) == 6
    units = {f"2/{key}": tiny.store.lookup(digest) for key, digest in kept[ASSET].units.items()}
    found = results_of(shipped, graph.Cell.of("tiny|2").setting, units, tiny.store.lookup)
    assert [row["status"] for row in found.rows] == ["done", "done"]
    first, weak = found.rows
    assert first["representativeness"] != weak["representativeness"]
    assert min(row["diversity"] for row in (*found.rows, {"diversity": first["diversity_real"]})) == 1.0
    assert all(row["seconds"] > 0 for row in found.rows)
