"""What checkpoints tell of their cost without being loaded, and what the plan makes of it."""

from __future__ import annotations

import dataclasses
import json
import struct
import time

import numpy as np
import pytest

from dd_assets.planning.checkpoints import (
    SPENT,
    Meter,
    StoreCheckpoints,
    area_of,
    checkpoint_path,
    seconds_held,
)
from dd_assets.planning.engine import Engine
from dd_assets.planning.plan import Planner, Row
from dd_resources.injection import NAMESPACE
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore, manifest_bytes, manifest_path
from tests.planning.tiny import Tiny

SCORE = ("noise/score_convnet2_w64", "tiny|2")


def save(store: ArtefactStore, area: str, wall: float) -> None:
    now = (time.perf_counter(), time.process_time())
    state = {"weights": np.arange(5000, dtype=np.float32), "a": np.array(3, dtype=np.uint8)}
    StoreCheckpoints(store, area, Meter(earlier=(wall, wall / 2), began=now)).save(state)


def held(store: ArtefactStore) -> list[float]:
    return [seconds_held(store, entry) for entry in store.entries("work")]


def test_the_wall_seconds_are_read_beside_arrays_of_any_kind(store: ArtefactStore) -> None:
    save(store, "area", 7200.0)
    assert held(store) == pytest.approx([7200.0], abs=1.0)


HEADER = {SPENT: {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}


def framed(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[[",
        framed([1]),
        framed({}),
        framed({SPENT: {"data_offsets": [0, 2**40]}}, bytes(16)),
        framed({SPENT: {"data_offsets": [-16, 0]}}, bytes(16)),
        framed({SPENT: {"data_offsets": [0, 8]}}, bytes(16)),
        framed({SPENT: {"data_offsets": "ab"}}, bytes(16)),
        framed({SPENT: 3}, bytes(16)),
        framed(HEADER, bytes(15)),
        framed(HEADER, struct.pack("<2d", float("nan"), 1.0)),
        framed(HEADER, struct.pack("<2d", -5.0, 1.0)),
    ],
)
def test_a_damaged_one_holds_nothing(store: ArtefactStore, data: bytes) -> None:
    store.replace(checkpoint_path("area"), data)
    assert held(store) == [0.0]


def test_one_that_goes_after_it_was_listed_holds_nothing(store: ArtefactStore) -> None:
    save(store, "area", 7200.0)
    (entry,) = store.entries("work")
    StoreCheckpoints(store, "area").clear()
    assert seconds_held(store, entry) == 0.0


def test_the_plan_takes_off_what_the_checkpoints_of_missing_units_hold(tiny: Tiny) -> None:
    def row() -> Row:
        return Planner(Engine(tiny.store, RawData(str(tiny.data)), look_only=True), NAMESPACE).visit(SCORE)

    reference = tiny.store.read_reference(NAMESPACE, *SCORE)
    assert reference is not None
    stored = [found for digest in reference.units.values() if (found := tiny.store.lookup(digest)) is not None]
    for found in stored:
        dear = dataclasses.replace(found, measurements={**found.measurements, "seconds": 1000.0})
        tiny.store.replace(manifest_path(found.recipe_digest), manifest_bytes(dear))
    gone, kept, *_ = stored
    # A finished unit's area counts for nothing: that unit is not to be computed.
    save(tiny.store, area_of(kept.recipe), 3600.0)
    tiny.store.discard(gone)
    before = row()
    assert before.seconds_estimate is not None
    assert before.seconds_estimate > 100
    assert before.reason == "1 of its units is gone from the store"

    save(tiny.store, area_of(gone.recipe), before.seconds_estimate / 4)
    after = row()
    assert after.seconds_estimate == pytest.approx(before.seconds_estimate * 3 / 4, abs=0.2)
    assert after.bytes_estimate == before.bytes_estimate
    assert ", of which checkpoints hold " in after.reason

    save(tiny.store, area_of(gone.recipe), 7200.0)
    assert row().seconds_estimate == 0.0
    assert row().reason == f"{before.reason}, of which checkpoints hold 2 h 00 min"
