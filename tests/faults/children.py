"""Commands as processes of their own, forked by a zygote: starting them, their CPU clock, how they ended.

Belongs here: the client of zygote.py. Does not belong: what is done to a command while it runs (kinds.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 400.0
"""Seconds after which a command that has not ended is called stuck, and killed."""


@dataclass
class Child:
    """One command that runs or has run."""

    zygote: Zygote
    process: int
    log: Path
    status: int | None = None
    """Exit status, negative for a signal; None while it runs."""
    stuck: bool = False

    def cpu_seconds(self) -> float:
        """CPU seconds it has used; of an ended one 0."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / TICKS
        return 0.0

    def ended(self) -> bool:
        """Whether it has ended, without waiting."""
        if self.status is None and self.zygote.has_line(0.0):
            self.status = self.zygote.line()["status"]
        return self.status is not None

    def until_cpu(self, seconds: float) -> bool:
        """Wait until it has used that much CPU time; False if it ended before."""
        while not self.ended():
            if self.cpu_seconds() >= seconds:
                return True
            time.sleep(0.003)
        return False

    def wait(self, patience: float = PATIENCE) -> int:
        """Its exit status once it has ended; killed and marked as stuck after `patience` seconds."""
        if self.status is None and not self.zygote.has_line(patience):
            self.stuck = True
            self.send(signal.SIGKILL)
        if self.status is None:
            self.status = self.zygote.line()["status"]
        return self.status

    def send(self, number: int) -> None:
        """A signal to its whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, number)

    def text(self) -> str:
        """What it wrote, both streams."""
        return self.log.read_text("utf-8", "replace")


@dataclass
class Zygote:
    """A warm process for one store; commands run one at a time."""

    environment: Mapping[str, str]
    logs: Path
    _process: subprocess.Popen[bytes] | None = None
    _buffer: bytes = b""
    _count: int = field(default=0)

    def start(self) -> None:
        """Start it on one core, so that a command computes in its own process, and wait until it is warm."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "AWS_"))}
        core = sorted(os.sched_getaffinity(0))[-1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**kept, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **self.environment},
            cwd=PROJECT,
            preexec_fn=lambda: os.sched_setaffinity(0, [core]),
        )
        assert self.line()["ready"]

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(30)

    def run(self, arguments: Sequence[str], home: Path) -> Child:
        """Start a `dd-assets` command with that Dagster home."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._count += 1
        log = self.logs / f"{os.getpid()}-{id(self)}-{self._count}.log"
        order = {"arguments": list(arguments), "environment": {"DAGSTER_HOME": str(home)}, "log": str(log)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return Child(self, self.line()["process"], log)

    def has_line(self, seconds: float) -> bool:
        """Whether it says something within that time."""
        import select

        assert self._process is not None
        return b"\n" in self._buffer or bool(select.select([self._process.stdout], [], [], seconds)[0])

    def line(self) -> dict[str, Any]:
        """The next thing it says."""
        assert self._process is not None
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            more = os.read(self._process.stdout.fileno(), 65536)
            assert more, "the zygote has ended"
            self._buffer += more
        first, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(first) if first.startswith(b"{") else self.line()


@contextlib.contextmanager
def warm(environment: Mapping[str, str], logs: Path) -> Iterator[Zygote]:
    """A zygote for as long as the body lasts."""
    zygote = Zygote(environment, logs)
    try:
        zygote.start()
        yield zygote
    finally:
        zygote.stop()


def wait_until(reached: Callable[[], bool], seconds: float) -> bool:
    """Whether something came true within that time."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
