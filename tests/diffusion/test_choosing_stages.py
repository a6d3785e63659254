"""Class gaussians, and the methods that let a teacher or a distribution choose, against a real store.

Belongs here: which units they read, what a launch cannot ask for. Does not belong: what the units compute
(test_candidates.py, test_inversion.py).
"""

from __future__ import annotations

import dataclasses

import pytest

from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.registry import Generators
from dd_assets.errors import InputError
from dd_assets.planning.cells import Cell
from dd_assets.planning.class_gaussians import asked_of
from dd_assets.planning.engine import Engine
from dd_assets.planning.plan import Planner
from dd_assets.units.class_gaussians import GAUSSIANS
from dd_assets.units.tables import read_columns
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.diffusion.test_stages import _enable, _resolve, _small, _unit

SMALLEST = {"steps": 4, "batch": 8}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    """One store for the file: equal recipes are computed once."""
    return ArtefactStore(str(tmp_path_factory.mktemp("choosing") / "store")).open()


@pytest.fixture
def engine(shared: ArtefactStore) -> Engine:
    return Engine(shared, RawData(), Compute(device="cpu", workers=1))


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Setting:
    """Digits on which the methods take few steps."""
    entry = _small(
        recipes={
            "d3hr": {**SMALLEST, "groups": 20},
            "cao2": {**SMALLEST, "refine": 2, "candidates": 2},
            "bo_repulsion": {**SMALLEST, "search_levels": [0.5]},
        }
    )
    _enable(monkeypatch, entry)
    return entry


def test_a_distribution_per_level_that_some_method_starts_from(engine: Engine, chosen: Setting) -> None:
    made = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_small", "class_gaussians")
    assert list(made["class_gaussians"].units) == ["small/4@0.0172"]
    manifest = _unit(engine, made["class_gaussians"], "small/4@0.0172")
    columns = read_columns(engine.store.read(manifest, GAUSSIANS))
    assert columns["mean"].shape == columns["deviation"].shape == (10, 1, 8, 8)
    assert manifest.sources == {
        "dataset": made["dataset"].units["dataset"],
        "generator": made["generator_small"].units["generator"],
    }
    cell = Cell(setting=chosen, ipc=2)
    images = _resolve(engine, cell, "d3hr/synthetic_images", found=made)["d3hr/synthetic_images"]
    (part,) = (engine.store.lookup(digest) for digest in _unit(engine, images, "draw0").sources.values())
    assert part is not None
    assert part.sources["class_gaussians"] == made["class_gaussians"].units["small/4@0.0172"]
    assert "teacher" not in part.sources
    with pytest.raises(InputError, match=r"no class gaussians small/4@0\.5"):
        _resolve(engine, dataclasses.replace(cell, overrides={"start_level": 0.5}), "d3hr/synthetic_images", found=made)


def test_a_choice_makes_the_teacher_an_input(engine: Engine, chosen: Setting) -> None:
    made = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_small")
    cell = Cell(setting=chosen, ipc=2)
    found = _resolve(
        engine,
        cell,
        "class_centroids",
        "reference_latents",
        "cao2/synthetic_images",
        "d4m/synthetic_images",
        "bo_repulsion/synthetic_images",
        found=made,
    )
    sources = {}
    for name in ("cao2", "d4m", "bo_repulsion"):
        digests = _unit(engine, found[f"{name}/synthetic_images"], "draw0").sources.values()
        parts = [engine.store.lookup(digest) for digest in digests]
        sources[name] = {key: value for part in parts if part for key, value in part.sources.items()}
    teacher = made["teacher"].units["teacher"]
    assert sources["cao2"]["teacher"] == sources["bo_repulsion"]["teacher"] == teacher
    assert "teacher" not in sources["d4m"]
    assert sources["bo_repulsion"]["reference_latents"] == found["reference_latents"].units["small/class"]
    # An override that needs an edge which no recipe has says so, instead of failing for want of a teacher.
    with pytest.raises(InputError, match="d4m lets no teacher choose"):
        _resolve(engine, dataclasses.replace(cell, overrides={"candidates": 2}), "d4m/synthetic_images", found=found)


def test_a_setting_without_generators_has_no_distributions(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = _small(name="bare", generators=Generators())
    _enable(monkeypatch, bare)
    assert asked_of(bare) == {}
    row = Planner(engine, "main").visit(("class_gaussians", "bare"))
    assert row.status == "blocked"
    assert "no method starts from a distribution" in row.reason


def test_all_starts_give_whole_classes(engine: Engine, chosen: Setting) -> None:
    # The text of the trap: a joint set cut into IPC indices would choose among one image of each class.
    from dd_assets.methods.registry import method

    for name in ("cao2", "d3hr", "bo_repulsion"):
        parameters = method(name).recipe_for("digits").parameters
        assert not method(name).shards_by_index(parameters)
