"""Explanations: the one thing that changed is named, with its old and new value, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from dd_assets.planning.explain import explain
from dd_assets.planning.unit import Manifest, Product, Unit
from dd_resources.store import ArtefactStore


@dataclass(frozen=True)
class _Optimiser:
    rate: float = 0.1
    steps: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class _Parameters:
    epochs: int = 60
    optimiser: _Optimiser = field(default_factory=_Optimiser)


def teacher(epochs: int = 60, version: int = 1) -> Unit:
    """A unit without inputs."""
    return Unit(name="teacher", version=version, parameters={"epochs": epochs}, inputs={}, label="teacher digits")


def student(source: Manifest | None = None, **changes) -> Unit:
    """A unit with nested parameters that reads a teacher."""
    read = {} if source is None else {"teacher": source}
    base = Unit(
        name="training",
        version=2,
        parameters={"protocol": _Parameters(), "student": "convnet"},
        inputs={name: manifest.content for name, manifest in read.items()},
        seed=0,
        sources={name: manifest.recipe_digest for name, manifest in read.items()},
    )
    return replace(base, **changes)


def commit(store: ArtefactStore, unit: Unit, content: str | None = None) -> Manifest:
    """Store a unit with a content of its own."""
    return store.commit(unit, Product(content=content or unit.digest[::-1], payloads={}), {})


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, []),
        ({"seed": 3}, ["seed 0 → 3"]),
        ({"version": 3}, ["version of training 2 → 3"]),
        (
            {"parameters": {"protocol": _Parameters(optimiser=_Optimiser(rate=0.2)), "student": "convnet"}},
            ["parameter protocol.optimiser.rate: 0.1 → 0.2"],
        ),
        (
            {"parameters": {"protocol": _Parameters(optimiser=_Optimiser(steps=(1, 3))), "student": "resnet18"}},
            ["parameter protocol.optimiser.steps.1: 2 → 3", 'parameter student: "convnet" → "resnet18"'],
        ),
        (
            {"parameters": {"protocol": _Parameters(optimiser=_Optimiser(steps=(1,))), "student": "convnet"}},
            ["parameter protocol.optimiser.steps: [1,2] → [1]"],
        ),
        (
            {"parameters": {"protocol": _Parameters(), "width": 64}},
            ['parameter student: "convnet" → absent', "parameter width: absent → 64"],
        ),
    ],
)
def test_what_differs_is_named(store: ArtefactStore, changes: dict, lines: list[str]) -> None:
    old = commit(store, student())
    assert explain(store, {"soft/draw0": old.recipe_digest}, student(**changes)) == lines


def test_one_and_one_point_zero_are_different_recipes_and_said_to_be(store: ArtefactStore) -> None:
    old = commit(store, teacher(epochs=60))
    new = replace(teacher(), parameters={"epochs": 60.0})
    assert explain(store, [old.recipe_digest], new) == ["parameter epochs: 60 → 60.0"]


def test_a_changed_input_is_followed_to_its_own_parameter(store: ArtefactStore) -> None:
    short, long = commit(store, teacher(60)), commit(store, teacher(90))
    old = commit(store, student(short))
    assert explain(store, [old.recipe_digest], student(long)) == ["input teacher: parameter epochs: 60 → 90"]


def test_another_result_of_the_same_recipe_is_said_so(store: ArtefactStore) -> None:
    first = commit(store, teacher(), "a" * 64)
    old = commit(store, student(first))
    store.discard(first)
    second = commit(store, teacher(), "b" * 64)
    (line,) = explain(store, [old.recipe_digest], student(second))
    assert line.startswith(f"input teacher: content {'a' * 12} → {'b' * 12}: computed again from the same recipe")


def test_an_input_whose_manifest_is_gone_is_named_by_content(store: ArtefactStore) -> None:
    short, long = commit(store, teacher(60)), commit(store, teacher(90))
    old = commit(store, student(short))
    store.discard(short)
    (line,) = explain(store, [old.recipe_digest], student(long))
    assert line == f"input teacher: content {short.content[:12]} → {long.content[:12]}"


def test_added_and_dropped_inputs_are_named(store: ArtefactStore) -> None:
    source = commit(store, teacher())
    without, reading = commit(store, student()), commit(store, student(source))
    assert explain(store, [without.recipe_digest], student(source)) == ["input teacher: added"]
    assert explain(store, [reading.recipe_digest], student()) == ["input teacher: no longer read"]


def test_the_most_similar_unit_is_compared(store: ArtefactStore) -> None:
    olds = {f"seed{seed}": commit(store, student(seed=seed)).recipe_digest for seed in range(3)}
    changed = student(seed=1, version=3)
    assert explain(store, olds, changed) == ["version of training 2 → 3"]


def test_a_kind_that_was_not_there_and_units_that_are_gone(store: ArtefactStore) -> None:
    old = commit(store, teacher())
    store.discard(old)
    assert explain(store, [old.recipe_digest], student()) == [
        "the partition had no unit of kind training (1 of its units is no longer in the store)"
    ]


def test_a_unit_that_is_gone_is_not_compared_with_those_that_stayed(store: ArtefactStore) -> None:
    olds = [commit(store, student(seed=seed)) for seed in range(2)]
    store.discard(olds[0])
    assert explain(store, [old.recipe_digest for old in olds], student(seed=0)) == []
