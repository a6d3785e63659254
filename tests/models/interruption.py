"""A checkpoint place that can die.

Belongs here: the double used by resume tests. Does not belong: assertions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Killed(Exception):
    """The process ends here."""


class MemoryCheckpoints:
    """Keeps the latest state in memory, read-only; raises Killed right after save number `die_after`."""

    def __init__(self, die_after: int | None = None) -> None:
        self.state: dict[str, np.ndarray] | None = None
        self.saves = 0
        self.die_after = die_after

    def load(self) -> dict[str, np.ndarray] | None:
        return self.state

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        self.state = {name: np.array(value) for name, value in state.items()}
        for value in self.state.values():
            value.flags.writeable = False
        self.saves += 1
        if self.saves == self.die_after:
            raise Killed
