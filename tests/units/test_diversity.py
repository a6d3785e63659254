"""The `diversity` unit through the planner: what it stores, what it stands beside, and what is measured once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from dd_assets.datasets import registry
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import Setting
from dd_assets.evaluation.distances import MEASURES as DISTANCES
from dd_assets.evaluation.diversity import MEASURES
from dd_assets.planning import graph
from dd_assets.planning.cells import Cell
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.report.diversity import COLUMNS, diversity_tables
from dd_assets.units import diversity
from dd_assets.units import leaderboard as leaderboard_unit
from dd_assets.units.tables import read_columns
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    digits = CATALOGUE["digits"]
    recipe = dataclasses.replace(digits.teacher.recipe, epochs=1, accuracy_floor=0.2)
    teacher = dataclasses.replace(digits.teacher, recipe=recipe)
    chosen = dataclasses.replace(digits, name="small", ipc=(1, 10), teacher=teacher, committee=())
    for module in ("dd_assets.datasets.registry", "dd_assets.report.diversity", "dd_assets.report.leaderboard"):
        monkeypatch.setattr(f"{module}.settings", lambda: {"small": chosen})
    graph.stages.cache_clear()
    yield chosen
    monkeypatch.undo()
    graph.stages.cache_clear()


@pytest.fixture
def engine(store: ArtefactStore) -> Engine:
    return Engine(store, RawData(), Compute(device="cpu", workers=1))


def measure(engine: Engine, chosen: Setting, ipc: int, *methods: str) -> dict[str, list[Manifest]]:
    """Each method's manifests of one cell, in the order of its draws."""
    assert registry.settings() == {"small": chosen}
    found: dict[str, Reference] = {}
    names = [f"{method}/{noun}" for method in methods for noun in ("synthetic_images", "diversity")]
    for asset in ("dataset", "teacher", *names):
        stage = graph.stages()[asset]
        cell = Cell(setting=chosen, ipc=0 if stage.space == "dataset" else ipc)
        found[asset] = stage.resolve(cell, {name: found[name] for name in stage.inputs}, engine)
        engine.store.write_reference("default", found[asset])
    units = {method: found[f"{method}/diversity"].units.values() for method in methods}
    return {
        method: [manifest for digest in digests if (manifest := engine.store.lookup(digest)) is not None]
        for method, digests in units.items()
    }


def test_real_images_are_copies_and_noise_is_not(small: Setting, engine: Engine) -> None:
    made = measure(engine, small, 10, "random", "noise")
    for manifest in made["random"]:
        assert (manifest.summary["images"], manifest.summary["copies"]) == (100, 100)
        assert manifest.summary["set"]["precision"] == 1
        assert manifest.summary["set"]["nearest_in_class"] == 0
        # The reference is as many other real images, whose own rows are left out.
        assert manifest.summary["random"]["nearest_in_class"] > 0.05
        assert manifest.summary["class"]["nearest_in_class"] > 0.05
        for name in ("cosine", "coverage", "recall"):
            assert manifest.summary["set"][name] == pytest.approx(manifest.summary["random"][name], abs=0.1)
    verdicts = {verdict.name: verdict.passed for verdict in made["random"][0].verdicts}
    assert verdicts == {"finite_measures": True, "no_copies": False}
    for manifest in made["noise"]:
        assert manifest.summary["copies"] == 0
        assert manifest.summary["set"]["coverage"] < 0.5 * manifest.summary["random"]["coverage"]
        assert manifest.summary["set"]["nearest_overall"] > 2 * manifest.summary["class"]["nearest_overall"]


def test_the_whole_class_is_measured_as_a_set_would_be(small: Setting, engine: Engine) -> None:
    manifest = measure(engine, small, 10, "random")["random"][0]
    whole = manifest.summary["class"]
    assert (whole["precision"], whole["recall"], whole["coverage"]) == (1, 1, 1)
    table = read_columns(engine.store.read(manifest, diversity.CLASSES))
    assert set(table) == {"label", *(f"{kind}/{name}" for kind in diversity.KINDS for name in MEASURES)}
    assert table["class/density"] == pytest.approx(np.full(10, 6 / 5), abs=0.02)  # more only where real images tie
    assert table["set/cosine"].mean() == pytest.approx(manifest.summary["set"]["cosine"])
    rows = read_columns(engine.store.read(manifest, diversity.NEAREST))
    train, _ = RawData().load("small")
    assert np.array_equal(train.labels[rows["in_class_row"]], rows["label"])


def test_distances_of_the_set_stand_beside_those_of_as_many_real_images(small: Setting, engine: Engine) -> None:
    """A hundred real images are not at Fréchet distance 0 from all of them: only beside an equal subset does it say
    something. The kernel distance of real images is about 0 whatever their number."""
    made = measure(engine, small, 10, "random", "noise")
    for manifest in made["random"]:
        own, subset = (manifest.summary[kind] for kind in ("set", "random"))
        assert own["frechet_teacher"] > 0
        assert own["frechet_teacher"] == pytest.approx(subset["frechet_teacher"], rel=0.35)
    for manifest in made["noise"]:
        own, subset = (manifest.summary[kind] for kind in ("set", "random"))
        assert own["frechet_teacher"] > 3 * subset["frechet_teacher"]
        assert own["kernel_teacher"] > 10 * abs(subset["kernel_teacher"])
        assert manifest.summary["class"]["frechet_teacher"] is None
    few = measure(engine, small, 1, "random")["random"]
    biased = [one.summary["random"]["frechet_teacher"] for one in few]
    enough = [one.summary["random"]["frechet_teacher"] for one in made["random"]]
    assert min(biased) > 1.5 * max(enough)


def test_one_image_per_class_has_no_pairs(small: Setting, engine: Engine) -> None:
    summary = measure(engine, small, 1, "random")["random"][0].summary
    assert [name for name, value in summary["set"].items() if value is None] == ["cosine", "recall"]
    assert summary["class"]["recall"] == 1


def test_the_real_images_go_through_the_teacher_once(small: Setting, engine: Engine, monkeypatch) -> None:
    diversity._REAL.clear()
    seen: list[int] = []
    features = diversity._features
    monkeypatch.setattr(
        diversity, "_features", lambda unit, work, images: (seen.append(len(images)), features(unit, work, images))[1]
    )
    made = measure(engine, small, 1, "random", "noise")
    train, _ = RawData().load("small")
    assert seen.count(len(train)) == 1
    assert len(seen) == 1 + 6
    # A digits cell in well under two seconds, also the one that measures the real images.
    assert sum(manifest.measurements["cpu_seconds"] for draws in made.values() for manifest in draws) < 2


def test_results_do_not_depend_on_what_was_measured_before(small: Setting, engine: Engine) -> None:
    first = measure(engine, small, 10, "random")["random"]
    for manifest in first:
        engine.store.discard(manifest)
    diversity._REAL.clear()
    measure(engine, small, 1, "noise")
    again = measure(engine, small, 10, "random")["random"]
    assert [manifest.content for manifest in again] == [manifest.content for manifest in first]


def test_a_further_method_makes_another_leaderboard(small: Setting, engine: Engine) -> None:
    before = leaderboard_unit.plan(engine.store, "default")
    measure(engine, small, 1, "random", "noise", "median")
    after = leaderboard_unit.plan(engine.store, "default")
    assert before.digest != after.digest
    (table,) = diversity_tables(engine.store, "default", [])
    assert (table["dataset"], table["ipc"]) == ("small", 1)
    assert sorted(entry["method"] for entry in table["methods"]) == ["median", "noise", "random"]
    assert list(COLUMNS) == [*MEASURES, *DISTANCES]
    assert table["correlations"] == []


def test_variants_that_change_variety_are_measured_beside_their_method() -> None:
    """DAP's references of the class collapse it, those of centroids mend it; switches of another kind have no node."""
    measured = {name for name in graph.stages() if name.endswith("/diversity")}
    assert {"dap/diversity", "dap_kmeans/diversity", "prism_dfkd_no_prompts/diversity"} <= measured
    assert not {"dap_d4m/diversity", "prism_all_all/diversity", "sre2l_rded/diversity"} & measured
    assert "edc_init/diversity" in measured


def test_only_families_that_make_images_are_asked_whether_they_copy() -> None:
    checks = {name: {check[0] for check in graph.stages()[f"{name}/diversity"].checks} for name in ("kmeans", "sre2l")}
    assert checks == {"kmeans": {"finite_measures"}, "sre2l": {"finite_measures", "no_copies"}}
