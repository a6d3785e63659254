"""A study on the tiny setting: what it shares with scores, resumes and says; every training is two epochs long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dd_assets.cli.studying import table
from dd_assets.errors import InputError
from dd_assets.planning import graph
from dd_assets.planning import studies as planning
from dd_assets.planning.engine import Engine
from dd_assets.planning.plan import Planner, all_targets, with_upstream
from dd_assets.report.published import Published
from dd_assets.report.studies import shown, z_score
from dd_assets.studies import registry
from dd_resources.compute import Compute
from dd_resources.injection import NAMESPACE
from dd_resources.raw_data import RawData
from tests.planning.tiny import Edit, Tiny, forget_graph, method, spoil

ASSET = "studies/test_1"
TEXT = """
title: Test
source: own
datasets: [imagenet1k]
method: [random, noise]
ipc: [1, 2]
student: [convnet2_w64]
variants:
  same: {}
  hard: {label: hard}
  T 4: {protocol: {temperature: 4.0}}
"""


RECIPES = """
title: Test
source: own
datasets: [imagenet1k]
method: [noise]
ipc: [1]
student: [convnet2_w64]
variants:
  DKD: {preset: "kd:dkd"}
  CRLD: {preset: "kd_own:crld"}
  images: {preset: igd_hard, label: hard, protocol: {epochs: 2}}
  steps: {preset: dc_bench, label: hard, protocol: {epochs: 2, milestones: [0.25, 0.5]}}
  average: {preset: "paper:sre2l", protocol: {epochs: 2, ema: 0.9, schedule: cos2}}
"""


IMAGES = """
title: Test
source: own
datasets: [imagenet1k]
method: [noise]
ipc: [1]
student: [convnet2_w64]
variants:
  declared: {label: hard}
  as declared: {label: hard, parameters: {sigma: 1.0}}
  softer: {label: hard, parameters: {sigma: 0.25}}
"""


@pytest.fixture
def text(request: pytest.FixtureRequest) -> str:
    """The study's file; tests name another one as an indirect parameter."""
    return getattr(request, "param", TEXT)


@pytest.fixture
def shipped(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Iterator[registry.Study]:
    """The one study there is."""
    path = tmp_path / "test_1.yaml"
    path.write_text(text)
    entry = registry.read_study(path)
    known = {entry.name: entry}
    monkeypatch.setattr(registry, "studies", lambda: known)
    monkeypatch.setattr(planning, "studies", lambda: known)
    forget_graph()
    yield entry
    monkeypatch.undo()
    forget_graph()


def looking(tiny: Tiny) -> Engine:
    return Engine(tiny.store, RawData(str(tiny.data)), Compute(device="cpu", workers=1), look_only=True)


def statuses(tiny: Tiny, entry: registry.Study) -> list[str]:
    chosen = graph.Cell.of("tiny|1").setting
    return [row["status"] for row in table(entry, chosen, looking(tiny), True) if row["ipc"] == 1]


def test_variants_that_change_nothing_are_the_scores_own_trainings(tiny: Tiny, shipped: registry.Study) -> None:
    """Two methods, three trainings each: only T 4 is new, and its label tables are those of the headline score."""
    assert statuses(tiny, shipped) == ["done", "done", "missing"] * 2
    assert tiny.make([(ASSET, "tiny|1")]) == ["training"] * 6
    reference = tiny.store.read_reference(NAMESPACE, ASSET, "tiny|1")
    score = tiny.store.read_reference(NAMESPACE, "random/score_convnet2_w64", "tiny|1")
    assert reference is not None
    assert score is not None
    for mode, name in (("soft", "same"), ("hard", "hard")):
        for pair in ("draw0/seed0", "draw2/seed2"):
            key = f"random/score_convnet2_w64/{name}/{mode}/{pair}"
            assert reference.units[key] == score.units[f"{mode}/{pair}"]
    assert len(reference.units) == 2 * 3 * 3
    assert statuses(tiny, shipped) == ["done"] * 6
    assert tiny.make([(ASSET, "tiny|1")]) == []


def test_a_plan_of_a_study_tells_which_cells_an_unusable_teacher_refuses(tiny: Tiny, shipped: registry.Study) -> None:
    (recipe,) = spoil(tiny, ("teacher", "tiny"), "teacher")
    assert statuses(tiny, shipped) == ["refused", "done", "refused"] * 2
    rows = table(shipped, graph.Cell.of("tiny|1").setting, looking(tiny), True)
    assert {recipe in row["reason"] for row in rows if row["status"] == "refused"} == {True}


@pytest.mark.parametrize("text", [RECIPES], indirect=True)
def test_losses_optimisers_and_averages_come_through_recipes_as_stored(tiny: Tiny, shipped: registry.Study) -> None:
    """Each variant's protocol is read back from its recipe; CRLD's labels are online, the others' label tables new."""
    made = tiny.make([(ASSET, "tiny|1")])
    assert made.count("training") == 5 * 3
    # DKD replays the headline's tables, CRLD and the paper's recipe (other epochs or views) have their own.
    assert made.count("labels") == 2 * 3
    by_variant = {unit.label.split("/")[3]: unit for unit in tiny.computed if unit.name == "training"}
    kept = {name: unit.recipe["parameters"]["protocol"] for name, unit in by_variant.items()}
    assert kept["CRLD"]["kd_ce"] == 2.0
    assert kept["steps"]["milestones"] == [0.25, 0.5]
    assert kept["average"]["name"] == "paper:sre2l"
    assert "batch_rule" not in kept["average"]
    assert set(by_variant["CRLD"].inputs) == {"images", "dataset", "labels", "teacher"}


@pytest.mark.parametrize("text", [IMAGES], indirect=True)
def test_a_variants_own_parameters_make_images_of_its_own(tiny: Tiny, shipped: registry.Study) -> None:
    """Three draws of softer noise and their trainings are new; what states the declared value is found."""
    assert statuses(tiny, shipped) == ["done", "done", "missing"]
    computed = tiny.make([(ASSET, "tiny|1")])
    assert sorted(computed) == ["image_set"] * 3 + ["images/noise"] * 3 + ["training"] * 3
    reference = tiny.store.read_reference(NAMESPACE, ASSET, "tiny|1")
    assert reference is not None
    images = {}
    for name in ("declared", "as declared", "softer"):
        training = tiny.store.lookup(reference.units[f"noise/score_convnet2_w64/{name}/hard/draw0/seed0"])
        assert training is not None
        images[name] = training.sources["images"]
    assert images["declared"] == images["as declared"] != images["softer"]
    assert statuses(tiny, shipped) == ["done"] * 3
    # Beside noise's own images the study reads what those are made from; no teacher, since all labels are hard.
    upstream = {asset for asset, _ in with_upstream([(ASSET, "tiny|1")])}
    assert upstream == {"dataset", "noise/synthetic_images", ASSET}


@pytest.mark.parametrize("text", [IMAGES.replace("  declared: {label: hard}\n", "")], indirect=True)
def test_a_study_of_its_own_images_alone_does_without_the_methods(tiny: Tiny, shipped: registry.Study) -> None:
    upstream = {asset for asset, _ in with_upstream([(ASSET, "tiny|1")])}
    assert upstream == {"dataset", ASSET}


def test_a_study_is_planned_like_any_asset_and_left_alone_unless_asked_for(tiny: Tiny, shipped: registry.Study) -> None:
    assert (ASSET, "tiny|1") not in all_targets()
    assert (ASSET, "tiny|1") in all_targets(with_studies=True)
    row = Planner(looking(tiny), NAMESPACE).visit((ASSET, "tiny|1"))
    assert (row.status, row.reason) == ("missing", "units to compute: 6")
    tiny.make([(ASSET, "tiny|1")])
    assert Planner(looking(tiny), NAMESPACE).visit((ASSET, "tiny|1")).status == "fresh"
    upstream = {asset for asset, _ in with_upstream([(ASSET, "tiny|1")])}
    assert upstream == {"dataset", "teacher", "noise/synthetic_images", "random/synthetic_images", ASSET}


def test_one_killed_cell_leaves_the_others_stored(tiny: Tiny, shipped: registry.Study) -> None:
    """A variant's training is discarded, as after a crash: it alone is computed again."""
    tiny.make([(ASSET, "tiny|1")])
    reference = tiny.store.read_reference(NAMESPACE, ASSET, "tiny|1")
    assert reference is not None
    manifest = tiny.store.lookup(reference.units["noise/score_convnet2_w64/T 4/soft/draw1/seed1"])
    assert manifest is not None
    tiny.store.discard(manifest)
    assert statuses(tiny, shipped) == ["done"] * 5 + ["missing"]
    assert tiny.make([(ASSET, "tiny|1")]) == ["training"]


def test_a_blocked_method_leaves_the_others_their_table(tiny: Tiny, shipped: registry.Study, edit: Edit) -> None:
    """random refuses more images than a class has; noise is scored all the same, and the table says why."""
    import dataclasses

    refusing = dataclasses.replace(method("random"), refuse=lambda parameters, facts, ipc: "not today")
    edit(refusing)
    planner = Planner(looking(tiny), NAMESPACE)
    assert planner.visit((ASSET, "tiny|1")).status == "missing"
    assert planner.rows[("random/synthetic_images", "tiny|1")].status == "blocked"
    rows = table(shipped, graph.Cell.of("tiny|1").setting, looking(tiny), True)
    found = [(row["method"], row["status"], row["reason"]) for row in rows if row["ipc"] == 1]
    assert found[0] == ("random", "blocked", "not today")
    assert [status for name, status, _ in found if name == "noise"] == ["done", "done", "missing"]
    inputs = {name: planner.found[(name, "tiny")] for name in ("dataset", "teacher")}
    inputs["noise/synthetic_images"] = planner.found[("noise/synthetic_images", "tiny|1")]
    engine = Engine(tiny.store, RawData(str(tiny.data)), Compute(device="cpu", workers=1))
    reference = graph.stage(ASSET).resolve(graph.Cell.of("tiny|1"), inputs, engine)
    assert {key.split("/")[0] for key in reference.units} == {"noise"}


def test_images_that_are_not_there_are_asked_for(tiny: Tiny, shipped: registry.Study) -> None:
    planner = Planner(looking(tiny), NAMESPACE)
    planner.visit((ASSET, "tiny|1"))
    inputs = {name: planner.found[(name, "tiny")] for name in ("dataset", "teacher")}
    with pytest.raises(InputError, match="noise/synthetic_images has not been materialized"):
        graph.stage(ASSET).resolve(graph.Cell.of("tiny|1"), inputs, looking(tiny))


def test_the_table_gives_means_spreads_counts_and_recipes(tiny: Tiny, shipped: registry.Study) -> None:
    tiny.make([(ASSET, "tiny|1")])
    rows = table(shipped, graph.Cell.of("tiny|1").setting, looking(tiny), False)
    row = rows[2]
    reference = tiny.store.read_reference(NAMESPACE, ASSET, "tiny|1")
    assert reference is not None
    own = [digest for key, digest in reference.units.items() if key.startswith("random/score_convnet2_w64/T 4/")]
    manifests = [tiny.store.lookup(digest) for digest in own]
    accuracies = [manifest.summary["accuracy"] for manifest in manifests if manifest]
    assert row["accuracy_mean"] == pytest.approx(sum(accuracies) / 3)
    assert (row["draws"], row["seeds"], row["variant"], row["status"]) == (3, 3, "T 4", "done")
    assert set(row["recipes"]) == {f"draw{k}/seed{k}" for k in range(3)}
    # The other IPC was not computed, and no figure of the paper's stands beside another dataset's.
    assert rows[6]["status"] == "missing"
    assert {shown(entry)["paper"] for entry in rows} == {"–"}


def test_z_is_the_difference_over_both_spreads() -> None:
    """(.40 - .46) / sqrt(.03^2 + .04^2) = -1.2; the paper's spread alone would give -1.5."""
    assert z_score(0.40, 0.03, Published(mean=0.46, std=0.04, table=1)) == pytest.approx(-1.2)
    assert z_score(0.40, None, Published(mean=0.46, std=0.04, table=1)) is None
    assert z_score(0.40, 0.03, Published(mean=0.46, std=None, table=1)) is None
