"""A new method's package, as files to start from.

Belongs here: names and the files' places. Does not belong: their text (templates/new_method), checking a method
(methods/checking.py).
"""

from __future__ import annotations

import re
from pathlib import Path

from dd_assets.errors import InputError
from dd_assets.methods.registry import METHODS, require_free
from dd_assets.sharing.export import render, write_folder

_FILES = {
    "pyproject.toml.j2": "pyproject.toml",
    "README.md.j2": "README.md",
    "init.py.j2": "{package}/__init__.py",
    "recipe.py.j2": "{package}/recipe.py",
    "synthesis.py.j2": "{package}/synthesis.py",
    "test_contract.py.j2": "tests/test_contract.py",
}


def new_method(name: str, folder: str) -> list[str]:
    """Write a package with a small working method of that name into a new or empty folder; returns its files.

    Raises InputError for a name that is taken, reserved or no identifier, or a folder that is not empty.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,40}", name):
        raise InputError(f"{name!r} cannot name a method", "use lower-case letters, digits and underscores")
    require_free(name)
    if name in METHODS():
        raise InputError(f"there is a method {name!r} already", "choose another name")
    values = {"name": name, "package": f"dd_assets_{name}", "title": name.replace("_", " ").capitalize()}
    files = {
        place.format(**values): render(f"new_method/{template}", **values).encode()
        for template, place in _FILES.items()
    }
    return write_folder(Path(folder), files)
