"""Requests for synthesis on small data.

Belongs here: building a Request from few words. Does not belong: assertions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.methods.contract import Facts
from dd_assets.methods.request import Request
from dd_assets.progress import Checkpoints, NoCheckpoints
from tests.models.digits import digits, facts, teacher


def request(
    parameters: Any,
    ipc: int,
    *,
    first: int = 0,
    last: int | None = None,
    seed: int = 0,
    facts: Facts | None = None,
    train: Callable[[], ImageArrays] = lambda: digits()[0],
    teacher: Callable[[], Any] = teacher,
    checkpoints: Checkpoints | None = None,
) -> Request:
    """A request on the digits unless told otherwise."""
    return Request(
        facts=facts or digit_facts(),
        parameters=parameters,
        ipc=ipc,
        first=first,
        last=ipc if last is None else last,
        seed=seed,
        train=train,
        teacher=teacher,
        checkpoints=checkpoints or NoCheckpoints(),
    )


digit_facts = facts
