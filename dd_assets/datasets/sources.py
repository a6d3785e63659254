"""The folder, here or on S3, under which raw datasets lie.

Belongs here: listing and reading below one root, and refusing paths that leave it. Does not belong: layouts
(readers/), digests and caches (dd_resources/raw_data.py).
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from dd_assets.addresses import without_credentials
from dd_assets.errors import DDError, InputError

MAX_DEPTH = 6
"""Parts of a file's path below a walked folder; more means a symlink cycle or the wrong folder."""
MAX_PATH, MAX_PART = 1024, 255
"""Characters of a relative path and bytes of one part: what file systems and S3 take."""
REMOTE = ("botocore", "aiobotocore", "aiohttp", "s3fs", "fsspec")
"""Modules whose exceptions mean that a remote root failed."""


@dataclass(frozen=True)
class Found:
    """A file below the root."""

    path: str
    """Relative to the root, parts joined by '/'."""
    size: int
    mark: str
    """What changes with the content: modification time in ns here, the ETag on S3; '' where there is none."""


def safe_path(text: str, what: str) -> str:
    """The text if it is a relative path that stays below its root; raises InputError naming `what`."""
    parts = PurePosixPath(text).parts
    if len(text) > MAX_PATH or any(len(part.encode("utf-8", "replace")) > MAX_PART for part in parts):
        raise InputError(f"{what} {text[:60]!r}… has {len(text)} characters", f"at most {MAX_PATH}, {MAX_PART} a part")
    if not text or "\\" in text or "\0" in text or text.startswith(("/", "~")) or ".." in parts or "://" in text:
        raise InputError(f"{what} {text!r} is not a path below DD_DATA_ROOT", "write it relative, without '..'")
    return str(PurePosixPath(text))


class Source:
    """A data root: a local folder, or a URL that fsspec understands such as s3://bucket/prefix."""

    def __init__(self, root: str) -> None:
        self.is_local = "://" not in without_credentials(root, "DD_DATA_ROOT")
        self.given = root
        self.root = os.path.realpath(os.path.expanduser(root)) if self.is_local else root.rstrip("/")

    def describe(self, path: str) -> str:
        """Where a relative path lies, for messages."""
        return f"{self.root}/{path}"

    @cached_property
    def _fs(self) -> tuple[Any, str]:
        import fsspec

        # A cached listing would hide, for as long as this process lives, what others have written since.
        return fsspec.core.url_to_fs(self.root, use_listings_cache=False)

    def local(self, path: str) -> Path:
        """The file or folder on this machine; raises InputError if the root is remote or a link leads away from it.

        A link directly in the root is its owner's way of saying where a dataset lies, and is followed. Deeper ones,
        which a dataset may bring along, must stay inside the root or inside what that first link leads to.
        """
        if not self.given:
            raise InputError(f"no data root to find {path} in", "set DD_DATA_ROOT to the folder that holds it")
        if not self.is_local:
            raise InputError(f"{self.describe(path)} must be a local file", "copy it here and set DD_DATA_ROOT")
        place = os.path.join(self.root, path)
        real = os.path.realpath(place)
        first = os.path.realpath(os.path.join(self.root, path.partition("/")[0]))
        if not any(real == kept or real.startswith(kept.rstrip(os.sep) + os.sep) for kept in (self.root, first)):
            raise InputError(
                f"{place} is a link to {real}, outside the data root",
                "copy the files, or link the dataset's folder directly in DD_DATA_ROOT",
            )
        return Path(place)

    def find(self, pattern: str) -> list[Found]:
        """The file of that name, or those whose last part matches a pattern with '*', by path; [] if there is none."""
        folder, _, last = pattern.rpartition("/")
        if "*" in last:
            entries = self.walk(folder, depth=1)
            return [entry for entry in entries if fnmatch.fnmatchcase(entry.path.rpartition("/")[2], last)]
        if self.is_local:
            place = self.local(pattern)
            return [_found(pattern, place.stat())] if place.is_file() else []
        try:
            with self._reaching(pattern):
                fs, base = self._fs
                info = fs.info(f"{base}/{pattern}")
        except FileNotFoundError:
            return []
        return [_remote(pattern, info)] if info["type"] == "file" else []

    def walk(self, folder: str, depth: int = 0) -> list[Found]:
        """All files below a folder but hidden ones, ascending by path; [] if the folder does not exist.

        depth: folders that deep alone; 0 stands for all, and raises InputError for files below more than MAX_DEPTH.
        """
        found = self._walk(folder, depth or MAX_DEPTH + 1)
        below = {entry.path: entry.path.removeprefix(folder).strip("/").count("/") for entry in found}
        deepest = max(below, key=below.__getitem__, default="")
        if not depth and below.get(deepest, 0) >= MAX_DEPTH:
            raise InputError(
                f"{self.describe(deepest)} lies {MAX_DEPTH} folders or more below {self.describe(folder)}",
                "move it up, or name a folder nearer to it; links must not lead back",
            )
        return found

    def _walk(self, folder: str, depth: int) -> list[Found]:
        if self.is_local:
            place = self.local(folder)
            return sorted(self._scan(place, folder, depth), key=lambda entry: entry.path) if place.is_dir() else []
        try:
            with self._reaching(folder):
                fs, base = self._fs
                listed = fs.find(f"{base}/{folder}" if folder else base, detail=True, maxdepth=depth)
        except FileNotFoundError:
            return []
        prefix = fs._strip_protocol(base).rstrip("/") + "/"
        inside = {path.removeprefix(prefix): info for path, info in listed.items() if path.startswith(prefix)}
        return [_remote(path, inside[path]) for path in sorted(inside) if not _hidden(path, folder)]

    def _scan(self, place: Path, relative: str, depth: int) -> Iterator[Found]:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{relative}/{entry.name}" if relative else entry.name
                if entry.is_symlink():
                    self.local(path)
                if entry.is_dir():
                    if depth > 1:
                        yield from self._scan(Path(entry.path), path, depth - 1)
                elif entry.is_file():
                    yield _found(path, entry.stat())

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder but hidden ones, ascending; [] if it does not exist."""
        if self.is_local:
            place = self.local(folder)
            present = [entry.name for entry in os.scandir(place) if entry.is_dir()] if place.is_dir() else []
            return sorted(name for name in present if not name.startswith("."))
        try:
            with self._reaching(folder):
                fs, base = self._fs
                listed = fs.ls(f"{base}/{folder}" if folder else base, detail=True)
        except FileNotFoundError:
            return []
        names = [info["name"].rstrip("/").rpartition("/")[2] for info in listed if info["type"] == "directory"]
        return sorted(name for name in names if not name.startswith("."))

    def read(self, path: str, most: int | None = None) -> bytes:
        """A file's bytes; raises InputError if it cannot be read or holds more than `most`."""
        with self.open(path) as file, self._reaching(path):
            data = file.read(-1 if most is None else most + 1)
        if most is not None and len(data) > most:
            raise InputError(f"{self.describe(path)} has more than {most} bytes", "replace or remove that file")
        return data

    def open(self, path: str) -> BinaryIO:
        """A file for reading; raises InputError if it cannot be opened."""
        try:
            with self._reaching(path):
                if self.is_local:
                    return open(self.local(path), "rb")
                fs, base = self._fs
                return fs.open(f"{base}/{path}", "rb")
        except FileNotFoundError as error:
            raise InputError(f"{self.describe(path)} does not exist", "check the file and DD_DATA_ROOT") from error

    @contextmanager
    def _reaching(self, path: str) -> Iterator[None]:
        """Turns what file systems raise, but for FileNotFoundError, into an InputError naming the path.

        fsspec's remote ones have exception families of their own (no credentials, endpoint away…).
        """
        try:
            yield
        except (DDError, FileNotFoundError):
            raise
        except Exception as error:
            if not (isinstance(error, (OSError, ImportError, ValueError)) or type(error).__module__.startswith(REMOTE)):
                raise
            remedy = "check the file, the disk and DD_DATA_ROOT"
            if not self.is_local:
                remedy = "check DD_DATA_ROOT, the network and the AWS_* credentials"
            raise InputError(f"{self.describe(path)} cannot be read: {' '.join(str(error).split())}", remedy) from error


def _found(path: str, status: os.stat_result) -> Found:
    return Found(path, status.st_size, str(status.st_mtime_ns))


def _remote(path: str, info: dict[str, Any]) -> Found:
    return Found(path, int(info["size"]), str(info.get("ETag", "")).strip('"'))


def _hidden(path: str, folder: str) -> bool:
    below = path.removeprefix(folder).lstrip("/")
    return any(part.startswith(".") for part in below.split("/"))
