"""Mapping over worker processes: when the caller goes, they go too, and give back what they hold."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dd_assets.errors import InputError, MachineError
from dd_resources import compute
from dd_resources.compute import Compute
from dd_resources.injection import default_compute
from dd_resources.leases import acquire, leased_recipes
from dd_resources.store import ArtefactStore

TWO = Compute(device="cpu", workers=2)


def slowly(item: tuple[str, int]) -> int:
    """Take a lease, note the beginning, then be busy for ten seconds."""
    root, number = item
    store = ArtefactStore(f"{root}/store").open()
    lease = acquire(store, f"recipe{number}")
    assert lease is not None
    with lease:
        # Whole at once: others look for it.
        Path(root, f".{number}").write_text(str(os.getpid()))
        Path(root, f".{number}").rename(Path(root, f"begun{number}"))
        deadline = time.monotonic() + (10 if number else 0.2)
        while time.monotonic() < deadline:
            time.sleep(0.01)
    return number


def begun(root: Path) -> set[int]:
    """Numbers of the pieces that began."""
    return {int(path.name.removeprefix("begun")) for path in root.glob("begun*")}


def alive(process: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, pytest.param(GeneratorExit, marks=pytest.mark.slow)])
def test_an_abandoned_map_ends_its_workers_and_their_leases(tmp_path: Path, interruption: type[BaseException]) -> None:
    pieces = [(str(tmp_path), number) for number in range(5)]
    outcomes = TWO.map(slowly, pieces)
    assert next(outcomes) == (0, 0)
    deadline = time.monotonic() + 20
    while len(begun(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = {int((tmp_path / f"begun{number}").read_text()) for number in begun(tmp_path)}
    assert len(workers) == 2
    started = time.monotonic()
    # What cancelling a Dagster run does: the exception is raised in the process that waits.
    if interruption is GeneratorExit:
        outcomes.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            outcomes.throw(KeyboardInterrupt())
    assert time.monotonic() - started < compute.GRACE_SECONDS, "workers had to be killed"
    time.sleep(0.3)
    assert not any(map(alive, workers)), "somebody computes on for nobody"
    assert begun(tmp_path) == {0, 1, 2}, "a piece that was queued began"
    assert leased_recipes(ArtefactStore(f"{tmp_path}/store")) == []


def give_back_slowly(root: Path, parent: int) -> None:
    """A worker that is busy until it is told to end, and takes half a second to give back what it holds."""
    compute._begin_worker(1, parent)
    try:
        (root / "begun").touch()
        time.sleep(30)
    finally:
        (root / "ending").touch()
        time.sleep(0.5)
        (root / "ended").touch()


def test_a_worker_told_to_end_twice_gives_back_what_it_holds(tmp_path: Path) -> None:
    """The executor tells all its workers to end when one has ended, whoever told that one."""
    worker = multiprocessing.get_context("spawn").Process(target=give_back_slowly, args=(tmp_path, os.getpid()))
    worker.start()
    for stage in ("begun", "ending"):
        deadline = time.monotonic() + 60
        while not (tmp_path / stage).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGTERM)
    worker.join()
    assert (tmp_path / "ended").exists()
    assert worker.exitcode == compute.ENDED


def square(number: int) -> int:
    """A piece of no duration."""
    return number * number


@pytest.mark.slow
def test_the_next_map_starts_new_workers() -> None:
    outcomes = TWO.map(square, [1, 2, 3])
    next(outcomes)
    outcomes.close()
    assert sorted(TWO.map(square, [1, 2, 3])) == [(0, 1), (1, 4), (2, 9)]
    compute.close_pools()


def process_of(item: tuple[str, int]) -> int:
    """The process that works on it, once both pieces have begun or after half a minute."""
    root, number = item
    Path(root, f"begun{number}").touch()
    deadline = time.monotonic() + 30
    while len(begun(Path(root))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.getpid()


def own(item: int) -> int:
    """The process that works on it."""
    return os.getpid()


def test_teachers_go_side_by_side_unless_one_alone_gets_more_threads(tmp_path: Path) -> None:
    spread = {found for _, found in TWO.map(process_of, [(str(tmp_path), 0), (str(tmp_path), 1)], exclusive="threads")}
    assert len(spread) == 2
    assert os.getpid() not in spread
    alone = Compute(device="cpu", workers=2, threads=1, exclusive_threads=2)
    assert {found for _, found in alone.map(own, [0, 1], exclusive="threads")} == {os.getpid()}
    assert {found for _, found in TWO.map(own, [0, 1], exclusive=True)} == {os.getpid()}


def slow_number(item: int) -> int:
    """The item, after half a second."""
    time.sleep(0.5)
    return item


def test_whoever_waits_for_pieces_looks_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "LOOK_SECONDS", 0.1)
    looks: list[float] = []
    answers = dict(TWO.map(slow_number, [3, 4], meanwhile=lambda: looks.append(time.monotonic())))
    assert answers == {0: 3, 1: 4}
    assert len(looks) >= 3
    assert min(later - earlier for earlier, later in itertools.pairwise(looks)) >= 0.1


def test_peak_memory_is_this_processes_own() -> None:
    # What getrusage gives a started process is its parent's peak, if that is higher.
    here = bytearray(os.urandom(1 << 20) * 300)
    assert compute.peak_memory() > len(here)
    program = "from dd_resources.compute import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < len(here)


def test_threads_of_work_that_runs_alone_are_the_deployments_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DD_EXCLUSIVE_THREADS", raising=False)
    assert compute.exclusive_threads() == 1
    monkeypatch.setenv("DD_EXCLUSIVE_THREADS", "8")
    assert compute.exclusive_threads() == 8
    assert default_compute().get().exclusive_threads == 8
    for stated in ("two", "0", "-1", "1.5", "²"):
        monkeypatch.setenv("DD_EXCLUSIVE_THREADS", stated)
        with pytest.raises(InputError, match="DD_EXCLUSIVE_THREADS"):
            default_compute()


def killed_at_zero(number: int) -> int:
    """The number, but for zero, whose worker ends as Linux ends one when memory is short."""
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_after_a_worker_was_killed_the_next_map_has_new_ones() -> None:
    with pytest.raises(MachineError, match=r"a worker process was killed, .* memory.* → .*fewer.*same command") as lost:
        list(TWO.map(killed_at_zero, [0, 1, 2]))
    assert "\n" not in str(lost.value)
    assert compute._POOLS == {}
    assert sorted(TWO.map(killed_at_zero, [1, 2])) == [(0, 1), (1, 2)]
    # One that dies between two maps is met when the second hands its pieces out.
    (pool,) = compute._POOLS.values()
    workers = list(pool._processes.values())
    os.kill(workers[0].pid, signal.SIGKILL)
    for worker in workers:
        worker.join(30)
    with pytest.raises(MachineError, match="a worker process was killed"):
        list(TWO.map(killed_at_zero, [1, 2]))
    assert compute._POOLS == {}
