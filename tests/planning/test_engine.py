"""The engine with real processes: computed once, waited for, taken over, resumed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from dd_assets.errors import DDError, InputError
from dd_assets.planning import engine as engine_module
from dd_assets.planning.checkpoints import Meter
from dd_assets.planning.engine import Engine, StoreCheckpoints, Task, Work, execute
from dd_assets.planning.unit import Product, Unit
from dd_assets.units import kinds
from dd_resources import leases
from dd_resources.compute import Compute
from dd_resources.leases import acquire, leased_recipes
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.planning import counting
from tests.planning.counting import Job, job_unit, start, steps_logged


@pytest.fixture(autouse=True)
def _counting_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "kinds", counting.table)


def job(tmp_path: Path, **fields) -> Job:
    """A job on a store that does not exist yet."""
    return Job(store=str(tmp_path / "store"), log=str(tmp_path / "log"), **fields)


def engine(store: ArtefactStore, **fields) -> Engine:
    """An engine in this process, with what it says in `engine.said`."""
    said: list[str] = []
    made = Engine(store, RawData(), Compute(device="cpu"), announce=said.append, **fields)
    made.said = said  # type: ignore[attr-defined]
    return made


def _wait_for_steps(log: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(steps_logged(log)) < count:
        assert time.monotonic() < deadline, "the process did not begin"
        time.sleep(0.005)


def _run_two_at_once(wanted: Job) -> list[str]:
    """Standard outputs of two processes that are ready before either begins."""
    processes = [start(wanted), start(wanted)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    Path(wanted.start_file).touch()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [output for output, _ in outputs]


def test_two_processes_started_together_compute_once_and_the_other_says_that_it_waits(tmp_path: Path) -> None:
    wanted = job(tmp_path, steps=15, pause=0.1, start_file=str(tmp_path / "begin"))
    outputs = _run_two_at_once(wanted)
    lines = [output.strip().splitlines() for output in outputs]
    assert sorted(line[-1].split()[1] for line in lines) == ["0", "1"]
    assert len({line[-1].split()[3] for line in lines}) == 1
    steps = steps_logged(tmp_path / "log")
    assert [step for _, step in steps] == list(range(15)), "the heavy function ran more than once"
    waiter = next(line for line in lines if line[-1].startswith("computed 0"))
    worker = next(line for line in lines if line[-1].startswith("computed 1"))
    said = [line for line in waiter if line.startswith("waiting for counting 0: being computed by")]
    assert len(said) == 1
    assert said[0].endswith(f"process {steps[0][0]}")
    assert not any(line.startswith("waiting") for line in worker)
    store = ArtefactStore(wanted.store)
    assert len(store.list("manifests")) == len(store.list("payloads")) == 1
    assert store.list("lease") == store.list("work") == []


@pytest.mark.slow
def test_without_leases_two_processes_still_make_one_artefact(tmp_path: Path) -> None:
    wanted = job(tmp_path, steps=8, pause=0.1, leases=False, start_file=str(tmp_path / "begin"))
    outputs = _run_two_at_once(wanted)
    assert len({process for process, _ in steps_logged(tmp_path / "log")}) == 2, "nobody raced"
    assert len({output.strip().splitlines()[-1].split()[3] for output in outputs}) == 1
    store = ArtefactStore(wanted.store)
    assert len(store.list("manifests")) == len(store.list("payloads")) == 1


@pytest.mark.parametrize("same_machine", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_killed_holder_is_taken_over_and_resumed_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_machine: bool
) -> None:
    if not same_machine:
        monkeypatch.setattr(leases, "_machine", lambda: "another machine")
    log = tmp_path / "log"
    seconds = 60.0 if same_machine else 1.0
    wanted = job(tmp_path, steps=20, pause=0.03, every=5, lease_seconds=seconds)
    killed = start(wanted)
    _wait_for_steps(log, 13)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    before = len(steps_logged(log))
    store = ArtefactStore(wanted.store)
    assert leased_recipes(store) == [job_unit(wanted).digest], "the killed process had no lease to leave behind"
    second = engine(store, lease_seconds=seconds)
    started = time.monotonic()
    (manifest,) = second.run([job_unit(wanted)])
    took = time.monotonic() - started
    steps = [step for _, step in steps_logged(log)]
    resumed = steps[before]
    assert resumed >= 10
    assert resumed % 5 == 0
    assert len(steps) - 20 <= 5, "more than one checkpoint interval was repeated"
    assert steps[before:] == list(range(resumed, 20))
    assert manifest.summary["total"] == sum(step * step for step in range(20))
    said = second.said  # type: ignore[attr-defined]
    assert any(line.startswith("taking over counting 0") for line in said)
    assert any(line.startswith("waiting for") for line in said) is not same_machine
    assert took < 30 if same_machine else took > 0.9
    assert store.list("lease") == store.list("work") == []


@pytest.mark.slow
def test_a_holder_that_is_only_slow_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 2.4 seconds of work against a timeout of 0.6: without heartbeats it would be taken over four times.
    wanted = job(tmp_path, steps=8, pause=0.3, lease_seconds=0.6)
    holder = start(wanted)
    _wait_for_steps(tmp_path / "log", 1)
    monkeypatch.setattr(leases, "_machine", lambda: "another machine")
    waiting = engine(ArtefactStore(wanted.store), lease_seconds=0.6)
    waiting.run([job_unit(wanted)])
    holder.communicate(timeout=30)
    assert len(waiting.tally.reused) == 1
    assert len({process for process, _ in steps_logged(tmp_path / "log")}) == 1


def test_units_that_nobody_computes_are_done_before_waiting_for_the_others(
    store: ArtefactStore, tmp_path: Path
) -> None:
    wanted = [counting.unit(seed, log=str(tmp_path / f"log{seed}"), steps=1, pause=0, every=9) for seed in range(3)]
    held = acquire(store, wanted[0].digest, seconds=5)
    assert held is not None
    runner = engine(store, lease_seconds=5)

    def somebody_commits(line: str) -> None:
        runner.said.append(line)  # type: ignore[attr-defined]
        if line.startswith("waiting for counting 0"):
            assert all((tmp_path / f"log{seed}").exists() for seed in (1, 2))
            execute(Task(unit=wanted[0], store=store, raw=RawData(), device="cpu", leases=False))

    runner.announce = somebody_commits
    with held:
        manifests = runner.run(wanted)
    assert [manifest.recipe["seed"] for manifest in manifests] == [0, 1, 2]
    assert [unit.seed for unit in runner.tally.computed] == [1, 2]
    assert [unit.seed for unit in runner.tally.reused] == [0]


def test_a_result_committed_between_the_look_and_the_lease_is_not_computed_again(
    store: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = counting.unit(log=str(tmp_path / "log"), steps=1, pause=0, every=9)
    task = Task(unit=wanted, store=store, raw=RawData(), device="cpu")

    def late(*args, **fields):
        execute(Task(unit=wanted, store=store, raw=RawData(), device="cpu", leases=False))
        return acquire(*args, **fields)

    monkeypatch.setattr(engine_module, "acquire", late)
    outcome = execute(task)
    assert outcome is not None
    assert outcome[1] is False
    assert len(steps_logged(tmp_path / "log")) == 1
    assert store.list("lease") == []


def test_a_failure_gives_the_lease_back_and_keeps_the_checkpoint(store: ArtefactStore, tmp_path: Path) -> None:
    # The log file cannot be written: its folder does not exist.
    broken = counting.unit(log=str(tmp_path / "absent" / "log"), steps=1, pause=0, every=9)
    StoreCheckpoints(store, broken.digest).save({"step": 0, "total": 0})
    with pytest.raises(FileNotFoundError):
        engine(store).run([broken])
    assert store.list("lease") == []
    assert len(store.list("work")) == 1


def test_what_a_killed_attempt_cost_up_to_its_checkpoint_is_counted(store: ArtefactStore, tmp_path: Path) -> None:
    resumed = counting.unit(log=str(tmp_path / "log"), steps=4, pause=0, every=9)
    began = (time.perf_counter() - 1000, time.process_time() - 400)
    state = {"step": np.array(3), "total": np.array(5)}
    StoreCheckpoints(store, resumed.digest, Meter(began=began)).save(state)
    assert StoreCheckpoints(store, resumed.digest).load() == state, "the unit gets its own arrays alone"
    (made,) = engine(store).run([resumed])
    assert steps_logged(tmp_path / "log") == [(os.getpid(), 3)]
    # The last attempt alone took far below a second.
    assert 1000 <= made.measurements["seconds"] < 1060
    assert 400 <= made.measurements["cpu_seconds"] < 460


def test_a_device_is_claimed_on_a_miss_only(
    store: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextlib

    claims: list[str] = []

    @contextlib.contextmanager
    def claim(device: str, announce):
        claims.append(device)
        announce("waiting for a device: cuda:0")
        yield "cuda:7"

    monkeypatch.setattr(engine_module, "claim", claim)
    wanted = counting.unit(log=str(tmp_path / "log"), steps=1, pause=0, every=9)
    first = Engine(store, RawData(), Compute(device="cuda"))
    said: list[str] = []
    first.announce = said.append
    (manifest,) = first.run([wanted])
    assert manifest.measurements["device"] == "cuda:7"
    assert said[0] == "waiting for a device: cuda:0"
    Engine(store, RawData(), Compute(device="cuda")).run([wanted])
    assert claims == ["cuda"]


def test_a_unit_that_ends_its_holders_is_given_up_by_name(
    store: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every holder dies at once, as a worker does for lack of memory; without an end the run would feed it for ever."""
    wanted, taken = counting.unit(log=str(tmp_path / "log"), steps=1, pause=0, every=9), []

    def dies(task: Task) -> None:
        facts = {"host": "elsewhere", "process": 1}
        held = acquire(task.store, task.unit.digest, dead=task.dead_lease, facts=facts, seconds=0.1)
        assert held is not None
        taken.append(held.number)

    monkeypatch.setattr(engine_module, "execute", dies)
    with pytest.raises(DDError, match=r"counting 0 was lost 6 times.*DD_STEP_MEMORY_GB"):
        engine(store, lease_seconds=0.1).run([wanted])
    assert taken == [1, 2, 3, 4, 5, 6]


def test_an_input_is_what_was_planned_or_refused(tmp_path: Path) -> None:
    store = ArtefactStore(str(tmp_path / "store")).open()
    upstream = Unit(name="teacher", version=1, parameters={}, inputs={})
    made = store.commit(upstream, Product(content="c" * 64, payloads={"w": b"weights"}), {})
    planned = {"inputs": {"teacher": made.content}, "sources": {"teacher": made.recipe_digest}}
    unit = Unit(name="labels", version=1, parameters={}, label="labels digits|1", **planned)  # type: ignore[arg-type]
    work = Work(store=store, raw=RawData(), device="cpu", unit=unit)
    assert work.input("teacher") == made
    assert work.input_bytes("teacher", "w") == b"weights"
    store.discard(made)
    with pytest.raises(
        InputError, match=rf"labels digits\|1: its input teacher \(recipe {made.recipe_digest[:12]}, .* no"
    ):
        work.input("teacher")
    # Computed anew on another machine, whose result has other bits.
    store.commit(upstream, Product(content="d" * 64, payloads={"w": b"others"}), {})
    with pytest.raises(InputError, match=r"content cccccccccccc\) is now dddddddddddd → run the same command again"):
        work.input_bytes("teacher", "w")
