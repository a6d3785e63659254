"""Leases when sixteen processes want the same one at the same moment, on a folder and on S3."""

from __future__ import annotations

import pytest

from dd_resources import leases
from dd_resources.leases import Watcher, acquire, newest
from dd_resources.store import ArtefactStore
from tests.resources.samples import race

RECIPE = "r" * 64


def test_of_sixteen_takers_of_a_free_lease_one_gets_it(store: ArtefactStore) -> None:
    outcomes = race(store, lambda opened, number: acquire(opened, RECIPE) is not None)
    assert sum(outcomes.values()) == 1
    assert newest(store, RECIPE) == 1


def test_of_sixteen_takers_over_of_a_dead_lease_one_gets_it(store: ArtefactStore) -> None:
    assert acquire(store, RECIPE) is not None
    outcomes = race(store, lambda opened, number: acquire(opened, RECIPE, dead=1) is not None)
    assert sum(outcomes.values()) == 1
    assert newest(store, RECIPE) == 2


def test_a_lease_beats_is_watched_and_given_back(store: ArtefactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_machine", lambda: "")
    watcher, seconds = Watcher(store, 2.0), 2.0
    lease = acquire(store, RECIPE, seconds=seconds)
    assert lease is not None
    with lease:
        states, bodies = set(), set()
        while len(bodies) < 7:
            states.add(watcher.look(RECIPE).state)
            bodies.add(store.read_or_none(f"lease/{RECIPE}/1"))
        assert states == {"held"}
    assert watcher.look(RECIPE).state == "free"
