"""What to say when the machine fails a command: a full disk, no memory left, a request to end.

Belongs here: finding such a cause in an exception or text of any library, and the one line for it; unwinding on
SIGTERM and Ctrl-C. Does not belong: refusals of the project's own (errors.py), which say their cause where they are
raised.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import FrameType

from dd_assets.errors import MachineError

GO_ON = "then run the same command again: nothing committed was lost"
DISK = {
    "disk is full": f"free space on its disk, {GO_ON}",
    # Of a full disk and a broken one, but also where its shared index finds no memory.
    "disk i/o error": f"check that its disk works and has space, and that memory is left, {GO_ON}",
    "unable to open database file": "check that its disk has space and that this user may write there",
    "readonly database": "make it writable for this user or set DAGSTER_HOME to another place",
    "database is locked": f"end what else writes there, {GO_ON}",
}
"""What SQLite says of the disk (https://www.sqlite.org/rescode.html), in lower case, and what to do."""
NO_MEMORY = (
    "bad_alloc",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "unable to allocate",
    "memoryerror",
    # What Python says of a thread whose stack finds no memory.
    "can't start new thread",
    # What oneDNN says of a kernel whose code or scratch space finds none.
    "could not create a primitive",
)
"""What libraries say, in lower case, when memory is refused to them."""
TERMINATED = 143
"""Exit code after SIGTERM: 128 and its number, as shells report it."""
INTERRUPTED = 130
"""The same after Ctrl-C."""


def machine_error(error: BaseException) -> MachineError | None:
    """The line for an exception that a full or broken disk or missing memory caused; None for any other."""
    for cause in _causes(error):
        text = " ".join(str(cause).split("\n[SQL", 1)[0].split())
        low = text.lower()
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return MachineError(f"the disk is full: {text}", f"free space on it, {GO_ON}")
        if isinstance(cause, MemoryError) or names_no_memory(text):
            return no_memory(text or type(cause).__name__)
        if type(cause).__module__.startswith("sqlite3"):
            for words, remedy in DISK.items():
                if words in low:
                    home = os.environ.get("DAGSTER_HOME") or "DAGSTER_HOME"
                    return MachineError(f"Dagster's records in {home} cannot be used: {text}", remedy)
    return None


def names_no_memory(text: str) -> bool:
    """Whether a library's text says that memory was refused to it."""
    return any(words in text.lower() for words in NO_MEMORY)


def no_memory(text: str) -> MachineError:
    """The line for refused memory, with what the library said."""
    return MachineError(f"out of memory: {text}", f"free memory or ask for less at once, {GO_ON}")


def end_on_signals() -> None:
    """Let SIGTERM unwind this command, so that leases and device locks are given back, and end it with TERMINATED.

    SIGINT gets the same handler, which tells them apart: after every run Dagster sets SIGTERM's to whatever SIGINT's
    is. Where SIGINT is ignored, as in a shell's background jobs, it goes on to do nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGTERM, _unwind)
    if before in (signal.default_int_handler, signal.SIG_IGN):
        signal.signal(signal.SIGINT, partial(_unwind, deaf_to_interrupts=before is signal.SIG_IGN))


def _unwind(number: int, frame: FrameType | None, deaf_to_interrupts: bool = False) -> None:
    if number == signal.SIGINT and deaf_to_interrupts:
        return
    # A second one ends the process at once, should unwinding hang.
    signal.signal(number, signal.SIG_DFL)
    # It would print the end with a traceback, as an error of a connection that was just being closed.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL + 1)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(TERMINATED)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those it came from, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
