"""A whole sweep by the command line, on real digits with few epochs: what it reads, what it computes, what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dd_assets.methods.registry import METHODS
from dd_resources.store import ArtefactStore
from tests.test_cli import run

pytestmark = pytest.mark.slow
OPTIONS = ("tiny", "1", "--methods", "random,sre2l", "--proposals", "2", "--minutes", "5", "--json")
ENVIRONMENT = {"DD_DATASETS": str(Path(__file__).with_name("tiny.yaml")), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a sweep was done, whichever of these tests a worker begins with."""
    place = tmp_path_factory.mktemp("sweep")
    done = run(place, "sweep", *OPTIONS, **ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return place


def units(folder: Path) -> dict[str, dict]:
    store = ArtefactStore(str(folder / "store")).open()
    return {path: json.loads(store.read_or_none(path) or b"{}") for path in store.list("manifests")}


def test_before_the_end_nothing_reads_the_test_split(folder: Path) -> None:
    """Every unit belongs to the validation variant; one of the base setting would have seen the test split."""
    done = run(folder, "sweep", *OPTIONS, **ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    rows = {row["group"]: row for row in json.loads(done.stdout)}
    assert rows.keys() == {"random", "sre2l"}
    said = [line for line in done.stderr.splitlines() if ": candidate " in line]
    assert "random: candidate 1 of 1 with 1 of its students" in said
    assert "sre2l: candidate 2 of 2 with 1 of its students" in said
    assert (rows["random"]["proposed"], rows["sre2l"]["proposed"]) == (1, 2)
    assert all(0 < value <= 1 for row in rows.values() for value in row["validation"])
    assert all(row["test"] == [] for row in rows.values())
    assert {unit["setting"] for unit in units(folder).values() if unit["setting"]} == {"tiny_tune"}


def test_the_budget_counts_the_devices_seconds_of_images_labels_and_students(folder: Path) -> None:
    """Wall time would let a busy machine take candidates out of the race."""
    rows = json.loads(run(folder, "sweep", *OPTIONS, **ENVIRONMENT).stdout)
    counted = [
        unit["measurements"]["cpu_seconds"]
        for unit in units(folder).values()
        if unit["recipe"]["unit"].split("/")[0] in ("images", "labels", "training")
    ]
    assert sum(row["seconds"] for row in rows) == pytest.approx(sum(counted), abs=0.11)


def test_a_second_sweep_computes_nothing_and_says_the_same(folder: Path) -> None:
    before = units(folder)
    first, second = (run(folder, "sweep", *OPTIONS, **ENVIRONMENT) for _ in range(2))
    assert first.stdout == second.stdout
    assert units(folder).keys() == before.keys()


def test_at_the_end_each_groups_best_is_scored_once_on_the_test_split(folder: Path) -> None:
    before = units(folder).keys()
    done = run(folder, "sweep", *OPTIONS, "--final", "--write", str(folder / "best.yaml"), **ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert f"recipe file: {folder / 'best.yaml'}" in done.stderr
    new = [unit for path, unit in units(folder).items() if path not in before]
    trained = [unit for unit in new if unit["recipe"]["unit"] == "training"]
    assert {unit["setting"] for unit in trained} == {"tiny"}
    # Two groups of three students each; scoring every candidate would have been nine.
    assert len(trained) == 6
    assert all(len(row["test"]) == 3 for row in rows)
    assert json.loads(run(folder, "leaderboard", "--json", **ENVIRONMENT).stdout) == []
    (folder / "recipes").mkdir()
    (folder / "best.yaml").rename(folder / "recipes" / "best.yaml")
    listed = run(folder, "methods", "--json", DD_RECIPES=str(folder / "recipes"), **ENVIRONMENT)
    names = {row["name"] for row in json.loads(listed.stdout)}
    assert len(names - METHODS().keys()) == 1


def test_a_refused_group_is_named_and_the_others_are_raced(tmp_path: Path) -> None:
    settings = Path(ENVIRONMENT["DD_DATASETS"]).read_text("utf-8")
    settings += "  generators: {small: {iterations: 2, warmup: 1, recognition_floor: 1.0}}\n"
    (tmp_path / "settings.yaml").write_text(settings, "utf-8")
    environment = ENVIRONMENT | {"DD_DATASETS": str(tmp_path / "settings.yaml")}
    options = ("tiny", "1", "--methods", "d4m,random", "--proposals", "1", "--minutes", "5", "--json")
    done = run(tmp_path, "sweep", *options, **environment)
    assert done.returncode == 0, done.stderr
    rows = {row["group"]: row for row in json.loads(done.stdout)}
    assert rows["random"]["validation"]
    assert rows["d4m"]["validation"] == []
    assert "failed verdict" in rows["d4m"]["refused"][0]
