"""What a study trains beside its cells: the search for a rate, students of the real images; on the tiny setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.planning import graph, study_arms
from dd_assets.planning import studies as planning
from dd_assets.planning.unit import Manifest
from dd_assets.report.study_pages import results_of
from dd_assets.studies import registry
from dd_resources.injection import NAMESPACE
from tests.planning.tiny import Tiny, forget_graph

ASSET = "studies/test_1"
TEXT = """
title: Test
source: own
scores: robust
datasets: [imagenet1k]
method: [random, noise]
ipc: [1]
student: [convnet2_w64]
variants:
  soft: {factors: [soft labels, augmentation], learning_rates: [0.01, 0.0001]}
  soft, plain: {factors: [soft labels], protocol: {views: {shuffle_factor: 1, crop_scale_min: 1.0, cutmix_alpha: 0}}}
  hard: {label: hard, factors: [augmentation]}
"""


@pytest.fixture
def shipped(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Study]:
    """The one study there is."""
    path = tmp_path / "test_1.yaml"
    path.write_text(TEXT)
    entry = registry.read_study(path)
    monkeypatch.setattr(registry, "studies", lambda: {entry.name: entry})
    monkeypatch.setattr(planning, "studies", lambda: {entry.name: entry})
    forget_graph()
    yield entry
    monkeypatch.undo()
    forget_graph()


def units(tiny: Tiny) -> dict[str, Manifest]:
    reference = tiny.store.read_reference(NAMESPACE, ASSET, "tiny|1")
    assert reference is not None
    return {key: m for key, digest in reference.units.items() if (m := tiny.store.lookup(digest)) is not None}


def test_a_rate_is_picked_on_validation_images_and_then_trains_every_run(tiny: Tiny, shipped: registry.Study) -> None:
    tiny.make([(ASSET, "tiny|1")])
    found = units(tiny)
    searches = {key: m for key, m in found.items() if key.startswith("search/")}
    assert len(searches) == 2 * 2, "two rates, one run each, of the one variant that has rates, for two methods"
    (test,) = {m.recipe["inputs"]["dataset"] for key, m in found.items() if "/hard/" in key}
    (validation,) = {m.recipe["inputs"]["dataset"] for m in searches.values()}
    assert validation != test
    assert {m.summary["test_images"] for m in searches.values()} == {3}, "a fifth of four images of three classes"
    for method in ("random", "noise"):
        cell = f"{method}/score_convnet2_w64/soft/soft"
        by_rate = {rate: searches[f"search/{cell}/rate {rate:g}/draw0/seed0"] for rate in (0.0001, 0.01)}
        best = max(by_rate, key=lambda rate: (by_rate[rate].summary["accuracy"], -rate))
        runs = [m for key, m in found.items() if key.startswith(f"{cell}/")]
        assert len(runs) == 3
        assert {m.recipe["parameters"]["protocol"]["learning_rate"] for m in runs} == {best}
        assert {m.recipe["inputs"]["dataset"] for m in runs} == {test}


def test_a_variant_without_rates_is_still_the_scores_own_training(tiny: Tiny, shipped: registry.Study) -> None:
    tiny.make([(ASSET, "tiny|1")])
    score = tiny.store.read_reference(NAMESPACE, "random/score_convnet2_w64", "tiny|1")
    assert score is not None
    key = "random/score_convnet2_w64/hard/hard/draw0/seed0"
    assert units(tiny)[key].recipe_digest == score.units["hard/draw0/seed0"]


def test_the_real_images_student_is_the_teacher_where_it_has_that_architecture(
    tiny: Tiny, shipped: registry.Study
) -> None:
    tiny.make([(ASSET, "tiny|1")])
    assert "teacher" not in [unit.name for unit in tiny.computed]
    teacher = tiny.store.read_reference(NAMESPACE, "teacher", "tiny")
    assert teacher is not None
    found = units(tiny)
    assert found["real/convnet2_w64"].recipe_digest == teacher.units["teacher"]
    chosen = graph.Cell.of("tiny|1").setting
    other = study_arms._choice(chosen, "convnet3_w32")
    assert (other.architecture, other.recipe.accuracy_floor, other.weights) == ("convnet3_w32", 0.0, None)


def test_the_scores_are_made_of_these_runs_and_searches_count_in_no_mean(tiny: Tiny, shipped: registry.Study) -> None:
    tiny.make([(ASSET, "tiny|1")])
    found = {f"1/{key}": manifest for key, manifest in units(tiny).items()}
    results = results_of(shipped, graph.Cell.of("tiny|1").setting, found, tiny.store.lookup)
    assert [(row["status"], row["seeds"]) for row in results.rows] == [("done", 3)] * 6
    for row in results.rows:
        # Bytes of the table that its students learnt from, not of what a search or another variant made.
        assert (row["label_bytes"] or 0) > 1000 if row["label"] == "soft" else row["label_bytes"] is None
    (table,) = results.tables
    random, noise = table.rows
    assert (random["ior_soft"], random["ior_hard"]) == (0.0, 0.0)
    assert noise["hlr"] == pytest.approx(
        found["1/real/convnet2_w64"].summary["test_accuracy"] - results.rows[5]["accuracy_mean"]
    )
    assert noise["ior_plain"] == pytest.approx(results.rows[4]["accuracy_mean"] - results.rows[1]["accuracy_mean"])
    assert noise["rates"].split(", ")[1:] == ["0.001", "0.001"]


def test_of_rates_that_do_equally_well_the_smallest_is_picked() -> None:
    class Found:
        def __init__(self, accuracy: float) -> None:
            self.summary = {"accuracy": accuracy}

    search = study_arms.Search(
        key="c", run="draw0/seed0", rates=(0.1, 0.2, 0.3), protocol=None, student="", seed=0, given={}
    )
    found = {search.name(rate): Found(accuracy) for rate, accuracy in ((0.1, 0.5), (0.2, 0.7), (0.3, 0.7))}
    assert study_arms.picked(search, found) == 0.2


def test_students_of_the_real_images_have_the_teachers_recipe_not_a_weak_members() -> None:
    """CIFAR-10's committee has the teacher's own architecture, trained for 5 epochs on purpose."""
    chosen = CATALOGUE["cifar10"]
    weak = next(member for member in chosen.committee if member.architecture == "wrn16_2")
    assert weak.recipe.epochs < chosen.teacher.recipe.epochs
    found = study_arms._choice(chosen, "wrn16_2")
    assert found.recipe == replace(chosen.teacher.recipe, accuracy_floor=0.0)
    assert study_arms._choice(chosen, chosen.teacher.architecture) is chosen.teacher
    strong = replace(weak, recipe=replace(chosen.teacher.recipe, source="own"))
    assert study_arms._choice(replace(chosen, committee=(strong,)), "wrn16_2") is strong
