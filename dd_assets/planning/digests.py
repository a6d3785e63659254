"""Digests: what makes two recipes, or two results, the same.

Belongs here: canonical JSON, the recipe digest and the content digest over meaning (names, dtypes, shapes, values).
Does not belong: file bytes (the store addresses those) and anything about where or when a thing was computed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from dd_assets.later import LATER
from dd_assets.lazy import np

DIGEST_VERSION = 1
"""Raise it to make every recipe and content digest new; golden digests in tests/planning pin the present one."""


def plain(value: Any) -> Any:
    """Dataclasses, tuples and NumPy scalars as JSON-able values; raises TypeError for anything else.

    A field made by `dd_assets.later.later` is left out while it has its default: a parameter that a recipe gains must
    not give every older result another digest.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        stated = {f.name: (f, getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {name: plain(v) for name, (f, v) in stated.items() if not (f.metadata.get(LATER) and v == f.default)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no place in a recipe")
        return value
    raise TypeError(f"{type(value).__name__} has no place in a recipe")


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no spaces, shortest round-trip floats."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def text_digest(value: Any) -> str:
    """sha256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class ContentHasher:
    """Collects named arrays and values; order of the calls does not matter, names must be unique."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._parts: dict[str, str] = {}

    def array(self, name: str, values: np.ndarray) -> ContentHasher:
        """Add an array: little-endian, C order, with its dtype and shape."""
        values = np.asarray(values)
        head = canonical_json([str(values.dtype.newbyteorder("=")), list(values.shape)])
        body = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
        digest = hashlib.sha256(head.encode())
        digest.update(body.reshape(-1).view(np.uint8).data)
        return self._put(name, digest.hexdigest())

    def value(self, name: str, value: Any) -> ContentHasher:
        """Add a JSON-able value, such as the class order."""
        return self._put(name, text_digest(value))

    def _put(self, name: str, digest: str) -> ContentHasher:
        if name in self._parts:
            raise ValueError(f"{name!r} was added twice")
        self._parts[name] = digest
        return self

    def hexdigest(self) -> str:
        """The content digest (sha256, hex)."""
        return text_digest([DIGEST_VERSION, self._kind, self._parts])
