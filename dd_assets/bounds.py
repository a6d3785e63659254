"""What numbers a person may state.

Belongs here: ranges, and one error that names the field, its value and the range. Does not belong: which field has
which range (at the field's class), values of other kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dd_assets.errors import InputError


@dataclass(frozen=True)
class Range:
    """Numbers that a field may have."""

    holds: Callable[[float], bool]
    """False of NaN, as every comparison is."""
    words: str


def _whole(value: float) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


WHOLE = Range(_whole, "a whole number")
COUNT = Range(lambda value: _whole(value) and value >= 1, "a whole number, 1 or more")
COUNT_OR_NONE = Range(lambda value: _whole(value) and value >= 0, "a whole number, 0 or more")
ABOVE_ZERO = Range(lambda value: 0 < value < math.inf, "a finite number above 0")
NOT_NEGATIVE = Range(lambda value: 0 <= value < math.inf, "a finite number, 0 or more")
SHARE = Range(lambda value: 0 <= value <= 1, "a number in [0, 1]")
SHARE_ABOVE_ZERO = Range(lambda value: 0 < value <= 1, "a number in (0, 1]")
BELOW_ONE = Range(lambda value: 0 <= value < 1, "a number in [0, 1)")


def require(owner: str, stated: object, ranges: Mapping[str, Range]) -> None:
    """Raise InputError for the first field of `stated` that is no number, or outside its range."""
    for name, allowed in ranges.items():
        value = getattr(stated, name)
        if not isinstance(value, (int, float)) or not allowed.holds(value):
            raise InputError(f"{owner}: {name}={value!r}", f"give {allowed.words}")
