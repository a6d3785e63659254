"""How long computations report and resume, without knowing who listens.

Belongs here: the two small protocols that torch-side functions accept. Does not belong: bars, log lines, storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from dd_assets.lazy import np


@runtime_checkable
class Progress(Protocol):
    """Called every few steps with the step reached, the total and current figures (loss, accuracy…)."""

    def __call__(self, step: int, total: int, **figures: float) -> None: ...


@runtime_checkable
class Checkpoints(Protocol):
    """A private place for resumable state; arrays only, one current checkpoint."""

    def load(self) -> dict[str, np.ndarray] | None:
        """The latest complete checkpoint, or None."""
        ...

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the checkpoint atomically."""
        ...


def silent(step: int, total: int, **figures: float) -> None:
    """A Progress that says nothing."""


class NoCheckpoints:
    """A Checkpoints that keeps nothing: the computation starts from the beginning each time."""

    def load(self) -> dict[str, np.ndarray] | None:
        """Always None."""
        return None

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Drop the state."""
