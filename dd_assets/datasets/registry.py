"""The dataset axis: which settings are enabled.

Belongs here: finding settings by name; light, no torch, no image decoding. Does not belong: what a setting consists of
(setting.py), the known datasets (catalogue.py), YAML (user_settings.py), reading images (readers/), method parameters
(methods/<name>/recipe.py).
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import TUNE, Setting, tune_variant
from dd_assets.datasets.user_settings import read_settings
from dd_assets.errors import InputError, UnknownNameError


@cache
def settings() -> dict[str, Setting]:
    """All enabled settings by name: `digits` and those of the YAML file that DD_DATASETS names."""
    known = {"digits": CATALOGUE["digits"]}
    path = os.environ.get("DD_DATASETS")
    for entry in read_settings(Path(path)) if path else ():
        if entry.name in known:
            raise InputError(f"{path}: the name {entry.name!r} is taken", "give the setting another name")
        known[entry.name] = entry
    return known


def setting(name: str) -> Setting:
    """The setting of that name, or the tune variant of one, enabled or not; raises UnknownNameError."""
    known = settings()
    if name in known:
        return known[name]
    base = name.removesuffix(TUNE)
    if base not in known and base in CATALOGUE:
        raise UnknownNameError(
            f"dataset {base!r} is known but not enabled here ({', '.join(known)})",
            f"name a YAML file with the line `{base}: {{base: {base}}}` in DD_DATASETS (docs/datasets.md)",
        )
    if base not in known or known[base].tune_of:
        raise UnknownNameError.of("dataset", name, known)
    return tune_variant(known[base])


def enabled(name: str) -> Setting:
    """The enabled setting of that name, whose partitions there are; raises UnknownNameError, for a variant too."""
    chosen = setting(name)
    if name not in settings():
        raise UnknownNameError(
            f"dataset {name!r} is not enabled",
            f"write `tune: true` into the entry of {chosen.tune_of} in the file that DD_DATASETS names"
            " (docs/datasets.md)",
        )
    return chosen


def ipc_values() -> tuple[int, ...]:
    """The IPC axis: the union of all settings' values, ascending."""
    return tuple(sorted({ipc for entry in settings().values() for ipc in entry.ipc}))
