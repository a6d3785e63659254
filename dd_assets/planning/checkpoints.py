"""Resumable state of a unit that is being computed, in the store, and what computing it has cost so far.

Belongs here: writing, reading and clearing it, looking what it cost. Does not belong: what the state is (the units),
when it is cleared (engine.py).
"""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dd_assets.lazy import np
from dd_assets.planning.digests import text_digest
from dd_resources.files import Entry
from dd_resources.store import ArtefactStore

JUDGED_BY = ("accuracy_floor",)
"""Parameters that a finished result is judged by, and that change nothing of how it is computed."""
SPENT = "spent"
"""What a checkpoint cost, beside the unit's own arrays: wall and CPU seconds."""


def checkpoint_path(area: str) -> str:
    """Where the state of an area lies, relative to the store."""
    return f"work/{area}/checkpoint.safetensors"


def area_of(recipe: Mapping[str, Any]) -> str:
    """The digest under which a unit's resumable state lies: its recipe's, but for the parameters it is judged by.

    A teacher that missed its floor is trained already under a lower one.
    """
    kept = {name: value for name, value in recipe["parameters"].items() if name not in JUDGED_BY}
    return text_digest({**recipe, "parameters": kept})


@dataclass
class Meter:
    """Seconds of a unit's computation, from here on and in the killed attempts that it goes on from."""

    earlier: tuple[float, float] = (0.0, 0.0)
    """Wall and CPU seconds up to the checkpoint that was loaded; what was lost after it counts for nobody."""
    began: tuple[float, float] = field(default_factory=lambda: (time.perf_counter(), time.process_time()))

    def spent(self) -> tuple[float, float]:
        """Wall and CPU seconds so far."""
        wall, cpu = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        return self.earlier[0] + wall, self.earlier[1] + cpu


@dataclass
class StoreCheckpoints:
    """Resumable state under work/<area>/, as safetensors; removed after commit, but for what may be
    judged otherwise."""

    store: ArtefactStore
    digest: str
    """`area_of` the unit."""
    meter: Meter = field(default_factory=Meter)

    @property
    def _path(self) -> str:
        return checkpoint_path(self.digest)

    def load(self) -> dict[str, np.ndarray] | None:
        """The latest checkpoint, or None; a damaged one counts as none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.store.read_or_none(self._path)
        try:
            state: dict[str, np.ndarray] | None = None if data is None else load(data)
        except SafetensorError:
            return None
        if state is not None and SPENT in state:
            wall, cpu = state.pop(SPENT).tolist()
            self.meter.earlier = (wall, cpu)
        return state

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the checkpoint."""
        from safetensors.numpy import save

        # ascontiguousarray alone would turn scalars into vectors of one element.
        arrays = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in state.items()}
        self.store.replace(self._path, save({**arrays, SPENT: np.array(self.meter.spent())}))

    def clear(self) -> None:
        """Remove the work area of this unit."""
        self.store.remove(f"work/{self.digest}")


def seconds_held(store: ArtefactStore, file: Entry) -> float:
    """Wall seconds that a listed checkpoint took, read without its arrays; 0 where it does not tell, or is damaged."""

    def numbered(first: int, count: int) -> bytes:
        if min(first, count) < 0 or first + count > file.bytes:
            raise ValueError
        return store.read_or_none(file.path, first, count) or b""

    try:
        length = int.from_bytes(numbered(0, 8), "little")
        begin, end = json.loads(numbered(8, length))[SPENT]["data_offsets"]
        data = 8 + length
        wall, _ = struct.unpack("<2d", numbered(data + begin, end - begin) if begin >= 0 else b"")
    except (ValueError, LookupError, TypeError, RecursionError, struct.error):
        return 0.0
    return max(wall, 0.0) if math.isfinite(wall) else 0.0
