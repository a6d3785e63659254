"""A backfill of many partitions on a real deployment: how the UI answers while the queue drains, and what grows.

Belongs here: one `dagster dev` (webserver, daemon, code server) with two concurrent runs, asked as a browser asks.
Does not belong: what runs compute: every run finds its result in the store, so the load is Dagster's own.

    python -m benchmarks.load --partitions 200 --seconds 900 --out FILE
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.common import report
from tests.dagster_side.service import ENDED, Service
from tests.servers import free_port

ASSET = "dataset"
PROCESSES = {"webserver": "dagster_webserver", "daemon": "dagster._daemon", "code_server": "grpc"}
"""What is watched, by a word of its command line."""
SLICES = 6
"""Rows of the result: stretches of time of the same length."""
PAUSE = 1.0
"""Seconds between two rounds of questions, about what one open page asks."""

RUNS_PAGE = """{ runsOrError(limit: 25) { ... on Runs { results { runId status startTime endTime
  tags { key value } assetSelection { path } } } } }"""
ASSETS_PAGE = "{ assetNodes { id assetKey { path } groupName hasMaterializePermission } }"
PARTITIONS_PAGE = """{ assetNodes(assetKeys: [{path: ["dataset"]}]) { partitionStats {
  numMaterialized numPartitions numFailed } } }"""
COUNTS = """query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { count } } }"""


@dataclass
class Slice:
    """What was seen during one stretch of time."""

    page: list[float] = field(default_factory=list)
    """Seconds of the HTML page and its script."""
    graphql: list[float] = field(default_factory=list)
    """Seconds of each question."""
    resident: dict[str, int] = field(default_factory=dict)
    """Process to its highest resident bytes."""


def main() -> None:
    """Measure once, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--partitions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=900, help="stop then, whatever is still queued")
    parser.add_argument("--out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), given.partitions, given.seconds)
    report("load", rows, given.out)


def measure(root: Path, partitions: int, seconds: float) -> list[dict[str, Any]]:
    """Queue all partitions at once and watch until they ended or the time is over; a row per stretch of time."""
    names = [f"load{number:03d}" for number in range(partitions)]
    service = Service(root, free_port(), overrides={"DD_DATASETS": str(_settings(root, names))})
    try:
        service.start()
        # The first computes what all others, the same data under other names, then find in the store.
        assert service.end_of_backfill(service.backfill({ASSET: names[:1]})) == "COMPLETED_SUCCESS"
        before, finished = _disk(service), _finished(service)
        service.backfill({ASSET: names[1:]})
        return _watch(service, partitions - 1, seconds, before, finished)
    finally:
        service.stop()


def _settings(root: Path, names: Sequence[str]) -> Path:
    path = root / "load.yaml"
    path.write_text(yaml.safe_dump({name: {"base": "digits", "ipc": [1]} for name in names}), "utf-8")
    return path


def _watch(service: Service, wanted: int, seconds: float, disk: int, finished: int) -> list[dict[str, Any]]:
    started, rows, seen = time.monotonic(), [], Slice()
    done = 0
    while True:
        _ask(service, seen)
        done, elapsed = _finished(service) - finished, time.monotonic() - started
        if done >= wanted or elapsed >= seconds or elapsed >= seconds * (len(rows) + 1) / SLICES:
            rows.append(_row(seen, elapsed, done, wanted, (_disk(service) - disk) / max(done, 1)))
            seen = Slice()
        if done >= wanted or elapsed >= seconds:
            return rows
        time.sleep(PAUSE)


def _ask(service: Service, seen: Slice) -> None:
    seen.page.append(_timed(lambda: urllib.request.urlopen(f"http://127.0.0.1:{service.port}/runs", timeout=60).read()))
    for question in (RUNS_PAGE, ASSETS_PAGE, PARTITIONS_PAGE):
        seen.graphql.append(_timed(lambda question=question: service.ask(question)))
    for name, number in resident(service).items():
        seen.resident[name] = max(number, seen.resident.get(name, 0))


def _timed(action: Any) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def resident(service: Service) -> dict[str, int]:
    """Resident bytes of the deployment's own processes; runs, which come and go, are not among them."""
    found: dict[str, int] = {}
    assert service.process is not None
    for process in psutil.Process(service.process.pid).children(recursive=True):
        try:
            command, number = process.cmdline(), process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        for name, word in PROCESSES.items():
            if word in command and "execute_run" not in command:
                found[name] = max(number, found.get(name, 0))
    return found


def _finished(service: Service) -> int:
    answer = service.ask(COUNTS, filter={"statuses": list(ENDED)})
    return int(answer["runsOrError"]["count"])


def _disk(service: Service) -> int:
    """Bytes of the run and event databases, their journals included."""
    return sum(path.stat().st_size for path in (service.root / "home").rglob("*.db*") if path.is_file())


def _row(seen: Slice, elapsed: float, done: int, wanted: int, bytes_each: float) -> dict[str, Any]:
    return {
        "until_s": round(elapsed),
        "runs_ended": f"{done}/{wanted}",
        **_quantiles("page", seen.page),
        **_quantiles("graphql", seen.graphql),
        "log_kB_per_run": round(bytes_each / 1000, 1),
        **{f"{name}_MB": round(seen.resident.get(name, 0) / 1e6) for name in PROCESSES},
    }


def _quantiles(name: str, values: Sequence[float]) -> Mapping[str, float]:
    ordered = sorted(values)
    return {
        f"{name}_p50_s": round(statistics.median(ordered), 3),
        f"{name}_p95_s": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 3),
    }


if __name__ == "__main__":
    main()
