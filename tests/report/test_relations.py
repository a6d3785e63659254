"""IOR, HLR and LRS of leaderboards: against what real data gives, and among what was scored alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dd_assets.datasets import registry
from dd_assets.datasets.setting import TeacherChoice
from dd_assets.report.leaderboard import OTHER_PROTOCOL, OVERRIDDEN
from dd_assets.report.relations import real_accuracies, with_relations
from dd_assets.units.teacher import AS_STUDENT
from dd_resources.store import ArtefactStore
from tests.report.stored import STUDENT, put, refer

DIGITS = registry.setting("digits")


@pytest.fixture
def weak_member(monkeypatch: pytest.MonkeyPatch) -> TeacherChoice:
    """A committee member of the student's architecture that is trained for a fifth of the teacher's epochs."""
    short = replace(DIGITS.teacher.recipe, epochs=max(DIGITS.teacher.recipe.epochs // 5, 1))
    member = TeacherChoice(architecture=STUDENT, recipe=short, name="short")
    chosen = replace(DIGITS, committee=(member,), teacher=replace(DIGITS.teacher, architecture=STUDENT))
    monkeypatch.setattr(registry, "settings", lambda: {"digits": chosen})
    return member


def network(store: ArtefactStore, accuracy: float) -> Any:
    return put(store, "teacher", f"at {accuracy}", {}, summary={"architecture": STUDENT, "test_accuracy": accuracy})


def row(method: str, accuracy: float, label: str = "hard", apart: str = "") -> dict[str, Any]:
    return {
        "dataset": "digits",
        "ipc": 1,
        "method": method,
        "student": STUDENT,
        "label": label,
        "accuracy_mean": accuracy,
        "apart": apart,
    }


def test_a_weak_pool_says_nothing_about_the_real_split(store: ArtefactStore, weak_member: TeacherChoice) -> None:
    """HLR = hard labels' accuracy against the real split's; a member trained briefly on purpose is no such figure."""
    refer(store, "teacher", "digits", {"teacher": network(store, 0.99)})
    chosen = registry.settings()["digits"]
    alone = with_relations([row("rded", 0.5)], store, "default")
    assert alone[0]["hlr"] is not None
    refer(store, "committee", "digits", {"short": network(store, 0.6)})
    assert real_accuracies(store, "default", chosen) == {STUDENT: 0.99}
    assert with_relations([row("rded", 0.5)], store, "default") == alone
    # A member with the teacher's recipe and another seed is a second measurement.
    second = replace(weak_member, recipe=chosen.teacher.recipe, seed=1)
    strong = replace(chosen, committee=(second,))
    assert real_accuracies(store, "default", strong) == {STUDENT: pytest.approx((0.99 + 0.6) / 2)}


def test_rows_that_do_not_compete_lend_nothing(store: ArtefactStore) -> None:
    refer(store, "teacher", "digits", {})
    for apart in (OVERRIDDEN, OTHER_PROTOCOL):
        rows = with_relations([row("random", 0.4, apart=apart), row("rded", 0.5)], store, "default")
        assert [entry["ior"] for entry in rows][1] is None
    rows = with_relations([row("random", 0.4), row("rded", 0.5, apart=OTHER_PROTOCOL)], store, "default")
    assert rows[0]["ior"] is not None
    assert rows[1]["ior"] is None


def test_the_real_split_is_tested_as_students_are(store: ArtefactStore) -> None:
    """From 56 px on students see resized test images; the same weights must be worth the same."""
    summary = {"architecture": STUDENT, "test_accuracy": 0.9, AS_STUDENT: 0.8}
    made = put(store, "teacher", "large", {}, summary=summary)
    refer(store, "teacher", "digits", {"teacher": made})
    assert real_accuracies(store, "default", DIGITS) == {STUDENT: 0.8}
    small = network(store, 0.7)
    refer(store, "teacher", "digits", {"teacher": small})
    assert real_accuracies(store, "default", DIGITS) == {STUDENT: 0.7}
