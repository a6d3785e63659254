"""Class names of known datasets and the folders that hold them, as data.

Belongs here: reading the tables in class_names/ (columns `class`, `folder`). Does not belong: settings (registry.py).

Names and WordNet ids are those of the datasets themselves; where a dataset names a class by several synonyms, the
first is used. Rows stand in ascending order of the folder, which is the class order of ImageFolder.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from dd_assets.errors import UnknownNameError

TABLES = Path(__file__).parent / "class_names"


@cache
def class_folders(table: str) -> dict[str, str]:
    """Class name to folder name (a WordNet id for ImageNet's relatives), in class order; raises UnknownNameError."""
    known = sorted(path.stem for path in TABLES.glob("*.csv"))
    if table not in known:
        raise UnknownNameError.of("class table", table, known)
    with open(TABLES / f"{table}.csv", encoding="utf-8", newline="") as file:
        return {row["class"]: row["folder"] for row in csv.DictReader(file)}


def class_names(table: str) -> tuple[str, ...]:
    """The class names of a table, in class order; raises UnknownNameError."""
    return tuple(class_folders(table))
