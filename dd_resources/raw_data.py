"""Where raw datasets lie, and loading them once.

Belongs here: the data root, fingerprints of source files, the in-memory cache. Does not belong: file layouts
(dd_assets/datasets/readers), the cache on disk (dd_assets/datasets/decoded.py), Dagster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from dd_assets import randomness
from dd_assets.datasets import decoded
from dd_assets.datasets.registry import setting
from dd_assets.datasets.setting import VALIDATION, Setting
from dd_assets.datasets.sources import Found, Source
from dd_assets.errors import InputError
from dd_assets.lazy import np
from dd_assets.planning.digests import ContentHasher, text_digest

if TYPE_CHECKING:
    from dd_assets.datasets.arrays import ImageArrays, Normalisation
    from dd_assets.datasets.readers import Reader

REMEMBERED_FROM = 16 << 20
"""Bytes from which a source's fingerprint is kept on disk; smaller ones are hashed faster than looked up."""


@dataclass(frozen=True)
class RawData:
    """The raw data root (DD_DATA_ROOT), a folder or an s3:// URL; settings without files of their own need none."""

    root: str = ""

    def fingerprint(self, chosen: Setting) -> str:
        """Digest of the source files, decoding nothing; raises InputError naming a missing file.

        Local files count by their bytes, hashed once and remembered while sizes and modification times stay; on S3
        they count by ETag and size.
        """
        return _fingerprint(chosen, Source(self.root))

    def load(self, name: str, expected: str | None = None) -> tuple[ImageArrays, ImageArrays]:
        """(train, test) of a setting; raises InputError if the content is not the `expected` content digest.

        Memory: images x size² x channels bytes, once per process. A dataset read from the disk cache is memory-mapped
        and shares those bytes with other processes.
        """
        chosen = setting(name)
        train, test, content = _load(self.root, name, _decoding(chosen, self.fingerprint(chosen)), chosen.normalisation)
        if expected is not None and content != expected:
            raise InputError(
                f"dataset {name}: what is read now is not what the dataset asset was made of, because its files or the"
                " image decoder changed",
                "materialize the dataset asset again; if that computes nothing, `dd-assets explain dataset"
                f" {name}` names the recipe to discard first",
            )
        return train, test


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, remembered while its size and modification time stay."""
    status = path.stat()
    return _file_digest(str(path), status.st_size, str(status.st_mtime_ns))


@lru_cache(maxsize=200_000)
def _file_digest(path: str, size: int, modified: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(chosen: Setting, source: Source) -> str:
    from dd_assets.datasets.readers import reader
    from dd_assets.datasets.readers.layout import check_options

    layout = reader(chosen)
    check_options(chosen, layout.options)
    if not (layout.bundled or source.given):
        raise InputError(f"dataset {chosen.name} needs a data root", "set DD_DATA_ROOT to the folder that holds it")
    files = layout.files(chosen, source)
    listing = [[source.describe(entry.path), entry.size, entry.mark] for entry in files]
    boundary = _boundary(chosen, layout, source, files)
    key = text_digest([layout.place_is_label, listing, *boundary])
    # Without a mark, a size alone would have to stand for the content.
    kept = sum(entry.size for entry in files) >= REMEMBERED_FROM and all(entry.mark for entry in files)
    found = decoded.remembered_fingerprint(key) if kept else None
    if found is None:
        found = text_digest([*(_identity(layout, source, entry) for entry in files), *boundary])
        if kept:
            decoded.remember_fingerprint(key, found)
    return found


def _boundary(chosen: Setting, layout: Reader, source: Source, files: Sequence[Found]) -> list[int]:
    """[files of the training split] where a file could move to the other split and the sequence of files stay.

    [] for one file per split, which have had their fingerprint without it.
    """
    return [layout.training_files(chosen, source)] if layout.training_files is not None and len(files) > 2 else []


def _identity(layout: Reader, source: Source, entry: Found) -> str | list[str]:
    """What stands for one file: the digest of its bytes or its ETag and, where the folder is the label, its path."""
    if layout.bundled:
        digest = _file_digest(entry.path, entry.size, entry.mark)
    elif source.is_local:
        digest = _file_digest(str(source.local(entry.path)), entry.size, entry.mark)
    elif entry.mark:
        digest = f"{entry.mark} {entry.size}"
    else:
        digest = hashlib.sha256(source.read(entry.path)).hexdigest()
    return [entry.path, digest] if layout.place_is_label else digest


def _decoding(chosen: Setting, fingerprint: str) -> str:
    """Digest of all that decides the decoded arrays: the files, the setting's part in reading them, the decoder."""
    from PIL import __version__ as decoder

    reading = [chosen.reader, dict(chosen.options), chosen.data, chosen.classes, chosen.size, chosen.channels]
    return text_digest([decoded.FORMAT, fingerprint, reading, decoder])


@lru_cache(maxsize=2)
def _load(root: str, name: str, key: str, normalisation: Normalisation) -> tuple[ImageArrays, ImageArrays, str]:
    from dd_assets.datasets.readers import reader

    chosen, source = setting(name), Source(root)
    if chosen.tune_of:
        whole, _, _ = _load(root, chosen.tune_of, key, normalisation)
        train, test = split(whole, chosen.name)
        return train, test, _content(chosen.classes, normalisation, train, test)
    layout = reader(chosen)
    digest = partial(_content, chosen.classes)
    found = decoded.find(key, normalisation, digest) if layout.encoded else None
    if found is not None:
        return found
    train, test = layout.read(chosen, source)
    content = digest(normalisation, train, test)
    # Files that changed while they were read would be kept under the key of what they were before.
    if layout.encoded and _decoding(chosen, _fingerprint(chosen, source)) == key:
        decoded.keep(key, normalisation, train, test, content)
    return train, test, content


def split(whole: ImageArrays, name: str) -> tuple[ImageArrays, ImageArrays]:
    """(training, validation) parts of a training split: of each class every fifth image, at least one, validates.

    Which ones depends on the class sizes alone. Raises InputError where a class has a single image.
    """
    from dd_assets.datasets.arrays import ImageArrays

    held = np.zeros(len(whole), dtype=bool)
    for label in np.unique(whole.labels):
        rows = whole.of_class(label)
        if len(rows) < 2:
            raise InputError(f"dataset {name}: class {label} has one training image, none is left to validate with")
        order = randomness.permutation(len(rows), 0, "tune", "validation", int(label))
        held[rows[order[: max(1, len(rows) // VALIDATION)]]] = True
    train, test = (ImageArrays(whole.images[rows], whole.labels[rows]) for rows in (~held, held))
    return train, test


def dataset_digest(chosen: Setting, train: ImageArrays, test: ImageArrays) -> str:
    """Content digest of a dataset: decoded pixels, labels, class order, normalisation."""
    return _content(chosen.classes, chosen.normalisation, train, test)


def _content(classes: tuple[str, ...], normalisation: Normalisation, train: ImageArrays, test: ImageArrays) -> str:
    hasher = ContentHasher("dataset").value("classes", classes).value("normalisation", normalisation)
    for split, arrays in (("train", train), ("test", test)):
        hasher.array(f"{split}/images", arrays.images).array(f"{split}/labels", arrays.labels)
    return hasher.hexdigest()
