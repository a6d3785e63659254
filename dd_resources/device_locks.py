"""One computation per GPU: an operating-system lock per device, which ends with its process.

Belongs here: picking a free device of this machine and holding it. Does not belong: what runs on it, memory, clusters
(Ray and Kubernetes hand out GPUs themselves, through CUDA_VISIBLE_DEVICES).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dd_assets.errors import InputError, StoreError

FIRST_WAIT, LONGEST_WAIT = 0.05, 2.0


@contextlib.contextmanager
def claim(
    device: str,
    announce: Callable[[str], None] = lambda line: None,
    *,
    names: Callable[[], Sequence[str]] | None = None,
    folder: Path | None = None,
) -> Iterator[str]:
    """Hold a device while the body runs; yields it as torch spells it, such as 'cuda:1'.

    'cpu' is given at once. 'cuda' takes the first free device, 'cuda:1' that one; if none is free, one line is
    announced and the call waits. names: the devices that this process sees, in torch's order, each by a name that
    other processes know it by too. folder: where the lock files lie. Raises InputError for a device that is not there.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu":
        yield device
        return
    known = list((names or visible_devices)())
    if index and not index.isdigit():
        raise InputError(f"device {device!r} is not one", "name it 'cpu', 'cuda' or 'cuda:1'")
    wanted = [int(index)] if index else list(range(len(known)))
    if not wanted or wanted[-1] >= len(known):
        raise InputError(f"device {device!r} is not on this machine, which shows {len(known)}", "choose another device")
    held, number = _wait_for(kind, wanted, known, announce, folder or lock_folder())
    try:
        yield f"{kind}:{number}"
    finally:
        os.close(held)


def visible_devices() -> list[str]:
    """The GPUs that torch sees, by the names that CUDA_VISIBLE_DEVICES gives them, or by index."""
    import torch

    count = torch.cuda.device_count()
    stated = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return stated[:count] if len(stated) >= count else [str(index) for index in range(count)]


def lock_folder() -> Path:
    """This user's folder of lock files, the same in every session; raises StoreError if it is somebody else's."""
    # Not XDG_RUNTIME_DIR: it differs between a session and a service, and goes away at logout while jobs run on.
    folder = Path("/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()) / f"dd-assets-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or not stat.S_ISDIR(facts.st_mode):
        raise StoreError(f"{folder} does not belong to this user", "remove it: device locks are kept there")
    return folder


def _wait_for(
    kind: str, wanted: Sequence[int], known: Sequence[str], announce: Callable[[str], None], folder: Path
) -> tuple[int, int]:
    """(open locked file, index) of the first of the wanted devices that is or becomes free."""
    pause, announced = FIRST_WAIT, False
    while True:
        for index in wanted:
            held = _try_lock(_lock_file(folder, kind, known[index]))
            if held is not None:
                return held, index
        if not announced:
            announced = True
            busy = ", ".join(f"{kind}:{index} ({_holder(_lock_file(folder, kind, known[index]))})" for index in wanted)
            announce(f"waiting for a device: {busy}")
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_WAIT)


def _try_lock(path: Path) -> int | None:
    """The descriptor of the locked file, or None if another process holds it."""
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    os.ftruncate(held, 0)
    os.pwrite(held, f"process {os.getpid()}".encode(), 0)
    return held


def _lock_file(folder: Path, kind: str, name: str) -> Path:
    return folder / f"{kind}-{re.sub('[^A-Za-z0-9-]', '_', name)}.lock"


def _holder(path: Path) -> str:
    try:
        return f"held by {path.read_text('utf-8') or 'a process'}"
    except OSError:
        return "held"
