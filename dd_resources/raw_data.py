"""Where raw datasets lie, and loading them once per process.

Belongs here: the data root, fingerprints of source files, the in-memory cache. Does not belong: file layouts
(dd_assets/datasets/readers.py), Dagster.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dd_assets.datasets.registry import Setting, setting
from dd_assets.errors import InputError
from dd_assets.planning.digests import ContentHasher, text_digest

if TYPE_CHECKING:
    from dd_assets.datasets.arrays import ImageArrays


@dataclass(frozen=True)
class RawData:
    """The raw data root (DD_DATA_ROOT); settings without files of their own need none."""

    root: str = ""

    def fingerprint(self, chosen: Setting) -> str:
        """Digest of the source files' bytes; raises InputError naming a missing file."""
        from dd_assets.datasets.readers import reader

        files = reader(chosen).files(chosen, Path(self.root))
        missing = [str(path) for path in files if not path.is_file()]
        if missing or not files:
            raise InputError(
                f"dataset {chosen.name}: {missing[0] if missing else 'its folder'} does not exist",
                f"set DD_DATA_ROOT (now {self.root or 'not set'!r}) to the folder that holds it",
            )
        return text_digest([file_digest(path) for path in files])

    def load(self, name: str, expected: str | None = None) -> tuple[ImageArrays, ImageArrays]:
        """(train, test) of a setting; raises InputError if the content is not the `expected` content digest."""
        train, test, content = _load(self.root, name)
        if expected is not None and content != expected:
            raise InputError(
                f"dataset {name}: its files changed after the dataset asset was materialized",
                "materialize the dataset asset again",
            )
        return train, test


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, remembered while its size and modification time stay."""
    status = path.stat()
    return _file_digest(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=200_000)
def _file_digest(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=2)
def _load(root: str, name: str) -> tuple[ImageArrays, ImageArrays, str]:
    from dd_assets.datasets.readers import reader

    chosen = setting(name)
    train, test = reader(chosen).read(chosen, Path(root))
    return train, test, dataset_digest(chosen, train, test)


def dataset_digest(chosen: Setting, train: ImageArrays, test: ImageArrays) -> str:
    """Content digest of a dataset: decoded pixels, labels, class order, normalisation."""
    hasher = ContentHasher("dataset").value("classes", chosen.classes).value("normalisation", chosen.normalisation)
    for split, arrays in (("train", train), ("test", test)):
        hasher.array(f"{split}/images", arrays.images).array(f"{split}/labels", arrays.labels)
    return hasher.hexdigest()
