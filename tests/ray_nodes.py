"""Ray nodes for tests: real raylets on one machine, each on a loopback address of its own, ended by process id.

Belongs here: starting them, ending one of them or a part of it. Does not belong: what is computed on them, `ray stop`
(which ends every Ray of the machine, by name).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.servers import die_with_parent, free_port

OBJECT_STORE_BYTES = 100_000_000
GIB = 2**30
QUIET = {
    "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers come when a task asks for one, not one per core beforehand.
    "RAY_prestart_worker_first_driver": "0",
}


@dataclass
class RayNode:
    """One node: the starting command, its raylet and all that runs below them."""

    folder: Path
    """Its logs; of the head also the session, whose sockets need a short path."""
    address: str
    """127.0.0.2 and up: Ray replaces 127.0.0.1 by an address of the network, others it takes."""
    environment: Mapping[str, str]
    """What its workers inherit, credentials included."""
    head: RayNode | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    cpus: int = 1
    port: int = field(default_factory=free_port)
    dashboard: int = field(default_factory=free_port)
    process: psutil.Popen | None = None
    _lost: list[psutil.Process] = field(default_factory=list)
    """What was below the raylet when it was killed alone."""

    @property
    def gcs(self) -> str:
        """RAY_ADDRESS of the cluster, for drivers on its nodes."""
        return f"{self.address}:{self.port}" if self.head is None else self.head.gcs

    @property
    def jobs(self) -> str:
        """RAY_API_SERVER_ADDRESS of the cluster, where jobs are submitted."""
        return f"http://{self.address}:{self.dashboard}" if self.head is None else self.head.jobs

    def start(self) -> RayNode:
        """Start it and wait until the cluster counts it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        role = [f"--address={self.head.gcs}"] if self.head else self._head_flags()
        flags = {
            "node-ip-address": self.address,
            "num-cpus": self.cpus,
            "memory": 3 * GIB,
            "resources": json.dumps(self.resources),
            "object-store-memory": OBJECT_STORE_BYTES,
            "dashboard-agent-listen-port": free_port(),
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *role]
        with open(self.folder / "log", "ab") as log:
            self.process = psutil.Popen(
                [*command, *(f"--{name}={value}" for name, value in flags.items())],
                env={**self.environment, **QUIET},
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._await()
        return self

    def _head_flags(self) -> list[str]:
        session = self.folder / "s"
        session.mkdir(exist_ok=True)
        return [
            "--head",
            f"--port={self.port}",
            f"--dashboard-host={self.address}",
            f"--dashboard-port={self.dashboard}",
            f"--ray-client-server-port={free_port()}",
            f"--temp-dir={session}",
        ]

    def _await(self) -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text("utf-8", "replace")[-2000:]
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                with urllib.request.urlopen(f"{self.jobs}/nodes?view=summary", timeout=10) as answer:
                    nodes = json.load(answer)["data"]["summary"]
                # A node takes jobs once its agent has registered, which the summary shows by its process.
                if any(node["ip"] == self.address and node["raylet"]["state"] == "ALIVE" for node in nodes):
                    return
            time.sleep(0.5)
        raise AssertionError(f"node {self.address} did not come up: {(self.folder / 'log').read_text()[-2000:]}")

    def members(self) -> list[psutil.Process]:
        """All processes of the node now, the raylet's workers and what their steps run included."""
        try:
            return [] if self.process is None else [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill_raylet(self) -> None:
        """End the raylet alone: to the cluster the node is gone, what ran on it may live on."""
        self._lost = self.members()
        (raylet,) = [one for one in self._lost if one.name() == "raylet"]
        raylet.kill()

    def survivors(self) -> list[psutil.Process]:
        """What still runs of a node whose raylet was killed alone."""
        return [one for one in self._lost if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    def kill(self) -> None:
        """End everything of it at once, as a power cut would."""
        doomed = [*self.members(), *self._lost]
        for one in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(doomed, timeout=10)


def inherited() -> dict[str, str]:
    """This process's environment without settings of the project and of Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "RAY_", "DAGSTER_"))}
