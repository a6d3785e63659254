"""Errors a user can act on.

Belongs here: one exception family whose text names the thing that is wrong and the remedy, in one line, and that line
for an error of somebody else's code. Does not belong: programming errors of our own (let those raise as they are) and
anything that needs torch or Dagster.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable

LONGEST = 2000
"""Characters of a problem, and of a remedy; of a longer one the middle is left out."""
LONGEST_NAME = 200
"""Characters of an unknown name that a message repeats."""
MOST_NAMES, NEAREST = 20, 6
"""A message lists all known names up to the first number, of more only the nearest."""


def _in_one_line(text: str) -> str:
    """The text with line ends, terminal controls and the like written out, as repr() writes them, at most LONGEST.

    What was read may be repeated in it, at any length.
    """
    line = text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 400]} … {line[-350:]}"


def cause_in(package: str, error: BaseException) -> str:
    """An error of somebody else's code as 'file:line: kind: text', the deepest line that a module of `package` ran.

    Without the place where none of its modules had begun to run.
    """
    place, text = "", str(error)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").startswith(package):
            place = f"{frame.f_code.co_filename}:{line}"
    if isinstance(error, SyntaxError):
        place, text = f"{error.filename}:{error.lineno}", error.msg
    return _in_one_line(": ".join(filter(None, (place, type(error).__name__, text))))


class DDError(Exception):
    """A refusal with a cause and a remedy; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem, self.remedy = _in_one_line(problem), _in_one_line(remedy)
        super().__init__(f"{self.problem} → {self.remedy}" if remedy else self.problem)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        # Worker processes send errors back by pickling; the default would pass the joined text as `problem`.
        return type(self), (self.problem, self.remedy)


class UnknownNameError(DDError):
    """A dataset, method, student, architecture or recipe field that does not exist."""

    exit_code = 2

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str], more: str = "") -> UnknownNameError:
        """The error for `name`, with the nearest known names as the remedy; more: what else helps."""
        known = sorted(known)
        close = difflib.get_close_matches(name[:LONGEST_NAME], known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        more = f"; {more}" if more else ""
        shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
        if len(known) > MOST_NAMES:
            near = difflib.get_close_matches(name[:LONGEST_NAME], known, n=NEAREST, cutoff=0.5)
            which = f"the nearest: {', '.join(near)}" if near else f"such as {', '.join(known[:NEAREST])}"
            return cls(f"unknown {kind} {shown!r}", f"{hint}{len(known)} are known, {which}{more}")
        return cls(f"unknown {kind} {shown!r}", f"{hint}known: {', '.join(known)}{more}")


class InputError(DDError):
    """Bad input data or a parameter that cannot work with it (too few images, wrong class order, NaN weights…)."""

    exit_code = 3


class StoreError(DDError):
    """The artefact store cannot be read or written."""

    exit_code = 4


class CorruptArtefactError(StoreError):
    """A stored payload no longer has the bytes its manifest promises."""


class FormatVersionError(StoreError):
    """The store or a manifest was written by a format this version does not know."""


class VerdictError(DDError):
    """An input was stored with a failed blocking verdict, so nothing may be built on it."""

    exit_code = 5


REFUSALS = (InputError, UnknownNameError, VerdictError)
"""What is wrong with one partition alone; another error, such as of the store, ends a whole plan."""


class StaleReferenceError(DDError):
    """A reference does not agree with the data version Dagster recorded for the same partition."""

    exit_code = 6


class MachineError(DDError):
    """The machine failed a command: its disk is full, it has no memory left, or it asked the command to end."""

    exit_code = 8
