"""Which methods exist, and that finding them stays light.

Belongs here: registry.py and the recipes as declarations. Does not belong: computation.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from dd_assets.diffusion.contract import STARTS
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.methods import registry
from dd_assets.methods.contract import Method, Recipe, with_overrides
from dd_assets.planning.digests import text_digest
from tests.models.digits import facts


def _any_parameters(entry: Method) -> Any:
    return next(iter(entry.recipes.values())).parameters


SPINE = ("noise", "random", "rded", "sre2l")


def test_the_spine_is_found_in_order_of_name() -> None:
    names = list(registry.METHODS())
    assert names == sorted(names)
    assert set(SPINE) <= set(names)
    assert registry.method("rded").family == "selection"


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sre2l'"):
        registry.method("sre2")


def test_finding_methods_imports_nothing_heavy() -> None:
    script = (
        "import sys; from dd_assets.methods.registry import METHODS; METHODS(); "
        "print([m for m in ('torch', 'torchvision', 'pandas', 'pyarrow', 'dagster') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


PAPERS_DATA = {"cifar10", "cifar100", "tiny_imagenet", "imagenette", "imagewoof", "imagenet1k"}


@pytest.mark.parametrize("name", registry.METHODS())
def test_declarations_are_complete(name: str) -> None:
    method = registry.method(name)
    # A coreset has one recipe for all data; whatever is optimised or stitched states each dataset's.
    assert set(method.recipes) == {"default"} or PAPERS_DATA | {"digits", "default"} <= set(method.recipes)
    assert method.recipe_for("nobody's data") is method.recipes["default"]
    assert method.starts() == sorted(set(method.starts()) & set(registry.METHODS()))
    for recipe in method.recipes.values():
        json.dumps(dataclasses.asdict(recipe.parameters))
        assert recipe.source
    module, function = method.synthesis.split(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert method.refuse(method.recipe_for("digits").parameters, facts(), 1) is None


class _Entry:
    dist = None

    def __init__(self, declared: object) -> None:
        self.name, self.value, self.declared = "extra", "plugin:METHOD", declared

    def load(self) -> object:
        return self.declared


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch):
    def plug(declared: object) -> None:
        monkeypatch.setattr(registry, "entry_points", lambda group: [_Entry(declared)])
        registry.METHODS.cache_clear()

    yield plug
    registry.METHODS.cache_clear()


def test_plug_ins_join_and_clashes_are_named(plugged) -> None:
    random = registry.method("random")
    recipes = {"default": Recipe(parameters=random.recipes["default"].parameters, source="own: test")}
    plugged(dataclasses.replace(random, name="aaa", recipes=recipes))
    assert next(iter(registry.METHODS())) == "aaa"
    plugged(random)
    with pytest.raises(InputError, match="entry point extra = plugin:METHOD declares method 'random'"):
        registry.METHODS()
    plugged(None)
    with pytest.raises(InputError, match="declares no Method"):
        registry.METHODS()


CROPPING = [name for name, entry in registry.METHODS().items() if hasattr(_any_parameters(entry), "crop_scale_min")]


@pytest.mark.parametrize("name", CROPPING)
@pytest.mark.parametrize("low", [0.0, 1.7, -0.5])
def test_a_crop_that_is_none_is_refused_by_every_method_that_crops(name: str, low: float) -> None:
    """A sweep multiplies strengths; RDED "cropped" 1.7 of the area without a word."""
    entry = registry.method(name)
    wrong = dataclasses.replace(_any_parameters(entry), crop_scale_min=low)
    given = dataclasses.replace(facts(), committee=entry.pool(wrong, facts()) or ("a",))
    assert f"crops from {low} to 1.0 of the area" in str(entry.reason_against(wrong, given, 1))


def test_a_whole_number_for_a_float_makes_no_recipe_of_its_own() -> None:
    parameters = registry.method("sre2l").recipe_for("default").parameters
    whole, point = (with_overrides(parameters, {"r_bn": value}, "sre2l") for value in (20, 20.0))
    assert isinstance(whole.r_bn, float)
    assert text_digest(whole) == text_digest(point)
    with pytest.raises(InputError, match=r"iterations=3\.0 is not a int"):
        with_overrides(parameters, {"iterations": 3.0}, "sre2l")
    with pytest.raises(InputError, match="r_bn=True is not a float"):
        with_overrides(parameters, {"r_bn": True}, "sre2l")


def test_entries_of_a_list_are_values_of_its_kind() -> None:
    searched = registry.method("bo_repulsion").recipe_for("default").parameters
    plain = registry.method("d4m").recipe_for("default").parameters
    whole, point = (with_overrides(searched, {"search_scales": values}, "x") for values in ([1, 2], [1.0, 2.0]))
    assert list(map(type, whole.search_scales)) == [float, float]
    assert text_digest(whole) == text_digest(point)
    assert with_overrides(searched, {"search_scales": []}, "x").search_scales == ()
    # An empty default does not say of what its entries are; its annotation does.
    for parameters in (searched, plain):
        for wrong in (["1e-1", 0.3], ["a"], [True], [[0.1]]):
            with pytest.raises(InputError, match=r"x: search_levels=.* is no list of float → give a list of numbers"):
                with_overrides(parameters, {"search_levels": wrong}, "x")
    with pytest.raises(InputError, match="search_levels is infinite, too large or no number"):
        with_overrides(plain, {"search_levels": [float("nan")]}, "x")
    with pytest.raises(InputError, match=r"pool=\[\['vit_micro'\]\] is no list of str"):
        with_overrides(registry.method("focusdd").recipe_for("default").parameters, {"pool": [["vit_micro"]]}, "x")
    assert with_overrides(searched, {"search_levels": (1, 0.5)}, "x").search_levels == (1.0, 0.5)


def test_recipes_as_they_stand_are_what_their_own_values_give() -> None:
    """Typing entries moves no digest: each list of a recipe, stated again, is that recipe."""
    for entry in registry.METHODS().values():
        for recipe in entry.recipes.values():
            lists = {key: list(value) for key, value in vars(recipe.parameters).items() if isinstance(value, tuple)}
            again = with_overrides(recipe.parameters, lists, entry.name)
            assert text_digest(again) == text_digest(recipe.parameters), entry.name


def _literals(kind: type) -> dict[str, tuple[str, ...]]:
    return {name: get_args(hint) for name, hint in get_type_hints(kind).items() if get_origin(hint) is Literal}


@pytest.mark.parametrize("name", registry.METHODS())
def test_a_misspelt_word_of_a_closed_list_is_refused_by_name(name: str) -> None:
    """`flatness: Paper` ran EDC with the direction of its code."""
    parameters = registry.method(name).recipe_for("default").parameters
    for field, words in _literals(type(parameters)).items():
        refusal = f"unknown {field} of {name} 'nonsense' → .*known: {', '.join(sorted(words))}$"
        with pytest.raises(UnknownNameError, match=refusal):
            with_overrides(parameters, {field: "nonsense"}, name)
        for word in words:
            assert getattr(with_overrides(parameters, {field: word}, name), field) == word


def test_every_start_of_the_sampling_can_be_stated_of_d4m() -> None:
    """Its own annotation listed three, which nothing had held anyone to (docs/generators.md)."""
    parameters = registry.method("d4m").recipe_for("digits").parameters
    for start in STARTS:
        assert with_overrides(parameters, {"start": start}, "d4m").start == start


def test_a_word_that_is_nearly_right_names_the_right_one() -> None:
    edc, rded = (registry.method(name).recipe_for("default").parameters for name in ("edc", "rded"))
    with pytest.raises(UnknownNameError, match="unknown flatness of edc 'Paper' → did you mean 'paper'"):
        with_overrides(edc, {"flatness": "Paper"}, "edc")
    with pytest.raises(UnknownNameError, match="unknown precision of rded 'fp16'"):
        with_overrides(rded, {"precision": "fp16"}, "rded")
    # What is no word is still named as that: YAML reads `off` as false.
    with pytest.raises(InputError, match="flatness=False is not a str"):
        with_overrides(edc, {"flatness": False}, "edc")


@dataclasses.dataclass(frozen=True)
class Worded:
    """Closed lists in other annotations."""

    maybe: Literal["a", "b"] | None = None
    several: tuple[Literal["a", "b"], ...] = ()
    free: Literal["a"] | str = "a"
    mixed: Literal["a"] | bool = False


def test_a_closed_list_may_be_optional_or_of_entries() -> None:
    made = with_overrides(Worded(), {"maybe": "a", "several": ["b", "a"], "free": "c", "mixed": True}, "x")
    assert made == Worded(maybe="a", several=("b", "a"), free="c", mixed=True)
    assert with_overrides(made, {"maybe": None, "several": []}, "x") == Worded(free="c", mixed=True)
    for wrong in ({"maybe": "c"}, {"several": ["a", "c"]}):
        with pytest.raises(UnknownNameError, match=r"of x 'c' → known: .*a, b"):
            with_overrides(Worded(), wrong, "x")
    with pytest.raises(InputError, match="maybe=1 is not a"):
        with_overrides(Worded(), {"maybe": 1}, "x")


def test_annotations_that_only_a_type_checker_can_read_close_no_list() -> None:
    plugged = dataclasses.make_dataclass("Plugged", [("kind", "Unimported", dataclasses.field(default="a"))])
    assert with_overrides(plugged(), {"kind": "b"}, "x").kind == "b"


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -(10**400)])
def test_what_is_no_finite_number_is_refused_by_name(value: float) -> None:
    parameters = registry.method("sre2l").recipe_for("default").parameters
    with pytest.raises(InputError, match="sre2l: r_bn is infinite, too large or no number → give a finite number"):
        with_overrides(parameters, {"r_bn": value}, "sre2l")


@pytest.mark.parametrize("name", ["sre2l", "gvbsm", "edc", "cvdd", "dwa", "prism"])
def test_real_starts_are_refused_where_a_method_chooses_none(name: str) -> None:
    """It was told after the networks had been trained."""
    entry = registry.method(name)
    made = dataclasses.replace(entry.recipe_for("digits").parameters, init="real")
    members = tuple(getattr(made, "pool", ())) or ("any",)
    reason = entry.reason_against(made, dataclasses.replace(facts(), committee=members), 1)
    assert (reason is None) == (name in ("dwa", "prism"))
    assert reason is None or "set init to random" in reason
