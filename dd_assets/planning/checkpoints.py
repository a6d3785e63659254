"""Resumable state of a unit that is being computed, in the store.

Belongs here: writing, reading and clearing it. Does not belong: what the state is (the units), when it is cleared
(engine.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dd_assets.lazy import np
from dd_resources.store import ArtefactStore


@dataclass
class StoreCheckpoints:
    """Resumable state under work/<recipe>/, as safetensors; removed after commit."""

    store: ArtefactStore
    digest: str

    @property
    def _path(self) -> str:
        return f"work/{self.digest}/checkpoint.safetensors"

    def load(self) -> dict[str, np.ndarray] | None:
        """The latest checkpoint, or None; a damaged one counts as none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.store.read_or_none(self._path)
        try:
            return None if data is None else load(data)
        except SafetensorError:
            return None

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the checkpoint."""
        from safetensors.numpy import save

        # ascontiguousarray alone would turn scalars into vectors of one element.
        arrays = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in state.items()}
        self.store.replace(self._path, save(arrays))

    def clear(self) -> None:
        """Remove the work area of this unit."""
        self.store.remove(f"work/{self.digest}")
