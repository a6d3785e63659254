"""A method from elsewhere: scaffolded, found through its entry point, checked, run, scored."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from dd_assets.errors import InputError
from dd_assets.methods.checking import check_method
from dd_assets.methods.contract import Method
from dd_assets.methods.registry import method
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.sharing.scaffold import new_method
from tests.test_cli import run

PROJECT = Path(__file__).parents[2]
QUICK = PROJECT / "tests" / "dagster_side" / "quick.yaml"


def installed(folder: Path, name: str) -> dict[str, str]:
    """The environment in which a scaffolded package counts as installed: importable, with its entry points."""
    record = folder / f"dd_assets_{name}-0.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dd-assets-{name}\nVersion: 0.1.0\n")
    (record / "entry_points.txt").write_text(f"[dd_assets.methods]\n{name} = dd_assets_{name}.recipe:METHOD\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT)]), "DD_DATASETS": str(QUICK)}


def test_a_new_method_is_listed_checked_scored_and_ranked(tmp_path: Path) -> None:
    new_method("mine", str(tmp_path / "package"))
    environment = installed(tmp_path / "package", "mine")
    rows = json.loads(run(tmp_path, "methods", "--json", **environment).stdout)
    assert "mine" in {row["name"] for row in rows}
    checked = run(tmp_path, "check-method", "mine", "--set", "candidates=3", "--json", **environment)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert all(row["passed"] for row in json.loads(checked.stdout))
    options = ("--select", 'key:"mine/score_convnet2_w64"', "--partition", "quick|2")
    synced = run(tmp_path, "sync", *options, **environment)
    assert synced.returncode == 0, synced.stderr
    assert "computed  mine/score_convnet2_w64 [quick|2]" in synced.stdout
    ranked = json.loads(run(tmp_path, "leaderboard", "--json", **environment).stdout)
    assert {(row["method"], row["draws"]) for row in ranked} == {("mine", 3)}


def test_the_example_is_what_the_scaffold_writes(tmp_path: Path) -> None:
    example = PROJECT / "examples" / "nearest_mean"
    for name in new_method("nearest_mean", str(tmp_path / "made")):
        assert (example / name).read_text() == (tmp_path / "made" / name).read_text(), name


@pytest.mark.parametrize(("name", "words"), [("rded", "already"), ("Mine", "cannot name"), ("../x", "cannot name")])
def test_names_that_cannot_be_are_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        new_method(name, str(tmp_path / "package"))
    assert not (tmp_path / "package").exists()


def _first_images(request: Request) -> SyntheticImages:
    """A synthesis that keeps the contract: of each class the first images, shifted by the seed."""
    train = request.train()
    rows = [
        train.of_class(label)[(index + request.seed) % 12]
        for index in range(request.first, request.last)
        for label in range(3)
    ]
    return SyntheticImages(images=train.images[rows].copy(), labels=train.labels[rows].copy())


def _transposed(request: Request) -> SyntheticImages:
    made = _first_images(request)
    order = np.argsort(made.labels, kind="stable")
    return SyntheticImages(images=made.images[order], labels=made.labels[order])


def _floats(request: Request) -> SyntheticImages:
    made = _first_images(request)
    return SyntheticImages(images=made.images / 255, labels=made.labels)


def _global_numpy(request: Request) -> SyntheticImages:
    made = _first_images(request)
    made.images[0, 0, 0, 0] = np.random.randint(256)
    return made


def _seedless(request: Request) -> SyntheticImages:
    return _first_images(dataclasses.replace(request, seed=0))


def _by_shard(request: Request) -> SyntheticImages:
    made = _first_images(request)
    made.images[..., 0] = request.first + len(made.images)
    return made


def _forgetful(request: Request) -> SyntheticImages:
    made = _first_images(request)
    if request.checkpoints.load() is None:
        request.checkpoints.save({"done": np.zeros(1)})
        return made
    made.images[:] = 0
    return made


def _greedy(request: Request) -> SyntheticImages:
    request.train().images[:] = 0
    return _first_images(request)


def _training_mode(request: Request) -> SyntheticImages:
    request.teacher().train()
    return _first_images(request)


def _declared(synthesis: str) -> Method:
    return dataclasses.replace(
        method("random"), synthesis=f"tests.sharing.test_plugins:{synthesis}", needs=method("rded").needs
    )


def test_a_synthesis_that_keeps_the_contract_passes() -> None:
    found = check_method(_declared("_first_images"))
    assert [finding.message for finding in found if not finding.passed] == []
    assert len(found) == 10


@pytest.mark.parametrize(
    ("synthesis", "check", "words"),
    [
        ("_transposed", "order", "labels"),
        ("_floats", "shape", "float64"),
        ("_global_numpy", "own_randomness", "differ in|global generator"),
        ("_seedless", "draws", "3 draws are declared"),
        ("_by_shard", "shards", "differ from the set"),
        ("_forgetful", "resume", "differ in 6 of 6"),
        ("_greedy", "inputs_unchanged", "changes the real images"),
        ("_training_mode", "inputs_unchanged", "changes a network"),
    ],
)
def test_each_breach_is_found_by_its_own_check(synthesis: str, check: str, words: str) -> None:
    import re

    failed = {finding.check: finding.message for finding in check_method(_declared(synthesis)) if not finding.passed}
    assert check in failed, failed
    assert re.search(words, failed[check])


def test_what_cannot_be_made_up_is_said() -> None:
    with pytest.raises(InputError, match="d4m reads generator, which this check cannot make up"):
        check_method(method("d4m"))
    with pytest.raises(InputError, match="reads the images of rded"):
        check_method(method("sre2l_rded"))


@pytest.mark.parametrize("name", ["noise", "random", "kmeans", "herding"])
def test_methods_here_keep_the_contract(name: str) -> None:
    assert [finding for finding in check_method(method(name)) if not finding.passed] == []


def test_an_optimiser_is_checked_with_few_iterations() -> None:
    found = check_method(method("sre2l"), {"iterations": 3})
    assert [finding for finding in found if not finding.passed] == []


def test_the_pages_of_the_methods_are_current() -> None:
    """`python -m dd_assets.sharing.pages docs/methods` writes them again."""
    from dd_assets.sharing.pages import pages

    folder = PROJECT / "docs" / "methods"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")} == pages()
