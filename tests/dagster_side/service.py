"""A real `dagster dev` (webserver, daemon, code server) on 127.0.0.1, spoken to by GraphQL as the UI does.

Belongs here: starting and ending it, and the few mutations and queries that tests use. Does not belong: assertions.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dd_resources.store import ArtefactStore
from tests.servers import free_port

PROJECT = Path(__file__).resolve().parents[2]
SETTINGS = Path(__file__).with_name("launches.yaml")
LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "dd_assets"}
INSTANCE = """
telemetry: {enabled: false}
nux: {enabled: false}
concurrency: {runs: {max_concurrent_runs: 2}}
run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 5, poll_interval_seconds: 5}
"""

LAUNCH = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message } } }"""
BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  __typename ... on PartitionBackfill { status error { message } } ... on PythonError { message } } }"""
RUNS = """query($filter: RunsFilter) { runsOrError(filter: $filter) {
  ... on Runs { results { runId status tags { key value } assetSelection { path } } } } }"""
TERMINATE = """mutation($id: String!) { terminateRun(runId: $id) {
  __typename ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
DRY_RUN = """mutation($selector: ScheduleSelector!, $at: Float) {
  scheduleDryRun(selectorData: $selector, timestamp: $at) { __typename
  ... on DryRunInstigationTick { evaluationResult { skipReason error { message }
    runRequests { runKey tags { key value } assetSelection { path } } } } ... on PythonError { message } } }"""

ENDED = ("SUCCESS", "FAILURE", "CANCELED")


@dataclass
class Service:
    """A running deployment; everything of it lies below `root`."""

    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    overrides: dict[str, str] = field(default_factory=dict)
    """Environment variables with other values."""
    instance: str = INSTANCE
    """Its dagster.yaml."""

    @property
    def store(self) -> ArtefactStore:
        """Its artefact store."""
        return ArtefactStore(str(self.root / "store"))

    @property
    def environment(self) -> dict[str, str]:
        """What its processes, and commands beside it, run with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
        return {
            **kept,
            "PYTHONPATH": str(PROJECT),
            "DD_STORE": str(self.root / "store"),
            "DD_DATASETS": str(SETTINGS),
            "DAGSTER_HOME": str(self.root / "home"),
            "OMP_NUM_THREADS": "1",
            **self.overrides,
        }

    def start(self) -> None:
        """Start it and wait until its definitions are loaded and its daemon has been seen."""
        home = self.root / "home"
        home.mkdir(parents=True)
        (home / "dagster.yaml").write_text(self.instance, "utf-8")
        command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(self.port)]
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "-w", "workspace.yaml"],
                cwd=PROJECT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_for(self._healthy, 120, "the deployment to be ready")

    def stop(self) -> None:
        """End its whole process group."""
        if self.process is None:
            return
        for number, patience in ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError, AssertionError):
            query = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
            statuses = self.ask(query)["instance"]["daemonHealth"]["allDaemonStatuses"]
            loaded = self.ask("{ assetNodes { id } }")["assetNodes"]
            return bool(loaded) and all(status["healthy"] for status in statuses if status["required"])
        return False

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = json.load(answer)
        assert "errors" not in body, body["errors"]
        return body["data"]

    def wait_for(self, reached: Any, seconds: float, what: str) -> Any:
        """The first true answer of `reached`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = reached()
            if found:
                return found
            assert self.process is None or self.process.poll() is None, (self.root / "log").read_text()[-2000:]
            time.sleep(0.5)
        raise AssertionError(f"waited {seconds} s in vain for {what}: {(self.root / 'log').read_text()[-3000:]}")

    def launch(self, job: str, partition: str, assets: Sequence[str], config: dict[str, Any] | None = None) -> str:
        """Launch assets of a job for one partition, as the Launchpad does; the run's id."""
        keys = [{"path": asset.split("/")} for asset in assets]
        params = {
            "selector": {**LOCATION, "pipelineName": job, "assetSelection": keys},
            "runConfigData": config or {},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        }
        answer = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def runs(self, **wanted: Any) -> list[dict[str, Any]]:
        """Runs, newest first, their tags as a dictionary."""
        found = self.ask(RUNS, filter=wanted)["runsOrError"]["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def status(self, run: str) -> str:
        """A run's status."""
        return self.runs(runIds=[run])[0]["status"]

    def end_of(self, run: str, seconds: float = 180) -> str:
        """A run's status once it has ended."""
        return self.wait_for(lambda: self.status(run) in ENDED and self.status(run), seconds, f"run {run} to end")

    def backfill(self, partitions: dict[str, Sequence[str]]) -> str:
        """Launch an asset backfill, asset to partitions, as the asset graph's Materialize dialog does; its id."""
        selectors = [
            {
                "assetKey": {"path": asset.split("/")},
                "partitions": {"ranges": [{"start": key, "end": key} for key in keys]},
            }
            for asset, keys in partitions.items()
        ]
        answer = self.ask(BACKFILL, params={"partitionsByAssets": selectors, "title": "mixed"})
        assert answer["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", answer
        return answer["launchPartitionBackfill"]["backfillId"]

    def end_of_backfill(self, backfill: str, seconds: float = 240) -> str:
        """A backfill's status once it has ended."""

        def ended() -> str | None:
            answer = self.ask(BACKFILL_STATUS, id=backfill)["partitionBackfillOrError"]
            assert answer["__typename"] == "PartitionBackfill", answer
            return None if answer["status"] in ("REQUESTED", "COMPLETED") else answer["status"]

        return self.wait_for(ended, seconds, f"backfill {backfill} to end")

    def terminate(self, run: str) -> None:
        """Ask a run to end, as the UI's Terminate does."""
        answer = self.ask(TERMINATE, id=run)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def nightly(self, name: str) -> dict[str, Any]:
        """What a schedule would do now."""
        selector = {**LOCATION, "scheduleName": f"{name}_nightly"}
        answer = self.ask(DRY_RUN, selector=selector, at=time.time())["scheduleDryRun"]
        assert answer["__typename"] == "DryRunInstigationTick", answer
        assert answer["evaluationResult"]["error"] is None, answer
        return answer["evaluationResult"]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`dd-assets` beside it, on the same instance and store."""
        return subprocess.run(
            [sys.executable, "-m", "dd_assets", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@contextlib.contextmanager
def running(root: Path) -> Iterator[Service]:
    """A deployment for as long as the body lasts."""
    service = Service(root, free_port())
    try:
        service.start()
        yield service
    finally:
        service.stop()
