"""Successive halving under a budget of recorded seconds.

Belongs here: who is tried again and who is dropped. Does not belong: what trying means.

A rung gives each candidate twice the students of the one before and keeps the better half. Students of earlier rungs
count on, so nothing is trained twice. The budget is spent in the seconds that the store recorded for each result, new
or found: a repeated sweep takes the same decisions and computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What some students of a candidate reached on validation images, and all its cost so far."""

    accuracies: tuple[float, ...]
    seconds: float

    @property
    def mean(self) -> float:
        """Mean accuracy, in [0, 1]."""
        return math.fsum(self.accuracies) / len(self.accuracies)


@dataclass
class Race:
    """One group's candidates, the latest trial of each by index, and how it ended."""

    candidates: Sequence[Any]
    trials: dict[int, Trial] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    spent: float = 0.0
    complete: bool = False
    """Whether it ended by its rungs and not by its budget."""

    @property
    def best(self) -> int | None:
        """The candidate with the best mean among those with the most students; the earlier one where they tie."""
        if not self.trials:
            return None
        most = max(len(trial.accuracies) for trial in self.trials.values())
        finalists = [index for index, trial in self.trials.items() if len(trial.accuracies) == most]
        return max(finalists, key=lambda index: (self.trials[index].mean, -index))


def race(candidates: Sequence[Any], attempt: Callable[[Any, int], Trial | str], budget: float, most: int) -> Race:
    """Halve until one candidate is left or has `most` students, or the budget of seconds is spent.

    attempt: (candidate, students) to its trial, or to the reason why it cannot apply. The first candidate is always
    tried once; otherwise nothing is begun once the budget is spent, so that it is passed by one attempt at most.
    """
    found = Race(candidates)
    alive, students = list(range(len(candidates))), 1
    while alive:
        for index in alive:
            if found.spent >= budget and found.trials:
                return found
            tried = attempt(candidates[index], students)
            if isinstance(tried, str):
                found.refused[index] = tried
                continue
            before = found.trials.get(index)
            found.spent += tried.seconds - (before.seconds if before else 0.0)
            found.trials[index] = tried
        alive = [index for index in alive if index in found.trials]
        if students >= most or len(alive) == 0:
            break
        alive = sorted(alive, key=lambda index: (-found.trials[index].mean, index))[: max(1, len(alive) // 2)]
        students = min(2 * students, most)
    found.complete = True
    return found
