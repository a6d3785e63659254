"""Who is tried again, who is dropped, and when the budget ends it; proposals and recipe files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dd_assets.errors import InputError, UnknownNameError
from dd_assets.methods.contract import no_crop
from dd_assets.methods.registry import METHODS, method
from dd_assets.sweeps.compositions import FACTORS, as_method, composed, proposals, read_composition, starts
from dd_assets.sweeps.halving import Race, Trial, race

SKILL = [0.5, 0.9, 0.6, 0.8, 0.7]


def evaluator(tried: list[tuple[int, int]], cost: float = 1.0):
    """Each student of candidate i reaches SKILL[i] and costs `cost` seconds."""

    def attempt(candidate: int, students: int) -> Trial | str:
        tried.append((candidate, students))
        return Trial(accuracies=(SKILL[candidate],) * students, seconds=cost * students)

    return attempt


def test_the_better_half_goes_on_with_twice_the_students() -> None:
    """Five candidates, then two with two students, then one with four: 5 + 2·1 + 1·2 = 9 students in all.

    Counting each rung's students anew would say 5 + 4 + 4 = 13 seconds.
    """
    tried: list[tuple[int, int]] = []
    found = race(range(5), evaluator(tried), 100.0, 4)
    assert tried == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (3, 2), (1, 4)]
    assert (found.best, found.spent, found.complete) == (1, 9.0, True)


def test_the_budget_is_passed_by_one_attempt_at_most() -> None:
    tried: list[tuple[int, int]] = []
    found = race(range(5), evaluator(tried, cost=2.0), 5.0, 4)
    assert tried == [(0, 1), (1, 1), (2, 1)]
    assert (found.best, found.spent, found.complete) == (1, 6.0, False)
    # The first is tried whatever the budget, or there would be nothing to compare with.
    assert race(range(5), evaluator([], cost=2.0), 0.0, 4).best == 0


def test_the_best_is_among_those_with_the_most_students() -> None:
    """A lucky single student at .99 does not beat two students at .8: it was never asked again."""
    trials = {0: Trial(accuracies=(0.99,), seconds=1), 1: Trial(accuracies=(0.8, 0.8), seconds=2)}
    assert Race([0, 1], trials).best == 1
    assert Race([0, 1], {0: Trial(accuracies=(0.5,), seconds=1), 1: Trial(accuracies=(0.5,), seconds=1)}).best == 0
    assert Race([0]).best is None


def test_what_cannot_apply_is_left_out_with_its_reason() -> None:
    def attempt(candidate: int, students: int) -> Trial | str:
        return "too few images" if candidate == 0 else Trial(accuracies=(0.1,) * students, seconds=1.0)

    found = race(range(2), attempt, 10.0, 2)
    assert (found.refused, found.best) == ({0: "too few images"}, 1)
    assert race(range(1), attempt, 10.0, 2).best is None


def _anything(parameters: object) -> None:
    return None


def test_proposals_are_a_function_of_the_seed() -> None:
    stated = method("sre2l").recipe_for("digits").parameters
    made = proposals(stated, 6, 0, "sre2l", _anything)
    assert made == proposals(stated, 6, 0, "sre2l", _anything)
    assert made[0] == {}
    assert len({str(sorted(entry.items())) for entry in made}) == 6
    assert made != proposals(stated, 6, 1, "sre2l", _anything)
    for entry in made[1:]:
        assert 1 <= len(entry) <= 3
        assert "iterations" not in entry
        for name, value in entry.items():
            assert value / getattr(stated, name) in FACTORS, name


def test_no_proposal_crops_more_than_there_is() -> None:
    stated = method("edc").recipe_for("digits").parameters
    assert stated.crop_scale_min == 0.85, "half of the factors leave the image"
    made = proposals(stated, 30, 0, "edc", no_crop)
    assert len(made) == 30
    assert any("crop_scale_min" in entry for entry in made)
    assert all(entry.get("crop_scale_min", 0.1) <= 1 for entry in made)


def test_a_method_without_strengths_has_its_recipe_alone() -> None:
    assert proposals(method("random").recipe_for("digits").parameters, 6, 0, "random", _anything) == [{}]


def test_starts_are_images_that_need_no_start_of_their_own() -> None:
    base = method("sre2l")
    found = {one.parameters["init"] for one in starts(METHODS(), base.recipe_for("digits").parameters, base)}
    assert {"random", "rded"} <= found
    # Its own start is no new composition.
    assert "noise" not in found
    assert not starts(METHODS(), method("rded").recipe_for("digits").parameters, method("rded"))


def test_a_recipe_file_is_a_method(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: mine\nbase: sre2l\nparameters: {init: rded, iterations: 20}\n")
    ((origin, made),) = composed(str(tmp_path), METHODS())
    parameters = made.recipe_for("digits").parameters
    assert origin.endswith("a.yaml")
    assert (made.name, made.variant_of, parameters.init, parameters.iterations) == ("mine", "sre2l", "rded", 20)
    assert parameters.learning_rate == method("sre2l").recipe_for("digits").parameters.learning_rate


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("name: a\nbase: sre2l", InputError, "lacks name, base or parameters"),
        ("name: A B\nbase: sre2l\nparameters: {}", InputError, "small letters"),
        ("name: a\nbase: sre2l\nparameters: {}\nstart: x", UnknownNameError, "unknown field"),
        ("name: a\nbase: nothing\nparameters: {}", UnknownNameError, "unknown base"),
        ("name: a\nbase: sre2l\nparameters: {iteration: 5}", UnknownNameError, "did you mean 'iterations'"),
        ("name: a\nbase: sre2l\nparameters: {iterations: five}", InputError, "is not a int"),
        ("[", InputError, "is no recipe file"),
    ],
)
def test_recipe_files_that_cannot_be_are_refused(text: str, error: type, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(error, match=words):
        list(composed(str(tmp_path), METHODS()))


def test_the_title_of_a_recipe_file_is_its_methods(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: mine\nbase: sre2l\nparameters: {}\ntitle: Mine\n")
    assert as_method(read_composition(tmp_path / "a.yaml"), method("sre2l")).title == "Mine"
