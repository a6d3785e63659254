"""Says after the fuzz tests how many inputs each reader was given. Nothing here asserts."""

from __future__ import annotations

import pytest

from tests.fuzz.inputs import COUNTS, WHOLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Reader, inputs, refusals."""
    if not WHOLE:
        return
    for reader, (given, refused) in sorted(COUNTS.items()):
        terminalreporter.write_line(f"{reader}: {given} inputs, {refused} refused")
    terminalreporter.write_line(f"all: {sum(given for given, _ in COUNTS.values())} inputs")
