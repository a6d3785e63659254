"""Files below one root, on a local folder or S3: what the artefact store is built on.

Belongs here: durable and conditional writes, listings, and errors as one line that names the store and a remedy.
Does not belong: what the files are (store.py, leases.py), Dagster, torch.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import fsspec

from dd_assets.addresses import without_credentials
from dd_assets.errors import DDError, InputError, StoreError

TEMPORARY = ".tmp"
FOREIGN_ERRORS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "fsspec")
PART_BYTES = 50 * 2**20
"""Remote objects of twice this and more go up in parts of this size; the condition is then on the last request."""

CONFLICT = "ConditionalRequestConflict"
"""What S3 calls a conditional write that met another write of the same object, whose outcome it does not know yet."""
CONFLICT_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds before each further attempt at such a write."""

BUCKET, ADDRESS = re.compile(r"s3a?://[^/]"), re.compile(r"[\w.+-]+:/")

_MADE: dict[int, Any] = {}
"""Every file system object made in this process or its parent, never let go: a forked child that dropped the parent's
would close its sockets in the event queue that both processes share, and leave the parent waiting for answers."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a listing."""

    path: str
    """Relative to the root."""
    bytes: int
    modified: float
    """Seconds since the epoch, by the clock of the disk or the server."""


class Files:
    """Files below a folder path or an s3:// URL; cheap to create, picklable, usable after fork and spawn."""

    def __init__(self, root: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.root = without_credentials(root, "the store (DD_STORE)").rstrip("/")
        self.storage_options = dict(storage_options or {})
        self._local = not BUCKET.match(root)
        if self._local and ADDRESS.match(root):
            # What is mistyped would otherwise be a new, empty store in a folder of that name.
            raise InputError(
                f"the store (DD_STORE) is {root!r}, which is neither a folder nor a bucket",
                "name a folder such as /data/store, or s3://bucket/prefix (s3a:// is the same), in lower case",
            )
        if self._local:
            self.root = os.path.abspath(os.path.expanduser(self.root))
        self._connected: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A connection belongs to its process; the copy makes its own on first use.
        return {**self.__dict__, "_connected": None}

    @property
    def is_local(self) -> bool:
        """True for a folder on this machine."""
        return self._local

    @property
    def _fs(self) -> Any:
        """The file system of this process; threads share it."""
        process = os.getpid()
        if self._connected is None or self._connected[0] != process:
            protocol = "file" if self._local else self.root.split("://", 1)[0]
            made = fsspec.filesystem(protocol, **self._options(protocol))
            self._connected, _MADE[id(made)] = (process, made), made
        return self._connected[1]

    def _options(self, protocol: str) -> dict[str, Any]:
        if protocol not in ("s3", "s3a"):
            return self.storage_options
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        without_credentials(endpoint or "", "AWS_ENDPOINT_URL")
        stated = {
            # A cached listing would hide what other machines have written since.
            "use_listings_cache": False,
            # botocore's own defaults wait a minute for a host that does not answer, several times over.
            "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 4}},
            **({"endpoint_url": endpoint} if endpoint else {}),
        }
        return {**stated, **self.storage_options}

    def _path(self, relative: str) -> str:
        return f"{self.root}/{relative}"

    # Errors ----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Translate the file system's errors into one line that names the store and a remedy."""
        try:
            yield
        except DDError:
            raise
        except OSError as error:
            raise self._error(doing, error, self._remedy(error)) from error
        except Exception as error:
            # s3fs and botocore have exception families of their own (no credentials, endpoint away…).
            if not type(error).__module__.startswith(FOREIGN_ERRORS):
                raise
            raise self._error(doing, error, self._remedy(error)) from error

    def _error(self, doing: str, error: Exception, remedy: str) -> StoreError:
        text = " ".join(str(error).split()) or type(error).__name__
        return StoreError(f"store {self.root}: {doing} failed: {text}", remedy)

    def _remedy(self, error: Exception) -> str:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT):
            return "free space on its disk, then run the same command again: nothing committed was lost"
        if self._local:
            if number in (errno.EACCES, errno.EROFS, errno.EPERM):
                return "make it writable for this user, and all below it readable, or set DD_STORE to another place"
            return "set DD_STORE to a folder that can be created and written, then run again"
        if isinstance(error, PermissionError):
            return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do with this bucket"
        if isinstance(error, FileNotFoundError):
            return "create the bucket, or set DD_STORE to one that exists"
        return "check that AWS_ENDPOINT_URL answers and the AWS_* credentials are set, then run again"

    # Bytes -----------------------------------------------------------------------------------------------------------

    def put_if_absent(self, relative: str, data: bytes) -> bool:
        """Write a file that must not exist yet, durably and all at once; False if somebody else's is there."""
        with self._errors(f"writing {relative}"):
            return self._link_local(relative, data) if self._local else self._create_remote(relative, data)

    def _link_local(self, relative: str, data: bytes) -> bool:
        target = self._path(relative)
        with _written_beside(target, data) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        _sync_folder(os.path.dirname(target))
        return True

    def _create_remote(self, relative: str, data: bytes) -> bool:
        for pause in CONFLICT_PAUSES:
            try:
                return self._try_to_create(relative, data)
            except OSError as error:
                if CONFLICT not in str(error):
                    raise
            time.sleep(pause)
        try:
            return self._try_to_create(relative, data)
        except OSError as error:
            if CONFLICT not in str(error):
                raise
            if self._fs.exists(self._path(relative)):
                return False
            remedy = "others write the same at this moment and none has finished; run the same command again"
            raise self._error(f"writing {relative}", error, remedy) from error

    def _try_to_create(self, relative: str, data: bytes) -> bool:
        try:
            self._fs.pipe_file(self._path(relative), data, mode="create", chunksize=PART_BYTES)
        except FileExistsError:
            return False
        except OSError as error:
            # s3fs reports the 412 of If-None-Match as EINVAL with this text.
            if "pre-condition" in str(error).lower() or "PreconditionFailed" in str(error):
                return False
            raise
        return True

    def replace(self, relative: str, data: bytes) -> None:
        """Write a file atomically over whatever is there; for references, leases and work files only."""
        with self._errors(f"writing {relative}"):
            if not self._local:
                self._fs.pipe_file(self._path(relative), data)
                return
            with _written_beside(self._path(relative), data) as temporary:
                os.replace(temporary, self._path(relative))

    def read_or_none(self, relative: str, first: int = 0, count: int | None = None) -> bytes | None:
        """A file's bytes, or `count` of them from number `first` on, which must be there; None without a file."""
        with self._errors(f"reading {relative}"):
            try:
                if not self._local:
                    end = None if count is None else first + count
                    return self._fs.cat_file(self._path(relative), start=first or None, end=end)
                with open(self._path(relative), "rb") as file:
                    file.seek(first)
                    return file.read(-1 if count is None else count)
            except FileNotFoundError:
                return None

    def exists(self, relative: str) -> bool:
        """Whether a file is there."""
        with self._errors(f"looking for {relative}"):
            if not self._local:
                return bool(self._fs.exists(self._path(relative)))
            # fsspec's own answers False to any failure: a disk that cannot be read would count as empty.
            try:
                os.stat(self._path(relative))
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True

    def remove(self, relative: str) -> None:
        """Delete a file or a folder with everything below it; nothing happens if it is absent."""
        with self._errors(f"removing {relative}"), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._path(relative), recursive=True)

    def move(self, relative: str, to: str) -> None:
        """Give a file another path below the same root."""
        with self._errors(f"moving {relative}"):
            self._fs.makedirs(os.path.dirname(self._path(to)), exist_ok=True)
            self._fs.mv(self._path(relative), self._path(to))

    def list(self, relative: str) -> list[str]:
        """Paths of all files below a folder, relative to the store, sorted; unfinished writes are left out."""
        return [entry.path for entry in self.entries(relative) if not _unfinished(entry.path)]

    def entries(self, relative: str) -> Sequence[Entry]:
        """All files below a folder with size and age, sorted by path, unfinished writes included."""
        with self._errors(f"listing {relative}"):
            if self._local:
                return sorted(self._local_entries(relative), key=lambda entry: entry.path)
            try:
                found = self._fs.find(self._path(relative), detail=True)
            except FileNotFoundError:
                return []
        start = len(self._fs._strip_protocol(self.root)) + 1
        # A prefix that has just been emptied comes back as a folder.
        files = [_entry(path[start:], facts) for path, facts in found.items() if facts["type"] == "file"]
        return sorted(files, key=lambda entry: entry.path)

    def _local_entries(self, relative: str) -> Iterator[Entry]:
        """As `entries`; fsspec's own passes over what it cannot list, and gc would take that for an empty folder."""
        top = self._path(relative).rstrip("/")
        folders = [("", [], [top])] if os.path.isfile(top) else os.walk(top, onerror=_unless_gone)
        for folder, _, names in folders:
            for path in (os.path.join(folder, name) for name in names):
                with contextlib.suppress(FileNotFoundError):
                    facts = os.lstat(path)
                    if stat.S_ISREG(facts.st_mode):
                        yield Entry(path=path[len(self.root) + 1 :], bytes=facts.st_size, modified=facts.st_mtime)


def _unless_gone(error: OSError) -> None:
    """Somebody else may remove a folder while it is listed; any other failure would leave out what is there."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _unfinished(path: str) -> bool:
    """True for what a killed writer leaves beside its target."""
    name = path.rsplit("/", 1)[-1]
    return name.startswith(".") and name.endswith(TEMPORARY)


def _entry(path: str, facts: Mapping[str, Any]) -> Entry:
    modified = facts["mtime"] if "mtime" in facts else facts["LastModified"]
    seconds = modified.timestamp() if isinstance(modified, datetime) else float(modified)
    return Entry(path=path, bytes=int(facts["size"]), modified=seconds)


@contextlib.contextmanager
def _written_beside(target: str, data: bytes) -> Iterator[str]:
    """The path of a synced temporary file in the target's folder; gone afterwards unless it was renamed."""
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/.{uuid.uuid4().hex}{TEMPORARY}"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
