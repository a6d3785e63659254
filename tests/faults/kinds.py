"""The faults: how each strikes a running command, how it is mended, and how the command may end.

Belongs here: one class per kind. Does not belong: when it strikes and what must hold afterwards (trials.py, state.py).
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dd_resources.store import ArtefactStore, payload_path
from tests.faults.children import Child
from tests.faults.proxy import Proxy
from tests.servers import S3Server

ROOMY = "256m"


@dataclass
class Place:
    """Where a trial happens."""

    store: ArtefactStore
    home: Path
    server: S3Server | None = None
    proxy: Proxy | None = None
    note: dict[str, Any] = field(default_factory=dict)
    """What the fault did, for the record."""
    damaged: set[str] = field(default_factory=set)
    """sha256 of payloads that the fault itself spoiled."""


class Fault:
    """Base: strikes nothing."""

    name = ""
    remote = False
    """True if it needs the store on S3."""
    causes = r"(?!)"
    """What the error text must hold where the command ends by an error."""
    may_succeed = True
    """True if the command may end well all the same: nothing was left to do, or it waited until the fault was over."""
    statuses: tuple[int, ...] = ()
    """Exit statuses that stand for themselves and need no text."""

    def prepare(self, place: Place, chance: random.Random) -> None:
        """Before the command starts."""

    def strike(self, place: Place, child: Child, chance: random.Random) -> None:
        """While it runs."""

    def mend(self, place: Place) -> None:
        """After it has ended, before it is started again."""

    def clear(self, place: Place) -> None:
        """After the trial."""


class Kill(Fault):
    """kill -9 of the process group."""

    name = "kill -9"
    may_succeed = False
    statuses = (-signal.SIGKILL,)

    def strike(self, place: Place, child: Child, chance: random.Random) -> None:
        child.send(signal.SIGKILL)


class Terminate(Fault):
    """SIGTERM, as service managers and Kubernetes send it."""

    name = "SIGTERM"
    causes = r"SIGTERM"

    def strike(self, place: Place, child: Child, chance: random.Random) -> None:
        child.send(signal.SIGTERM)


class DiskFull(Fault):
    """A real file system that has no page left, below the store, below Dagster's home, or below both."""

    name = "disk full"
    causes = r"No space left|disk is full|disk I/O error"

    def prepare(self, place: Place, chance: random.Random) -> None:
        part = place.note["disk of"] = chance.choice(("store", "home", "both"))
        self._folder = {"store": Path(place.store.root), "home": place.home, "both": place.home.parent}[part]
        held = self._folder.with_name(f"{self._folder.name}.held")
        if self._folder.exists():
            self._folder.rename(held)
        self._folder.mkdir()
        mount("-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(self._folder))
        subprocess.run(
            f"[ ! -d {held} ] || {{ cp -a {held}/. {self._folder}/ && rm -r {held}; }}", shell=True, check=True
        )

    def strike(self, place: Place, child: Child, chance: random.Random) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        free = place.note["pages left"] = chance.randrange(0, 8)
        for again in reversed(range(20)):
            facts = os.statvfs(self._folder)
            used = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
            try:
                mount("-o", f"remount,size={used + free * page}", str(self._folder))
            except subprocess.CalledProcessError:
                # The process wrote more in between than the new size allows.
                if not again:
                    raise
            else:
                break

    def mend(self, place: Place) -> None:
        mount("-o", f"remount,size={ROOMY}", str(self._folder))

    def clear(self, place: Place) -> None:
        subprocess.run(["umount", "-l", str(self._folder)], check=True)


class Memory(Fault):
    """No more address space for the process, but for a random little."""

    name = "memory exhausted"
    causes = r"(?i)memory|bad_alloc|Cannot allocate"

    def strike(self, place: Place, child: Child, chance: random.Random) -> None:
        status = Path(f"/proc/{child.process}/statm")
        try:
            now = int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            more = place.note["bytes left"] = chance.choice((0, chance.randrange(2**22)))
            resource.prlimit(child.process, resource.RLIMIT_AS, (now + more, resource.RLIM_INFINITY))
        except OSError:
            place.note["bytes left"] = None


class Network(Fault):
    """The connection to S3: cut until the command has ended, cut for a moment, the server killed, or stopped."""

    name = "network dropped"
    remote = True
    causes = r"check that AWS_ENDPOINT_URL answers"

    def strike(self, place: Place, child: Child, chance: random.Random) -> None:
        assert place.proxy is not None
        assert place.server is not None
        mode = place.note["mode"] = chance.choice(("cut", "cut", "cut briefly", "server killed", "server stopped"))
        pause = place.note["seconds"] = round(chance.uniform(0.1, 2.0), 2)
        if mode.startswith("cut"):
            place.proxy.cut()
            if mode == "cut briefly":
                time.sleep(pause)
                place.proxy.mend()
        elif mode == "server killed":
            place.server.kill()
            place.server.start()
        else:
            assert place.server.process is not None
            os.killpg(place.server.process.pid, signal.SIGSTOP)
            time.sleep(pause)
            os.killpg(place.server.process.pid, signal.SIGCONT)

    def mend(self, place: Place) -> None:
        assert place.proxy is not None
        if place.proxy.is_cut:
            place.proxy.mend()


class Corrupt(Fault):
    """Bytes of a committed payload changed on the disk: one flipped, the end cut off, or nothing left."""

    name = "bytes corrupted"
    causes = r"(corrupted|is missing).* dd-assets discard [0-9a-f]{12}"

    def strike(self, place: Place, child: Child, chance: random.Random) -> None:
        found = [path for path in place.store.list("manifests") if place.store.read_or_none(path)]
        payloads: dict[str, str] = {}
        for path in found:
            manifest = json.loads(place.store.read_or_none(path) or b"{}")
            payloads |= {entry["sha256"]: manifest["recipe"]["unit"] for entry in manifest["payloads"].values()}
        if not payloads:
            place.note["payload of"] = None
            return
        sha256 = chance.choice(sorted(payloads))
        data = bytearray(place.store.read_or_none(payload_path(sha256)) or b"")
        mode = place.note["mode"] = chance.choice(("flipped", "cut", "emptied"))
        if mode == "flipped" and data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif mode == "cut":
            del data[chance.randrange(max(1, len(data))) :]
        else:
            data.clear()
        # In place, as a bad disk does it: renaming would be a new file.
        Path(place.store.root, payload_path(sha256)).write_bytes(bytes(data))
        place.note["payload of"] = payloads[sha256]
        place.damaged.add(sha256)


FAULTS: tuple[type[Fault], ...] = (Kill, Terminate, DiskFull, Memory, Network, Corrupt)


def mount(*arguments: str) -> None:
    """Mount, which only the administrator may."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def ending(fault: Fault, child: Child) -> list[str]:
    """What is wrong with how a struck command ended."""
    status, text = child.status, child.text()
    if child.stuck:
        return ["it did not end"]
    if status in fault.statuses:
        return []
    if status == 0:
        return [] if fault.may_succeed else ["it ended well"]
    wrong = []
    said = [line for line in text.splitlines() if line.strip()]
    last = said[-1] if said else ""
    if "Traceback (most recent call last)" in text:
        traceback = text.partition("Traceback (most recent call last)")[2]
        wrong.append(f"it ended in a traceback: {traceback[-1500:]}")
    if not last.startswith("dd-assets: "):
        wrong.append(f"exit {status} without a line of its own: {last[:200]!r}")
    elif not re.search(fault.causes, last):
        wrong.append(f"its line does not name the cause: {last[:300]!r}")
    return wrong
