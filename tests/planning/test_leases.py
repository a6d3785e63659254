"""Leases and device locks: who computes, who waits, who takes over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dd_assets.errors import InputError
from dd_resources import leases
from dd_resources.device_locks import claim
from dd_resources.leases import Watcher, acquire, lease_facts, leased_recipes, newest
from dd_resources.store import ArtefactStore

RECIPE = "r" * 64


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holders look as if they ran on another machine, where only the heartbeat tells."""
    monkeypatch.setattr(leases, "_machine", lambda: "")


def _until(condition, seconds: float = 10.0) -> float:
    """Seconds until the condition held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - started


def test_one_holder_at_a_time_and_free_again_after_it(store: ArtefactStore) -> None:
    first = acquire(store, RECIPE, facts={"label": "teacher"}, seconds=5)
    assert first is not None
    with first:
        assert acquire(store, RECIPE) is None
        assert acquire(store, "s" * 64) is not None
        assert lease_facts(store, RECIPE)["label"] == "teacher"
        assert leased_recipes(store) == [RECIPE, "s" * 64]
    assert newest(store, RECIPE) == 0
    assert acquire(store, RECIPE) is not None


def test_a_failing_computation_gives_its_lease_back(store: ArtefactStore) -> None:
    with pytest.raises(ValueError, match="boom"), acquire(store, RECIPE) as _:  # type: ignore[union-attr]
        raise ValueError("boom")
    assert newest(store, RECIPE) == 0


def test_a_beating_lease_outlives_the_timeout(store: ArtefactStore, elsewhere: None) -> None:
    watcher = Watcher(store, 0.4)
    with acquire(store, RECIPE, seconds=0.4):  # type: ignore[union-attr]
        ending = time.monotonic() + 1.2
        while time.monotonic() < ending:
            assert watcher.look(RECIPE).state == "held"
            time.sleep(0.05)
    assert watcher.look(RECIPE).state == "free"


def test_a_silent_lease_is_dead_after_the_watchers_own_time_and_the_next_number_takes_over(
    store: ArtefactStore, elsewhere: None
) -> None:
    # Never entered, so it does not beat.
    assert acquire(store, RECIPE) is not None
    watcher = Watcher(store, 0.3)
    assert watcher.look(RECIPE).state == "held"
    assert _until(lambda: watcher.look(RECIPE).state == "dead") >= 0.25
    # Somebody who has just arrived has seen nothing yet, whatever the file's age.
    assert Watcher(store, 0.3).look(RECIPE).state == "held"
    taken = acquire(store, RECIPE, dead=1)
    assert taken is not None
    assert taken.number == 2
    assert acquire(store, RECIPE, dead=1) is None, "a second taker found the first one's lease"
    with taken:
        assert watcher.look(RECIPE).state == "held"
    assert newest(store, RECIPE) == 0, "the dead lease was left behind"


def test_a_holder_that_wakes_up_keeps_its_number_and_does_not_disturb_its_successor(
    store: ArtefactStore, elsewhere: None
) -> None:
    sleeper = acquire(store, RECIPE, seconds=0.2)
    successor = acquire(store, RECIPE, dead=1, seconds=0.2)
    assert sleeper is not None
    assert successor is not None
    with successor:
        with sleeper:
            time.sleep(0.1)
        assert newest(store, RECIPE) == 2
        assert acquire(store, RECIPE, dead=1) is None


def test_a_lease_written_by_a_request_that_was_repeated_is_ones_own(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.put_if_absent

    def answer_lost(relative: str, data: bytes) -> bool:
        real(relative, data)
        return real(relative, data)

    monkeypatch.setattr(store, "put_if_absent", answer_lost)
    assert acquire(store, RECIPE) is not None


def _hold(root: str, beating: bool) -> None:
    lease = acquire(ArtefactStore(root), RECIPE, seconds=60)
    assert lease is not None
    if beating:
        lease.__enter__()
    time.sleep(60)


def test_a_killed_holder_on_this_machine_is_seen_at_once(store: ArtefactStore) -> None:
    holder = multiprocessing.get_context("fork").Process(target=_hold, args=(store.root, True))
    holder.start()
    watcher = Watcher(store, 60)
    _until(lambda: watcher.look(RECIPE).state == "held")
    os.kill(holder.pid, signal.SIGKILL)
    # Not yet reaped: a zombie has an entry in /proc still.
    assert _until(lambda: watcher.look(RECIPE).state == "dead") < 2
    holder.join()
    assert watcher.look(RECIPE).state == "dead"


def test_a_process_number_used_again_is_not_the_holder(store: ArtefactStore) -> None:
    assert acquire(store, RECIPE) is not None
    facts = lease_facts(store, RECIPE)
    store.replace(f"lease/{RECIPE}/1", leases._body({**facts, "started": "1"}, 0))
    assert Watcher(store, 60).look(RECIPE).state == "dead"


def test_a_stopped_clock_elsewhere_does_not_matter(store: ArtefactStore, elsewhere: None) -> None:
    os.utime(store.root, (0, 0))
    assert acquire(store, RECIPE) is not None
    os.utime(Path(store.root, "lease", RECIPE, "1"), (0, 0))
    assert Watcher(store, 5).look(RECIPE).state == "held", "a file's age would call it dead"


# Device locks ------------------------------------------------------------------------------------------------------


def test_a_processor_needs_no_lock(tmp_path: Path) -> None:
    with claim("cpu", folder=tmp_path / "absent") as one, claim("cpu", folder=tmp_path / "absent") as two:
        assert (one, two) == ("cpu", "cpu")


def test_each_claim_gets_a_device_of_its_own_and_gives_it_back(tmp_path: Path) -> None:
    def names() -> list[str]:
        return ["GPU-a/1", "GPU-b"]

    with claim("fake", names=names, folder=tmp_path) as one:
        with claim("fake", names=names, folder=tmp_path) as two:
            assert (one, two) == ("fake:0", "fake:1")
        with claim("fake:1", names=names, folder=tmp_path) as again:
            assert again == "fake:1"
    with claim("fake", names=names, folder=tmp_path) as first:
        assert first == "fake:0"


def test_a_cancelled_computation_frees_its_device(tmp_path: Path) -> None:
    """Dagster cancels by raising inside the computation; the exception is not an `Exception`."""
    with pytest.raises(KeyboardInterrupt), claim("fake:0", names=lambda: ["GPU-a"], folder=tmp_path):
        raise KeyboardInterrupt
    said: list[str] = []
    with claim("fake:0", said.append, names=lambda: ["GPU-a"], folder=tmp_path) as got:
        assert (got, said) == ("fake:0", [])


def test_a_device_has_one_lock_by_whatever_index_it_is_seen(tmp_path: Path) -> None:
    said: list[str] = []
    with claim("fake:0", names=lambda: ["GPU-b"], folder=tmp_path):
        # The other process sees two devices, of which the second is the taken one.
        with claim("fake", names=lambda: ["GPU-a", "GPU-b"], folder=tmp_path) as got:
            assert got == "fake:0"
        blocked = threading.Thread(target=lambda: _claim_and_leave(tmp_path, said), daemon=True)
        blocked.start()
        _until(lambda: bool(said))
        assert blocked.is_alive()
    blocked.join(10)
    assert not blocked.is_alive()
    assert said == [f"waiting for a device: fake:1 (held by process {os.getpid()})"]


def _claim_and_leave(folder: Path, said: list[str]) -> None:
    with claim("fake:1", said.append, names=lambda: ["GPU-a", "GPU-b"], folder=folder):
        pass


@pytest.mark.parametrize("device", ["fake", "fake:0", "fake:one"])
def test_a_device_that_is_not_there_is_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device"), claim(device, names=lambda: [], folder=tmp_path):
        pass


def _hold_device(folder: Path) -> None:
    with claim("fake", names=lambda: ["GPU-a"], folder=folder):
        time.sleep(60)


def test_a_killed_holder_frees_its_device_at_once(tmp_path: Path) -> None:
    holder = multiprocessing.get_context("fork").Process(target=_hold_device, args=(tmp_path,))
    holder.start()
    lock = tmp_path / "fake-GPU-a.lock"
    _until(lambda: lock.exists() and lock.read_text() == f"process {holder.pid}")
    said: list[str] = []
    threading.Timer(0.3, os.kill, (holder.pid, signal.SIGKILL)).start()
    started = time.monotonic()
    with claim("fake", said.append, names=lambda: ["GPU-a"], folder=tmp_path):
        waited = time.monotonic() - started
    holder.join()
    assert 0.2 < waited < 3
    assert len(said) == 1
