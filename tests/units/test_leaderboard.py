"""The leaderboard unit: whatever a row shows is named by its recipe, so that a table never outlives it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dd_assets.datasets.registry import setting
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Reference
from dd_assets.units import leaderboard
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore

SPACE = "mine"


def of(asset: str, partition: str, recipe: str) -> Reference:
    return Reference(asset=asset, partition=partition, units={"k": recipe}, contents={"k": "c" * 64})


@pytest.mark.parametrize("asset", [f"random/score_{setting('digits').students[0]}", "random/diversity"])
@pytest.mark.parametrize(
    "change",
    [{"units": {"hard/draw0/seed0": "b" * 64}}, {"contents": {"hard/draw0/seed0": "d" * 64}}, {"declared": False}],
    ids=["recipe", "content", "declared"],
)
def test_any_change_of_a_reference_asks_for_another_table(store: ArtefactStore, asset: str, change: dict) -> None:
    key = "hard/draw0/seed0"
    reference = Reference(asset=asset, partition="digits|1", units={key: "a" * 64}, contents={key: "c" * 64})
    empty = leaderboard.plan(store, SPACE)
    store.write_reference(SPACE, reference)
    first = leaderboard.plan(store, SPACE)
    assert len(first.inputs) == 1
    assert leaderboard.plan(store, SPACE).digest == first.digest != empty.digest
    store.write_reference(SPACE, dataclasses.replace(reference, **change))
    assert leaderboard.plan(store, SPACE).digest != first.digest


@pytest.mark.parametrize(
    ("asset", "partition"),
    [
        ("teacher", "digits"),
        ("committee", "digits"),
        ("dataset", "digits"),
        ("random/synthetic_images", "digits|1"),
        ("random/soft_labels", "digits|1"),
    ],
)
def test_a_row_also_shows_what_its_score_was_made_from(store: ArtefactStore, asset: str, partition: str) -> None:
    """HLR, bytes, seconds and origin come from these: another teacher's accuracy is another HLR."""
    score = f"random/score_{setting('digits').students[0]}"
    store.write_reference(
        SPACE, Reference(asset=score, partition="digits|1", units={"k": "a" * 64}, contents={"k": "c" * 64})
    )
    first = leaderboard.plan(store, SPACE)
    store.write_reference(
        SPACE, Reference(asset=asset, partition=partition, units={"k": "b" * 64}, contents={"k": "c" * 64})
    )
    assert leaderboard.plan(store, SPACE).digest != first.digest
    # What no score was made from is shown nowhere.
    known = leaderboard.plan(store, SPACE)
    store.write_reference(
        SPACE, Reference(asset="teacher", partition="mnist", units={"k": "c" * 64}, contents={"k": "c" * 64})
    )
    assert leaderboard.plan(store, SPACE).digest == known.digest


def test_a_table_of_what_has_moved_meanwhile_is_drawn_up_again(
    store: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed, it would stand under the digest of a state that it does not show, for good."""
    score = f"random/score_{setting('digits').students[0]}"
    gather, moves = leaderboard.gather, []

    def moving(files, namespace):
        found = gather(files, namespace)
        if moves:
            store.write_reference(namespace, of(score, "digits|1", moves.pop() * 64))
        return found

    monkeypatch.setattr(leaderboard, "gather", moving)
    engine = Engine(store, RawData(str(tmp_path)), Compute(device="cpu", workers=1))
    moves[:] = ["b", "a"]
    made = leaderboard.current(engine, SPACE)
    assert made.recipe_digest == leaderboard.plan(store, SPACE).digest
    assert moves == []
    assert engine.tally.computed == [leaderboard.plan(store, SPACE)]
    moves[:] = ["c", "d", "e", "f"]
    with pytest.raises(leaderboard.MovedError, match=r"scores were written while it was drawn up → run it again"):
        leaderboard.current(engine, "another")
