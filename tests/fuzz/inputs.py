"""What the fuzz tests share: how many examples, how inputs are spoiled, which outcomes are allowed.

Belongs here: strategies and the judgement of an outcome. Does not belong: any reader.

`make fuzz` sets DD_FUZZ=1; without it every test draws a few examples, the same ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dd_assets import errors
from dd_assets.errors import DDError

WHOLE = bool(os.environ.get("DD_FUZZ"))
QUICK = 30
LONGEST = 2 * errors.LONGEST + len(" → ")
"""Characters of an error's text: a problem and a remedy."""
COUNTS: dict[str, list[int]] = {}
"""Reader to (inputs read, inputs refused) in this process."""


def examples(count: int) -> settings:
    """Settings with that many examples under `make fuzz`."""
    return settings(
        max_examples=count if WHOLE else QUICK,
        deadline=None,
        derandomize=not WHOLE,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def judged(reader: str, read: Callable[[], Any]) -> Any:
    """What `read` returns, or None if it refused by an error of ours, in one line; whatever else it raises goes on."""
    count = COUNTS.setdefault(reader, [0, 0])
    count[0] += 1
    try:
        return read()
    except DDError as error:
        count[1] += 1
        text = str(error)
        assert "\n" not in text, f"an error of several lines: {text!r}"
        assert len(text) <= LONGEST, f"an error of {len(text)} characters: {text[:200]!r}"
        return None


@st.composite
def spoiled(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of a good file after a few accidents: flips, cuts, insertions, repetitions; at times nothing like it."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.sampled_from(("flip", "set", "cut", "insert", "drop", "repeat")))
        if what == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "set" and data:
            chosen = draw(st.sampled_from((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80")))
            data[place : place + len(chosen)] = chosen
        elif what == "cut":
            del data[place:]
        elif what == "insert":
            data[place:place] = draw(st.binary(max_size=20))
        elif what == "drop":
            del data[place : place + draw(st.integers(1, 40))]
        else:
            data[place:place] = data[place : place + draw(st.integers(1, 40))]
    return bytes(data)


NUMBERS = st.integers() | st.floats() | st.sampled_from((0, -1, 2**31, 2**63, 10**30, float("nan")))
TEXTS = st.text(max_size=20) | st.sampled_from(
    ("", "..", "../x", "/etc/passwd", "a/b", "a\\b", "\0", "x" * 3000, "²", "digits", "s3://k:s@b", "null")
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
"""Anything that JSON or YAML may hold."""


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """A good nested value with one or two places replaced, removed, renamed or added."""
    for _ in range(draw(st.integers(1, 2))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value, key=str)))
        rest = {name: item for name, item in value.items() if name != key}
        what = draw(st.sampled_from(("deeper", "deeper", "deeper", "remove", "rename", "add")))
        if what == "deeper":
            return {**value, key: _changed(draw, value[key])}
        if what == "remove":
            return rest
        return {**(rest if what == "rename" else value), draw(TEXTS): value[key] if what == "rename" else draw(VALUES)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _changed(draw, value[place]), *value[place + 1 :]]
    return draw(VALUES)
