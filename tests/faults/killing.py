"""A command killed with -9 while it computes, and what was computed how often.

Belongs here: starting `dd-assets sync` under counted_sync.py, killing it at a moment of its work, reading the store.
Does not belong: assertions.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]


@dataclass(frozen=True)
class Command:
    """`dd-assets sync` of some assets in one partition of a settings file beside this module."""

    settings: str
    selection: str
    partition: str

    def start(self, root: Path, workers: int = 2) -> subprocess.Popen[bytes]:
        """The command in its own process group, on as many cores as it may have workers."""
        (root / "work").mkdir(parents=True, exist_ok=True)
        env = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
        env |= {
            "DD_STORE": str(root / "store"),
            "DAGSTER_HOME": str(root / "home"),
            "DD_DATASETS": str(HERE / self.settings),
            "DD_TEST_WORK": str(root / "work"),
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
        }
        counted = [sys.executable, str(HERE / "counted_sync.py"), "sync"]
        command = [*counted, "--select", self.selection, "--partition", self.partition]
        cores = sorted(os.sched_getaffinity(0))
        with (root / "log").open("ab") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        os.sched_setaffinity(process.pid, cores[:workers])
        return process

    def whole(self, root: Path, workers: int = 2) -> float:
        """Run to the end; CPU-seconds from the first iteration on. AssertionError with the log's end if it fails."""
        process = self.start(root, workers)
        begun = used = _at_work(process, root)
        deadline = time.monotonic() + 900
        while process.poll() is None and time.monotonic() < deadline:
            used = max(used, _cpu_seconds(process.pid))
            time.sleep(0.02)
        assert process.poll() == 0, (root / "log").read_text()[-2000:]
        return used - begun

    def attempt(self, root: Path, seconds: float, workers: int) -> set[str] | None:
        """Let it compute so long (CPU-seconds, so that other work on the machine moves no kill) after the first
        iteration, then kill -9; the units it was at, or None if it had ended."""
        before = iterations(root) if (root / "work").is_dir() else {}
        process = self.start(root, workers)
        begun = _at_work(process, root, before)
        while process.poll() is None and _cpu_seconds(process.pid) < begun + seconds:
            time.sleep(0.02)
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


def _at_work(process: subprocess.Popen[bytes], root: Path, before: Mapping[str, int] = MappingProxyType({})) -> float:
    """Wait for the first iteration; the CPU-seconds used until then."""
    while process.poll() is None and iterations(root) == before:
        time.sleep(0.02)
    return _cpu_seconds(process.pid)


def _cpu_seconds(process: int) -> float:
    """What a process and its descendants have used; of one that has ended 0."""
    try:
        own = psutil.Process(process)
        times = [own.cpu_times(), *(child.cpu_times() for child in own.children(recursive=True))]
    except psutil.Error:
        return 0.0
    # Those of descendants that have ended are their parents' `children_…`.
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


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
    """The kind of a unit's name in `iterations`."""
    return unit.rsplit("-", 1)[0]


def kinds_of(hits: dict[Path, Counter[str]]) -> Counter[str]:
    """How often a unit of each kind was being computed when a kill came."""
    return Counter(kind_of(unit) for counted in hits.values() for unit in counted.elements())
