"""Refusals of the file system as one clear error.

Belongs here: what a person named and cannot be written. Does not belong: a full disk and its like, which stay what they
are (machine.machine_error), the artefact store (dd_resources).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dd_assets.errors import InputError
from dd_assets.machine import machine_error


@contextmanager
def writing(what: str, remedy: str) -> Iterator[None]:
    """Inside, an OSError is an InputError that says that `what` cannot be written, and why."""
    try:
        yield
    except OSError as error:
        if machine_error(error) is not None:
            raise
        raise InputError(f"{what}: {error.strerror or error}", remedy) from error
