"""Leases: who is computing a recipe at the moment, so that others wait instead of doing the same work.

Belongs here: taking, keeping alive, watching and giving back a lease. Does not belong: what is computed, and whether it
exists: the manifest alone decides that, so two holders at once waste work and harm nothing.

A lease is the file lease/<recipe>/<n>, created if absent, whose body a thread replaces with a higher count. It is dead
when its body has not changed during T seconds of the watcher's own monotonic clock; no two clocks are compared. On the
machine of the holder the end of its process is seen at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Literal

from dd_assets.errors import StoreError
from dd_resources.files import Files

DEFAULT_SECONDS = 60.0
BEATS_PER_TIMEOUT = 5
FOLDER = "lease"


@dataclass(frozen=True, kw_only=True)
class View:
    """What a watcher knows of a recipe's newest lease."""

    state: Literal["free", "held", "dead"]
    number: int = 0
    """The newest lease's number; 0 if there is none."""
    holder: str = ""
    """Host and process, for people."""


@dataclass
class Watcher:
    """Tells live leases from dead ones; keep one while waiting, since it judges by what it saw before."""

    files: Files
    seconds: float = DEFAULT_SECONDS
    _seen: dict[str, tuple[int, bytes, float]] = field(default_factory=dict)
    """Recipe to (lease number, its body, when this body was first seen)."""

    def look(self, recipe: str) -> View:
        """The newest lease of a recipe, now."""
        number = newest(self.files, recipe)
        body = self.files.read_or_none(_path(recipe, number)) if number else None
        if body is None:
            self._seen.pop(recipe, None)
            return View(state="free")
        now = time.monotonic()
        seen = self._seen.get(recipe)
        if seen is None or seen[:2] != (number, body):
            seen = self._seen[recipe] = (number, body, now)
        facts = _facts(body)
        silent = now - seen[2] >= self.seconds
        holder = f"{facts.get('host', 'an unknown host')} process {facts.get('process', '?')}"
        return View(state="dead" if silent or has_ended(facts) else "held", number=number, holder=holder)


@dataclass
class Lease:
    """A lease held by this process; a context manager that beats until it is left, then gives the lease back."""

    files: Files
    recipe: str
    number: int
    facts: Mapping[str, Any]
    seconds: float = DEFAULT_SECONDS
    told: Mapping[str, Any] = field(default_factory=dict)
    """What the holder wants to be known while it works: replaced as a whole, JSON-able, goes out with the next beat."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self._thread = threading.Thread(target=self._beat, name=f"lease {self.recipe[:12]}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            # A beat after the removal would bring the lease back.
            self._thread.join()
        with contextlib.suppress(StoreError):
            # What cannot be removed dies by itself.
            for number in _numbers(self.files, self.recipe):
                if number <= self.number:
                    self.files.remove(_path(self.recipe, number))

    def _beat(self) -> None:
        count = 0
        while not self._stop.wait(self.seconds / BEATS_PER_TIMEOUT):
            count += 1
            with contextlib.suppress(StoreError):
                # A store away for a while costs at most the lease; the computation's own writes report it.
                self.files.replace(_path(self.recipe, self.number), _body({**self.facts, **self.told}, count))


def acquire(
    files: Files,
    recipe: str,
    *,
    dead: int = 0,
    facts: Mapping[str, Any] | None = None,
    seconds: float = DEFAULT_SECONDS,
) -> Lease | None:
    """Take the lease of a recipe, or None if somebody else has it; enter the result to keep it alive.

    dead: the newest lease's number if a Watcher found it dead. facts: what others should know, JSON-able.
    seconds: T of the watchers; a beat is due five times within it. Raises StoreError.
    """
    number = newest(files, recipe)
    if number > dead:
        return None
    mine = {**(facts or {}), **identity(), "token": uuid.uuid4().hex}
    body = _body(mine, 0)
    path = _path(recipe, number + 1)
    # A lost answer makes a client repeat a write that was done: then the lease that is there is this one.
    if not files.put_if_absent(path, body) and files.read_or_none(path) != body:
        return None
    return Lease(files, recipe, number + 1, mine, seconds)


def identity() -> dict[str, Any]:
    """Host and process, and what tells this process apart from all others that ran or will run on this machine."""
    process = os.getpid()
    return {"host": os.uname().nodename, "process": process, "machine": _machine(), "started": _started(process)}


def has_ended(facts: Mapping[str, Any]) -> bool:
    """True if the process of that `identity` ran on this boot of this machine and is no more."""
    here = bool(_machine()) and facts.get("machine") == _machine()
    known = isinstance(facts.get("process"), int) and bool(facts.get("started"))
    return here and known and _started(facts["process"]) != facts["started"]


def newest(files: Files, recipe: str) -> int:
    """The highest lease number of a recipe, 0 if it has none."""
    return max(_numbers(files, recipe), default=0)


def leased_recipes(files: Files) -> list[str]:
    """Recipes with a lease, dead or alive, sorted."""
    return sorted({path.split("/")[1] for path in files.list(FOLDER)})


def lease_facts(files: Files, recipe: str) -> dict[str, Any]:
    """The facts its holder gave, empty if there is no lease."""
    return _facts(files.read_or_none(_path(recipe, newest(files, recipe))) or b"{}")


def _numbers(files: Files, recipe: str) -> list[int]:
    names = (path.rsplit("/", 1)[-1] for path in files.list(f"{FOLDER}/{recipe}"))
    return [int(name) for name in names if name.isdigit()]


def _path(recipe: str, number: int) -> str:
    return f"{FOLDER}/{recipe}/{number}"


def _body(facts: Mapping[str, Any], count: int) -> bytes:
    return json.dumps({**facts, "count": count}).encode()


def _facts(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@cache
def _machine() -> str:
    """This boot of this machine and its process namespace; '' where Linux does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(process: int) -> str:
    """When a process began, in the kernel's ticks since boot; '' if it has ended or Linux does not tell."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            # The name in parentheses may hold anything; after it come the state and 18 more fields before the start.
            state, *rest = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]
