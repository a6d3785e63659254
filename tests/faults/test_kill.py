"""kill -9 at any moment: the same command goes on, ends with the same digests, and repeats little, by count."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
METHODS = ("sre2l", "rded")
SELECTION = ("--select", " or ".join(f'key:"{name}/score_convnet2_w64"' for name in METHODS))
KILLS = 20
KINDS = 4
SAVED_EVERY = {
    # One epoch of 1,438 images in batches of 64.
    "teacher": 23,
    # CHECKPOINT_EVERY of synthesis/recover.py; a shard is 300 iterations.
    "images.sre2l": 100,
    # A tenth of 40 epochs, of two batches each: 80 images, at most 50 in a batch.
    "training": 8,
}
"""Iterations between two saved states; a unit of any other kind is done as a whole or not at all."""


def start(root: Path, workers: int = 2) -> subprocess.Popen[bytes]:
    """The command in its own process group, on as many cores as it may have workers."""
    (root / "work").mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
    env |= {
        "DD_STORE": str(root / "store"),
        "DAGSTER_HOME": str(root / "home"),
        "DD_DATASETS": str(HERE / "kill.yaml"),
        "DD_TEST_WORK": str(root / "work"),
        "PYTHONPATH": str(PROJECT),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(HERE / "counted_sync.py"), "sync", *SELECTION, "--partition", "killed|8"]
    cores = sorted(os.sched_getaffinity(0))
    with (root / "log").open("ab") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    os.sched_setaffinity(process.pid, cores[:workers])
    return process


def iterations(root: Path) -> dict[str, int]:
    """Unit ('<kind>-<recipe>') to the iterations executed for it in all attempts."""
    return {path.name: path.stat().st_size for path in (root / "work").iterdir()}


def results(root: Path) -> dict[str, object]:
    """Asset partition to content digest and units, as the store's references name them."""
    found = {}
    for path in sorted((root / "store" / "references").rglob("*.json")):
        reference = json.loads(path.read_text())
        found[f"{reference['asset']} {reference['partition']}"] = (reference["content"], reference["units"])
    return found


def contents(root: Path) -> dict[str, str]:
    """Recipe digest to content digest of every unit."""
    return {path.stem: json.loads(path.read_text())["content"] for path in (root / "store/manifests").rglob("*.json")}


def kind_of(unit: str) -> str:
    return unit.rsplit("-", 1)[0]


def kinds_of(hits: dict[Path, Counter[str]]) -> Counter[str]:
    """How often a unit of each kind was being computed when a kill came."""
    return Counter(kind_of(unit) for counted in hits.values() for unit in counted.elements())


def calm_run(root: Path) -> float:
    """An undisturbed run; seconds from its first iteration to its end."""
    process = start(root)
    while process.poll() is None and not iterations(root):
        time.sleep(0.02)
    begun = time.monotonic()
    assert process.wait(600) == 0, (root / "log").read_text()[-2000:]
    return time.monotonic() - begun


def attempt(root: Path, seconds: float, workers: int) -> set[str] | None:
    """Run for that long after the first iteration, then kill -9; the units it was at, or None if it had finished."""
    process, before = start(root, workers), iterations(root)
    while process.poll() is None and iterations(root) == before:
        time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    if process.poll() is not None:
        assert process.returncode == 0, (root / "log").read_text()[-2000:]
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Orphaned workers would go on: they end with their parent, which the kernel sees to.
    time.sleep(0.2)
    done = contents(root)
    after = iterations(root)
    return {unit for unit in after if unit.rsplit("-", 1)[1] not in done and after[unit] != before.get(unit)}


@pytest.mark.slow
def test_twenty_kills_end_with_the_digests_of_an_undisturbed_run(tmp_path: Path) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild0"
    duration = calm_run(calm)
    total = iterations(calm)
    shard = {unit: SAVED_EVERY.get(kind_of(unit), total[unit]) for unit in total}

    chance, kills, runs = random.Random(20261121), 0, [wild]
    hits: dict[Path, Counter[str]] = {wild: Counter()}
    while kills < KILLS or (len(kinds_of(hits)) < KINDS and kills < 2 * KILLS):
        workers = 1 + kills % 2
        # Uniform over the work itself: starting Python and Dagster takes as long again and holds nothing to lose.
        at_work = attempt(wild, chance.uniform(0.0, duration / 10), workers)
        if at_work is None:
            # All was done before the kill: begin anew, keeping the count of kills.
            wild = tmp_path / f"wild{len(runs)}"
            runs.append(wild)
            hits[wild] = Counter()
            continue
        kills += 1
        assert len(at_work) <= workers, f"{workers} workers were at {at_work}"
        hits[wild].update(at_work)
    assert start(wild).wait(600) == 0, (wild / "log").read_text()[-2000:]

    for root in runs:
        assert results(root) == results(calm)
        assert contents(root) == contents(calm)
        executed = iterations(root)
        assert executed.keys() == total.keys()
        for unit, count in executed.items():
            assert total[unit] <= count <= total[unit] + hits[root][unit] * shard[unit], (unit, count, hits[root][unit])
        assert not list((root / "store" / "work").rglob("*.safetensors"))
        with dg.DagsterInstance.from_config(str(root / "home")) as instance:
            assert not instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])), (
                "a dead run is unmarked"
            )
    repeated = sum(sum(iterations(root).values()) - sum(total.values()) for root in runs)
    kinds = kinds_of(hits)
    print(
        f"{kills} kills at {dict(kinds)}: {repeated} iterations repeated, {sum(total.values())} in an undisturbed run"
    )
    assert len(kinds) >= KINDS, kinds
