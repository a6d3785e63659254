"""Recipe files as people write them: nothing in one is lost silently, and what cannot be is one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from dd_assets.cli import main
from dd_assets.errors import InputError
from dd_assets.methods.contract import Method, with_overrides
from dd_assets.methods.registry import METHODS
from dd_assets.planning.digests import text_digest
from dd_assets.sweeps.compositions import composed, read_composition

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "recipes"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nbase: sre2l\nparameters: {init: 2001-99-99}", "a.yaml is no recipe file: "),
        ("name: a\nbase: sre2l\nparameters: {init: rded}\nparameters: {}", "line 4: key 'parameters' is written twice"),
        ("name: a\nbase: sre2l\nparameters: {init: rded, init: noise}", "line 3: key 'init' is written twice"),
        ("name: a\nbase: sre2l\nparameters: {}\ntitle: 5", "a.yaml: title=5 → "),
        ("name: a\nbase: sre2l\nparameters: {}\ntitle: [a]", "a.yaml: title="),
    ],
)
def test_what_is_no_recipe_file_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError) as refused:
        read_composition(tmp_path / "a.yaml")
    assert words in str(refused.value)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml is no recipe file: "):
        read_composition(tmp_path / "none.yaml")


def _composed(folder: Path, text: str) -> Method:
    (folder / "a.yaml").write_text(text)
    ((_, made),) = composed(str(folder), METHODS())
    return made


def test_a_whole_number_of_a_recipe_file_is_the_number_with_a_point(tmp_path: Path) -> None:
    """It was kept as it stood: another digest than 1.0 has, and a launch's 0.5 was "not a int"."""
    whole, point = (
        _composed(tmp_path, f"name: a\nbase: sre2l\nparameters: {{learning_rate: {value}}}\n") for value in ("1", "1.0")
    )
    for data, recipe in whole.recipes.items():
        assert text_digest(recipe.parameters) == text_digest(point.recipes[data].parameters)
        assert with_overrides(recipe.parameters, {"learning_rate": 0.5}, "a").learning_rate == 0.5
    assert (whole.changes, whole.variant_of) == ({"learning_rate": 1.0}, "sre2l")
    assert whole.recipes["default"].source.startswith("learning_rate=1.0; otherwise ")
    listed = _composed(tmp_path, "name: a\nbase: bo_repulsion\nparameters: {search_scales: [1, 2.5]}\n")
    for recipe in listed.recipes.values():
        assert list(map(type, recipe.parameters.search_scales)) == [float, float]


def test_the_example_files_have_the_digests_that_their_values_had() -> None:
    """Values as they stood, put into the base's recipes: what was stored under them is found again."""
    for _, made in composed(str(EXAMPLES), METHODS()):
        stated = read_composition(EXAMPLES / f"{made.name}.yaml").parameters
        raw = {name: tuple(value) if isinstance(value, list) else value for name, value in stated.items()}
        for data, recipe in METHODS()[made.variant_of].recipes.items():
            before = dataclasses.replace(recipe.parameters, **raw)
            assert text_digest(made.recipes[data].parameters) == text_digest(before), (made.name, data)


def test_either_suffix_of_yaml_is_read(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml"):
        (tmp_path / name).write_text(f"name: of_{name[0]}\nbase: sre2l\nparameters: {{}}\n")
    (tmp_path / "README.md").write_text("not a recipe")
    assert [made.name for _, made in composed(str(tmp_path), METHODS())] == ["of_a", "of_b"]


def test_a_sweep_writes_no_file_that_would_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dd_assets.cli.sweeping._engine", lambda: pytest.fail("the sweep had begun"))
    done = CliRunner().invoke(main, ["sweep", "digits", "1", "--write", str(tmp_path / "best.txt")])
    assert done.exit_code == 3, done.output
    assert "best.txt is no name of a recipe file → end it in .yaml or .yml" in done.output


def test_a_value_on_the_command_line_that_yaml_cannot_take_is_one_line() -> None:
    done = CliRunner().invoke(main, ["check-method", "noise", "--set", "sigma=2001-99-99"])
    assert done.exit_code == 3, done.output
    assert "--set sigma=2001-99-99 is not valid YAML: month must be in 1..12" in done.output
