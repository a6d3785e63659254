"""What a failing machine makes libraries raise, as one line with its cause."""

from __future__ import annotations

import errno
import re
import signal
import sqlite3
import subprocess
import sys

import pytest
from sqlalchemy.exc import OperationalError

from dd_assets.machine import machine_error, names_no_memory


def caused(outer: Exception, inner: BaseException) -> Exception:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: .*No space left on device → free space"),
        (caused(RuntimeError("x"), OSError(errno.EDQUOT, "Quota exceeded")), "the disk is full: .*Quota exceeded"),
        (
            caused(OperationalError("SELECT 1", {}, Exception()), sqlite3.OperationalError("database or disk is full")),
            r"Dagster's records in .* cannot be used: .*database or disk is full → free space",
        ),
        (
            caused(ValueError("x"), sqlite3.OperationalError("disk I/O error")),
            "cannot be used: disk I/O error → check that its disk works and has space",
        ),
        (MemoryError(), "out of memory: MemoryError → free memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory: "),
    ],
)
def test_the_cause_is_named_in_one_line(error: Exception, line: str) -> None:
    found = machine_error(error)
    assert found is not None
    assert "\n" not in str(found)
    assert re.search(line, str(found)), str(found)


def test_other_errors_are_none_of_the_machines() -> None:
    assert machine_error(ValueError("wrong shape")) is None
    assert machine_error(FileNotFoundError(errno.ENOENT, "no such file")) is None
    assert not names_no_memory("a memory-mapped file is read")


@pytest.mark.parametrize("after_a_run", [False, True])
@pytest.mark.parametrize(
    ("before", "number", "name", "status"),
    [
        ("SIG_DFL", "SIGTERM", "SIGTERM", 143),
        ("SIG_IGN", "SIGTERM", "SIGTERM", 143),
        ("SIG_DFL", "SIGINT", "Ctrl-C", 130),
        ("SIG_IGN", "SIGINT", "", 0),
    ],
)
def test_a_signal_unwinds_a_command_and_says_so(
    before: str, number: str, name: str, status: int, after_a_run: bool
) -> None:
    """Also after a Dagster run in the same process, which leaves SIGTERM with SIGINT's handler.

    before: what SIGINT does in the process that starts the command; a shell's background jobs ignore it.
    """
    program = (
        "import os, signal, time\n"
        "from dagster._utils.interrupts import capture_interrupts\n"
        "from dd_assets import cli\n"
        "import click\n"
        "@cli.main.command()\n"
        "def slow():\n"
        f"    if {after_a_run}:\n"
        "        with capture_interrupts():\n"
        "            pass\n"
        "    try:\n"
        f"        os.kill(os.getpid(), signal.{number}); time.sleep({30 if status else 0})\n"
        "    finally:\n"
        "        click.echo('given back')\n"
        "cli.main(['slow'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, getattr(signal, before)),
    )
    assert done.returncode == status, done.stderr
    assert done.stdout == "given back\n"
    line = f"dd-assets: ended by {name} → the same command goes on from what is stored\n"
    assert done.stderr == (line if status else "")
