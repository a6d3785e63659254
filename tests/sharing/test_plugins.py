"""A method from elsewhere: scaffolded, found through its entry point, checked, run, scored."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
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
    # As docs/your-own-method.md has it, without --set.
    checked = run(tmp_path, "check-method", "mine", "--json", **environment)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert all(row["passed"] for row in json.loads(checked.stdout))
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_contract.py"]
    own = subprocess.run(
        tests, cwd=tmp_path / "package", env={**os.environ, **environment}, capture_output=True, text=True, timeout=200
    )
    assert own.returncode == 0, own.stdout + own.stderr
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


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("METHOD = Method(", "METHOD = Method((", r"/recipe.py:\d+: SyntaxError: "),
        ("    family=", "    famly=", r"/recipe.py:\d+: TypeError: .*unexpected keyword argument 'famly'"),
        ("METHOD = ", "MINE = ", "AttributeError: module 'dd_assets_mine.recipe' has no attribute 'METHOD'"),
        ('{"default"', '{"digits"', "method 'mine' has no recipe 'default'"),
        ("parameters=Parameters()", "parameters=Parameters", "recipe 'default' of method 'mine' has no parameters"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line(old: str, new: str, words: str, tmp_path: Path) -> None:
    new_method("mine", str(tmp_path / "package"))
    environment = installed(tmp_path / "package", "mine")
    _spoil(tmp_path / "package" / "dd_assets_mine" / "recipe.py", old, new)
    done = run(tmp_path, "methods", **environment)
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert "entry point mine = dd_assets_mine.recipe:METHOD of dd-assets-mine" in line
    assert re.search(words, line), line
    assert " → " in line


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("def synthesise(", "def synthesise((", r"/synthesis.py:\d+: SyntaxError: "),
        ("def synthesise(", "def synthesize(", "AttributeError: .*has no attribute 'synthesise'"),
        ("train.of_class", "train.rows_of", r"/synthesis.py:\d+: AttributeError: .*has no attribute 'rows_of'"),
        ("return SyntheticImages(", "return dict(", "returns builtins.dict, not SyntheticImages"),
        ("labels=train.labels[source]", "labels=list(source)", "labels is builtins.list, not a NumPy array"),
    ],
)
def test_a_mistake_in_a_synthesis_fails_a_check(old: str, new: str, words: str, tmp_path: Path) -> None:
    new_method("mine", str(tmp_path / "package"))
    environment = installed(tmp_path / "package", "mine")
    _spoil(tmp_path / "package" / "dd_assets_mine" / "synthesis.py", old, new)
    done = run(tmp_path, "check-method", "mine", "--json", **environment)
    assert (done.returncode, done.stderr) == (1, "")
    failed = [row for row in json.loads(done.stdout) if not row["passed"]]
    assert [row["check"] for row in failed] == ["runs"]
    assert re.search(words, failed[0]["message"]), failed


def _spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_values_that_the_method_refuses_fail_a_check() -> None:
    def refuse(parameters: object, facts: object, ipc: int) -> str:
        return "candidates=0 must be at least 1"

    failed = [row for row in check_method(dataclasses.replace(_declared("_raising"), refuse=refuse)) if not row.passed]
    assert [(row.check, row.message) for row in failed] == [
        ("runs", "IPC 2 of 12 images per class is refused: candidates=0 must be at least 1")
    ]


def test_a_synthesis_that_fails_later_fails_that_check_alone() -> None:
    failed = [finding for finding in check_method(_declared("_raising")) if not finding.passed]
    assert [finding.check for finding in failed] == ["draws"]
    assert re.search(r"test_plugins.py:\d+: ValueError: seed 1", failed[0].message)


def test_a_value_of_set_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "check-method", "random", "--set", "candidates=[")
    assert done.returncode == 3
    assert "--set candidates=[ is not valid YAML" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_method_that_is_not_installed_yet_is_told_how(tmp_path: Path) -> None:
    done = run(tmp_path, "check-method", "nearest_mean")
    assert done.returncode == 2
    assert "known after `pip install -e FOLDER`" in done.stderr
    assert len(done.stderr) < 250


def _raising(request: Request) -> SyntheticImages:
    if request.seed:
        raise ValueError(f"seed {request.seed}")
    return _first_images(request)


def _grey(request: Request) -> SyntheticImages:
    made = _first_images(request)
    return SyntheticImages(images=made.images[..., 0], labels=made.labels)


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
    assert len(found) == 11


@pytest.mark.parametrize(
    ("synthesis", "check", "words"),
    [
        ("_transposed", "order", "labels"),
        ("_floats", "shape", "float64"),
        ("_grey", "shape", r"\(6, 16, 16\)"),
        ("_global_numpy", "own_randomness", "differ in|global generator"),
        ("_seedless", "draws", "3 draws are declared"),
        ("_by_shard", "shards", "differ from the set"),
        ("_forgetful", "resume", "differ in 6 of 6"),
        ("_greedy", "inputs_unchanged", "changes the real images"),
        ("_training_mode", "inputs_unchanged", "changes a network"),
    ],
)
def test_each_breach_is_found_by_its_own_check(synthesis: str, check: str, words: str) -> None:
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
