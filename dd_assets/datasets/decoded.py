"""Decoded datasets and source digests remembered between processes, in the user's cache folder.

Belongs here: storing and finding them again, checking what is found, giving up quietly when the disk is full.
Does not belong: results (dd_resources/store.py). Nothing here is needed: the folder may be deleted at any time.

    ~/.cache/dd-assets/decoded/<key>/{train,test}_{images,labels}.npy, entry.json
    ~/.cache/dd-assets/sources/<key>                                     a fingerprint, as text
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.lazy import np

FORMAT = 1
"""Raise it when reading or resizing changes, so that older entries are not found."""
RESERVE = 2 << 30
"""Bytes that stay free on the cache's disk: results must not fail because of a cache."""
Content = Callable[[Normalisation, ImageArrays, ImageArrays], str]
"""The content digest of a dataset under a normalisation."""


def cache_folder() -> Path | None:
    """~/.cache/dd-assets, or None for a user without a home."""
    try:
        return Path.home() / ".cache" / "dd-assets"
    except RuntimeError:
        return None


def find(key: str, normalisation: Normalisation, content: Content) -> tuple[ImageArrays, ImageArrays, str] | None:
    """(train, test, content digest) of an entry, memory-mapped copy-on-write; None if absent or not what it says.

    The entry states the content digest it was written with; every find computes it again from the mapped bytes.
    """
    folder = _entry(key)
    try:
        if folder is None or not folder.is_dir():
            return None
    except OSError:
        # A home that this user may not enter: as good as none.
        return None
    try:
        stated = json.loads((folder / "entry.json").read_text("utf-8"))
        written = Normalisation(**{name: tuple(values) for name, values in stated["normalisation"].items()})
        # Mode "c": writers change their own pages, never the file, and torch gets a writable array.
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in NAMES]
        train, test = (ImageArrays(np.asarray(i), np.array(t)) for i, t in (arrays[:2], arrays[2:]))
        intact = content(written, train, test) == stated["content"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        intact = False
    if not intact:
        warnings.warn(f"cached dataset {folder} is damaged and will be written anew", stacklevel=2)
        _remove(folder)
        return None
    return train, test, stated["content"] if written == normalisation else content(normalisation, train, test)


NAMES = ("train_images", "train_labels", "test_images", "test_labels")


def keep(key: str, normalisation: Normalisation, train: ImageArrays, test: ImageArrays, content: str) -> bool:
    """Write an entry, all at once; False, with a warning, if the disk is full or not writable."""
    folder = _entry(key)
    if folder is None:
        return False
    arrays = dict(zip(NAMES, (train.images, train.labels, test.images, test.labels), strict=True))
    temporary = folder.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir(parents=True)
        needed = sum(values.nbytes for values in arrays.values())
        if shutil.disk_usage(temporary).free < needed + RESERVE:
            raise OSError(f"{needed / 1e9:.1f} GB would leave less than {RESERVE >> 30} GB free")
        for name, values in arrays.items():
            np.save(temporary / f"{name}.npy", values, allow_pickle=False)
        stated = {"content": content, "normalisation": asdict(normalisation)}
        (temporary / "entry.json").write_text(json.dumps(stated), "utf-8")
        try:
            os.replace(temporary, folder)
        except OSError:
            # Another process was first; its entry has the same key, hence the same content.
            if not folder.is_dir():
                raise
    except OSError as error:
        warnings.warn(f"decoded dataset not cached in {folder.parent}: {error}", stacklevel=2)
        return False
    finally:
        _remove(temporary)
    return True


def remembered_fingerprint(key: str) -> str | None:
    """The fingerprint kept under a key; None if there is none."""
    folder = cache_folder()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = (folder / "sources" / key).read_text("ascii") if folder else ""
        return text if len(text) == 64 else None
    return None


def remember_fingerprint(key: str, fingerprint: str) -> None:
    """Keep a fingerprint under a key, if the disk allows it."""
    folder = cache_folder()
    if folder is None:
        return
    temporary = folder / "sources" / f".{uuid.uuid4().hex}.tmp"
    with contextlib.suppress(OSError):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(fingerprint, "ascii")
        os.replace(temporary, temporary.with_name(key))


def _entry(key: str) -> Path | None:
    folder = cache_folder()
    return folder / "decoded" / key if folder else None


def _remove(folder: Path) -> None:
    """Remove a folder that others may be looking at: rename first, so that nobody finds half of it."""
    gone = folder.with_name(f".{uuid.uuid4().hex}.tmp")
    with contextlib.suppress(OSError):
        os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)
