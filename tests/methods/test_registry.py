"""Which methods exist, and that finding them stays light.

Belongs here: registry.py and the recipes as declarations. Does not belong: computation.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from typing import Any

import pytest

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


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -(10**400)])
def test_what_is_no_finite_number_is_refused_by_name(value: float) -> None:
    parameters = registry.method("sre2l").recipe_for("default").parameters
    with pytest.raises(InputError, match="sre2l: r_bn is infinite, too large or no number → give a finite number"):
        with_overrides(parameters, {"r_bn": value}, "sre2l")
