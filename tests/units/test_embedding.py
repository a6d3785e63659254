"""The joint embedding: which images take part, that it repeats by its seed, and what neighbours it keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import Setting
from dd_assets.planning import graph
from dd_assets.planning.cells import Cell
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Reference
from dd_assets.report.embedding import panels, stored_embeddings
from dd_assets.units import embedding
from dd_assets.units.tables import read_columns
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    digits = CATALOGUE["digits"]
    recipe = dataclasses.replace(digits.teacher.recipe, epochs=2, accuracy_floor=0.2)
    chosen = dataclasses.replace(
        digits, name="small", ipc=(1, 10), teacher=dataclasses.replace(digits.teacher, recipe=recipe), committee=()
    )
    for module in ("datasets.registry", "units.embedding", "report.embedding"):
        monkeypatch.setattr(f"dd_assets.{module}.settings", lambda: {"small": chosen})
    monkeypatch.setattr(embedding, "REAL", {"real train": 4, "real test": 2})
    monkeypatch.setattr(embedding, "MADE", 80)
    monkeypatch.setattr(embedding, "ITERATIONS", 260)
    graph.stages.cache_clear()
    yield chosen
    monkeypatch.undo()
    graph.stages.cache_clear()


@pytest.fixture
def engine(store: ArtefactStore) -> Engine:
    return Engine(store, RawData(), Compute(device="cpu", workers=1))


def make(engine: Engine, chosen: Setting, ipc: int, *methods: str) -> None:
    found: dict[str, Reference] = {}
    for asset in ("dataset", "teacher", *(f"{name}/synthetic_images" for name in methods)):
        stage = graph.stages()[asset]
        cell = Cell(setting=chosen, ipc=0 if stage.space == "dataset" else ipc)
        found[asset] = stage.resolve(cell, {name: found[name] for name in stage.inputs}, engine)
        engine.store.write_reference("default", found[asset])


def test_one_table_places_real_images_and_every_methods(small: Setting, engine: Engine) -> None:
    make(engine, small, 10, "random", "noise")
    make(engine, small, 1, "random")
    made = embedding.refresh(engine, "default")
    assert list(made) == ["small|10"], "two methods have images at IPC 10, one at IPC 1"
    manifest = made["small|10"]
    assert manifest.summary["images"] == {"real train": 40, "real test": 20, "noise": 40, "random": 40}
    table = read_columns(engine.store.read(manifest, embedding.TABLE))
    assert table["x"].dtype == np.float32
    train, _ = RawData().load("small")
    own = table["set"].astype(str) == "real train"
    assert np.array_equal(train.labels[table["row"][own]], table["label"][own])
    assert np.bincount(table["label"]).tolist() == [14] * 10
    assert set(panels(engine.store, manifest)) == {"noise", "random"}
    (shown,) = stored_embeddings(engine.store, "default")
    assert (shown["dataset"], shown["ipc"], shown["recipe"]) == ("small", 10, manifest.recipe_digest)


def test_it_repeats_and_follows_the_image_sets(small: Setting, engine: Engine) -> None:
    make(engine, small, 1, "random")
    first = embedding.refresh(engine, "default")["small|1"]
    computed = len(engine.tally.computed)
    assert embedding.refresh(engine, "default")["small|1"].content == first.content
    assert len(engine.tally.computed) == computed
    engine.store.discard(first)
    assert embedding.refresh(engine, "default")["small|1"].content == first.content
    make(engine, small, 1, "noise")
    again = embedding.refresh(engine, "default")["small|1"]
    assert again.recipe_digest != first.recipe_digest
    assert set(again.summary["images"]) == {"real train", "real test", "noise", "random"}


def test_nothing_is_placed_where_there_are_no_images(small: Setting, engine: Engine) -> None:
    assert embedding.refresh(engine, "default") == {}


def test_neighbours_stay_neighbours_and_few_points_work() -> None:
    """Two clouds far apart in 20 dimensions: each point's nearest place is one of its own cloud. Ten points would not
    allow a perplexity of 30."""
    random = np.random.default_rng(0)
    features = np.concatenate([random.normal(size=(25, 20)), random.normal(size=(25, 20)) + 8])
    places = embedding.embedded(features, 10.0, 300, 0).astype(float)
    off = ((places[:, None] - places[None]) ** 2).sum(axis=2) + 1e9 * np.eye(50)
    assert ((off.argmin(axis=1) < 25) == (np.arange(50) < 25)).all()
    assert np.array_equal(embedding.embedded(features, 10.0, 300, 0), places.astype(np.float32))
    assert embedding.embedded(features[:10], 30.0, 260, 0).shape == (10, 2)
