"""Numbers that a method cannot use are a reason before anything is computed.

Belongs here: the ranges of every method's fields, by reasons against a cell, and proposals of a sweep, which have none.
Does not belong: limits that depend on the images (the methods' own tests).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dd_assets.datasets.registry import settings
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.registry import GENERATORS
from dd_assets.methods.contract import Facts, Method
from dd_assets.methods.registry import METHODS, method
from dd_assets.planning.cells import declared_parameters
from dd_assets.sweeps.compositions import proposals
from dd_assets.units.dataset import facts_before


def _facts(entry: Method, parameters: Any, chosen: Setting) -> Facts:
    """Of a setting, with the networks and generators that these parameters ask for."""
    stated = facts_before(chosen)
    pool = tuple(getattr(parameters, "pool", ())) or stated.committee or ("a", "b")
    return dataclasses.replace(stated, committee=pool, generators=GENERATORS)


def _reason(entry: Method, parameters: Any, ipc: int = 1, data: str = "digits") -> str | None:
    return entry.reason_against(parameters, _facts(entry, parameters, settings()[data]), ipc)


def _numbers(parameters: Any) -> list[str]:
    return [name for name, value in vars(parameters).items() if type(value) in (int, float)]


@pytest.mark.parametrize("name", METHODS())
def test_a_negative_number_is_a_reason_in_every_field_of_every_method(name: str) -> None:
    """`iterations: -1` and the like ended in a traceback, or optimised uphill."""
    entry = method(name)
    parameters = entry.recipe_for("digits").parameters
    assert _reason(entry, parameters) is None
    unread = {"start_level"} if getattr(parameters, "start", "") == "noise" else set()
    for field in _numbers(parameters):
        wrong = dataclasses.replace(parameters, **{field: type(getattr(parameters, field))(-1)})
        if field not in unread:
            assert field.split("_")[0] in str(_reason(entry, wrong)), field


WRONG = [
    *((name, "batch", 0) for name in ("sre2l", "sre2lpp", "cda", "dwa", "delt", "cvdd", "prism", "gvbsm")),
    ("cda", "milestone", 1.5),
    ("delt", "milestone", 1.5),
    ("delt", "rounds", 0),
    ("dwa", "steps", -1),
    ("cvdd", "temperature", 0.0),
    ("prism", "chance", 1.1),
    ("prism", "cycle", 0),
    ("gvbsm", "momentum", 1.0),
    ("gvbsm", "drop", 1.2),
    ("gvbsm", "tau", 0.0),
    ("gvbsm", "index_groups", 0),
    ("edc", "momentum", 1.6),
    ("edc", "class_weight", 2.0),
    ("edc", "flatness_beta", 1.98),
    ("edc", "flatness_tau", 0.0),
    ("rded", "factor", 0),
    ("rded", "num_crops", 0),
    ("rded", "mipc", 0),
    ("kmeans", "restarts", 0),
    ("kmeans", "iterations", 0),
]


@pytest.mark.parametrize(("name", "field", "value"), WRONG)
def test_a_number_outside_its_range_is_named_with_the_range(name: str, field: str, value: float) -> None:
    entry = method(name)
    wrong = dataclasses.replace(entry.recipe_for("digits").parameters, **{field: value})
    assert str(_reason(entry, wrong)).startswith(f"{field}={value}: a ")


RIGHT = [
    *((entry.name, "iterations", 0) for entry in METHODS().values() if entry.family == "optimisation"),
    ("sre2l", "r_bn", 0.0),
    ("sre2l", "learning_rate", 0.0),
    ("cda", "milestone", 0.0),
    ("dwa", "steps", 0),
    ("dwa", "rho", 0.0),
    ("prism", "chance", 1.0),
    ("prism", "extra", 0),
    ("gvbsm", "drop", 1.0),
    ("gvbsm", "momentum", 0.0),
    ("edc", "batch", 0),
    ("edc", "class_weight", 1.0),
    ("edc", "flatness_beta", 1.0),
]


@pytest.mark.parametrize(("name", "field", "value"), RIGHT)
def test_a_number_that_means_something_is_allowed(name: str, field: str, value: float) -> None:
    entry = method(name)
    assert _reason(entry, dataclasses.replace(entry.recipe_for("digits").parameters, **{field: value})) is None


@pytest.mark.parametrize("data", sorted(settings()))
def test_what_is_shipped_has_no_reason_against_it(data: str) -> None:
    chosen = settings()[data]
    for entry in METHODS().values():
        parameters = declared_parameters(entry, chosen)
        assert entry.reason_against(parameters, _facts(entry, parameters, chosen), 10) is None, entry.name


@pytest.mark.parametrize("name", METHODS())
def test_a_sweep_proposes_nothing_that_cannot_apply(name: str) -> None:
    """EDC was proposed momentum 1.6, MGD3 a window up to ᾱ 4."""
    entry = method(name)
    stated = entry.recipe_for("digits").parameters
    made = proposals(stated, 20, 0, name, lambda parameters: _reason(entry, parameters))
    assert made[0] == {}
    for entry_made in made:
        assert _reason(entry, dataclasses.replace(stated, **entry_made)) is None, entry_made
