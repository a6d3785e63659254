"""How far a unit is: what it tells, what others read of it, what is said and shown."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.progress import Progress

from dd_assets.cli import main
from dd_assets.planning import engine as engine_module
from dd_assets.planning import underway
from dd_assets.planning.checkpoints import Meter
from dd_assets.planning.engine import Engine
from dd_assets.planning.underway import Lines, Report, Underway, all_underway, told
from dd_assets.planning.unit import Unit
from dd_assets.terminal import _Bars
from dd_assets.units import kinds
from dd_resources.compute import Compute
from dd_resources.leases import acquire, lease_facts
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.planning import counting
from tests.planning.counting import Job, job_unit, start
from tests.planning.tiny import Tiny

PROJECT = Path(__file__).resolve().parents[2]
RECIPE = "r" * 64
TOLD = {"step": 3, "total": 16, "figures": {"loss": 1.0312, "test_accuracy": 0.5}, "seconds": 840.0, "left": 3640.0}
FACTS = {"label": "teacher cifar10_r18", "progress": TOLD}


class Clock(Meter):
    """A meter that stands where it is put."""

    at: float = 0.0

    def spent(self) -> tuple[float, float]:
        return self.at, self.at


def report(clock: Clock) -> Report:
    """Of a unit called 'counting 0'."""
    return Report(counting.unit(), clock)


def left_at(made: Report, clock: Clock, seconds: float, step: int, total: int) -> float | None:
    """What is left when this is told at that time."""
    clock.at = seconds
    made(step, total)
    assert made.now is not None
    return made.now.left


def test_what_is_left_goes_by_the_pace_until_now() -> None:
    clock = Clock()
    made = report(clock)
    assert left_at(made, clock, 10.0, 1, 10) == 90.0
    assert left_at(made, clock, 30.0, 4, 10) == 45.0
    assert left_at(made, clock, 80.0, 10, 10) == 0.0


def test_another_part_has_its_own_pace() -> None:
    clock = Clock()
    made = report(clock)
    left_at(made, clock, 100.0, 5, 5)
    assert left_at(made, clock, 102.0, 1, 50) == 98.0
    # As many steps as the part before, told from the beginning again.
    assert left_at(made, clock, 152.0, 50, 50) == 0.0
    assert left_at(made, clock, 156.0, 2, 50) == 96.0


def test_a_restarted_unit_has_no_pace_at_its_first_step() -> None:
    """The checkpoint may lie in any part, so that what came before it says nothing of this one."""
    clock = Clock(earlier=(1000.0, 1000.0))
    made = report(clock)
    assert left_at(made, clock, 1010.0, 20, 40) is None
    assert left_at(made, clock, 1030.0, 25, 40) == 60.0


def test_a_line_says_steps_figures_and_times() -> None:
    line = "teacher cifar10_r18: 3 of 16, loss 1.031, test accuracy 0.5, 14 min so far, about 1 h 01 min left"
    told = Underway(recipe=RECIPE, label="teacher cifar10_r18", **TOLD)
    assert str(told) == line
    assert (
        str(Underway(recipe=RECIPE, label="teacher", step=1, total=4, seconds=5.0)) == "teacher: 1 of 4, 5.0 s so far"
    )
    assert str(Underway(recipe=RECIPE, label="teacher")) == "teacher: no step told yet"


def test_it_is_read_from_the_lease(store: ArtefactStore) -> None:
    with acquire(store, RECIPE, facts=FACTS, seconds=60) as _:  # type: ignore[union-attr]
        found = told(store, RECIPE)
        assert found == Underway(recipe=RECIPE, label="teacher cifar10_r18", **TOLD)
        assert [(now.step, now.holder.split()[-2]) for now in all_underway(store)] == [(3, "process")]
    assert told(store, RECIPE) is None
    assert all_underway(store) == []


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"[]",
        b'{"progress": 3}',
        b'{"progress": {"step": "x", "total": null, "figures": [1], "seconds": true, "left": 1e999}}',
        b'{"label": 7, "progress": {"figures": {"loss": NaN, "accuracy": "high"}, "left": Infinity}}',
    ],
)
def test_a_lease_that_says_nonsense_has_told_nothing(store: ArtefactStore, body: bytes) -> None:
    store.put_if_absent(f"lease/{RECIPE}/1", body)
    (found,) = all_underway(store)
    assert (found.step, found.total, dict(found.figures), found.seconds, found.left) == (0, 0, {}, 0.0, None)
    assert "no step told yet" in str(found)


@pytest.fixture
def _counting_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "kinds", counting.table)
    monkeypatch.setattr(underway, "SAY_SECONDS", 0.0)


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Underway] = []

    def finished(self, unit: Unit, done: int, total: int) -> None:
        """Nothing to keep."""

    def underway(self, now: Underway) -> None:
        """Keep it."""
        self.heard.append(now)


def engine(store: ArtefactStore) -> tuple[Engine, list[str]]:
    """An engine of this process, and what it announces."""
    said: list[str] = []
    return Engine(store, RawData(), Compute(device="cpu"), announce=said.append), said


@pytest.mark.usefixtures("_counting_kind")
def test_what_this_process_computes_is_heard_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    monkeypatch.setattr(engine_module, "LISTENERS", [ear])
    wanted = Job(store=str(tmp_path / "store"), log=str(tmp_path / "log"), steps=20, pause=0.001)
    here, said = engine(ArtefactStore(wanted.store).open())
    here.run([job_unit(wanted)])
    # The mean of the squares below n is (n - 1)(2n - 1) / 6.
    assert [(now.step, now.total, dict(now.figures)) for now in ear.heard] == [
        (5, 20, {"mean": 6.0}),
        (10, 20, {"mean": 28.5}),
        (15, 20, {"mean": pytest.approx(67.6667, abs=1e-4)}),
        (20, 20, {"mean": 123.5}),
    ]
    lines = [line for line in said if line.startswith("computing counting 0: ")]
    assert [line.split(": ")[1].split(",")[0] for line in lines] == ["5 of 20", "10 of 20", "15 of 20"]


def test_a_line_is_due_once_a_minute_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, moments = Lines(), iter([0.0, 1.0, 100.0, 161.0, 230.0, 300.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    said = [
        lines.line(Underway(recipe=RECIPE, label="teacher", step=step, total=5, seconds=seconds)).split(",")[0]
        for step, seconds in ((1, 59.0), (2, 60.0), (3, 159.0), (3, 220.0), (4, 290.0), (5, 360.0))
    ]
    assert said == ["", "computing teacher: 2 of 5", "computing teacher: 3 of 5", "", "computing teacher: 4 of 5", ""]


@pytest.mark.usefixtures("_counting_kind")
def test_what_another_process_computes_is_heard_while_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear()
    monkeypatch.setattr(engine_module, "LISTENERS", [ear])
    monkeypatch.setattr(engine_module, "LOOK_SECONDS", 0.05)
    wanted = Job(store=str(tmp_path / "store"), log=str(tmp_path / "log"), steps=30, pause=0.05, lease_seconds=0.5)
    other = start(wanted)
    store = ArtefactStore(wanted.store)
    deadline = time.monotonic() + 30
    while not all_underway(store):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    here, said = engine(store)
    (manifest,) = here.run([job_unit(wanted)])
    assert manifest.summary["total"] == sum(step * step for step in range(30))
    assert not here.tally.computed
    assert other.wait(30) == 0
    assert ear.heard
    assert {now.total for now in ear.heard} == {30}
    assert any(line.startswith("computing counting 0: ") for line in said)
    assert lease_facts(store, job_unit(wanted).digest) == {}


def test_a_long_unit_has_a_bar_until_it_is_finished() -> None:
    progress = Progress(console=Console(force_terminal=True))
    bars = _Bars(progress)
    made = counting.unit()

    def shown() -> list[tuple[str, float, float | None, str]]:
        return [(task.description, task.completed, task.total, task.fields["told"]) for task in progress.tasks]

    bars.underway(Underway(recipe=made.digest, label="counting 0", step=1, total=9, seconds=9.0))
    assert len(shown()) == 1
    figures = {"test_accuracy": 0.25}
    bars.underway(
        Underway(recipe=made.digest, label="[counting]", step=2, total=9, figures=figures, seconds=18.0, left=63.0)
    )
    assert shown()[1:] == [("[counting]", 2, 9, "test accuracy 0.25, about 1 min 03 s left")]
    bars.finished(made, 1, 3)
    assert shown() == [("counting 0", 1, 3, "")]


def test_a_log_file_has_lines_in_place_of_bars() -> None:
    output = io.StringIO()
    progress = Progress(console=Console(file=output, force_terminal=False, width=30))
    bars = _Bars(progress)
    for step, seconds in ((1, 50.0), (2, 100.0), (3, 101.0)):
        bars.underway(Underway(recipe=RECIPE, label="[teacher]", step=step, total=9, seconds=seconds))
    assert len(progress.tasks) == 1
    assert output.getvalue() == "computing [teacher]: 2 of 9, 1 min 40 s so far\n"


def test_the_bars_are_seen_while_standard_output_is_pointed_elsewhere() -> None:
    """As Dagster does it with the descriptor while a step runs; there the bars stood still."""
    program = """
import os
from dd_assets.terminal import progress_bars
with progress_bars() as say:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print("in the step's log", flush=True)
    say("seen")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "seen"


def test_plan_says_what_is_being_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_STORE", str(tmp_path / "store"))
    store = ArtefactStore(str(tmp_path / "store")).open()
    asked = ["plan", "--select", "dataset", "--partition", "digits"]
    with acquire(store, RECIPE, facts=FACTS, seconds=60) as _:  # type: ignore[union-attr]
        lines = CliRunner().invoke(main, asked).output.strip().splitlines()
        assert lines[-1].startswith("computing teacher cifar10_r18: 3 of 16, loss 1.031")
    assert not CliRunner().invoke(main, asked).output.strip().splitlines()[-1].startswith("computing")


def test_units_tell_how_far_they_are(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    monkeypatch.setattr(engine_module, "LISTENERS", [ear])
    for path in tiny.store.list("manifests"):
        manifest = tiny.store.lookup(path.rsplit("/", 1)[-1].removesuffix(".json"))
        assert manifest is not None
        tiny.store.discard(manifest)
    tiny.make()
    heard = {unit.name.split("/")[0]: now for unit in tiny.computed for now in ear.heard if now.recipe == unit.digest}
    assert {"images", "training"} <= set(heard)
    assert all(now.step == now.total for now in heard.values()), "the last that is told is the end"


def test_no_unit_leaves_out_to_hand_on_where_it_tells() -> None:
    """Each call of a function that has `progress`, in units, gives it the unit's own."""
    told = []
    for path in sorted((PROJECT / "dd_assets" / "units").glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        origins = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func).split(".")
            if name[0] not in origins or len(name) > 2:
                continue
            module, first = origins[name[0]]
            owner = importlib.import_module(module)
            called = getattr(owner, first, None) or importlib.import_module(f"{module}.{first}")
            for further in name[1:]:
                called = getattr(called, further, None)
            if inspect.isfunction(called) and "progress" in inspect.signature(called).parameters:
                told.append(called.__name__)
                assert "work.progress" in ast.unparse(call), f"{path.name}: {ast.unparse(call)}"
    assert {"train_teacher", "train_student", "compute_logits", "train_generator", "train_surrogate"} <= set(told)
