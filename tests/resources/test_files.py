"""What file systems do wrong below the store: folders that cannot be listed, writes in conflict, other addresses."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from dd_assets.errors import InputError, StoreError
from dd_resources import files
from dd_resources.files import Files
from dd_resources.store import ArtefactStore

CONFLICT = ClientError({"Error": {"Code": "ConditionalRequestConflict", "Message": "in progress"}}, "PutObject")


def cannot_list(monkeypatch: pytest.MonkeyPatch, folder: str, number: int) -> None:
    """Let the listing of one folder fail; permission bits would not stop an administrator."""
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).rstrip("/").endswith(folder):
            raise OSError(number, os.strerror(number), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize("folder", ["references", "references/default/teacher"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_listed_is_no_empty_one(
    folder_store: ArtefactStore, monkeypatch: pytest.MonkeyPatch, folder: str, number: int
) -> None:
    folder_store.replace("references/default/teacher/digits.json", b"{}")
    cannot_list(monkeypatch, folder, number)
    with pytest.raises(StoreError, match=rf"store .*: listing references failed: .*{folder}.* → ") as refusal:
        folder_store.list("references")
    assert "\n" not in str(refusal.value)


def test_a_folder_that_goes_while_it_is_listed_is_empty(
    folder_store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_store.replace("lease/a/1", b"{}")
    folder_store.replace("lease/b/1", b"{}")
    cannot_list(monkeypatch, "lease/a", errno.ENOENT)
    assert folder_store.list("lease") == ["lease/b/1"]
    assert folder_store.list("nowhere") == []


def test_what_cannot_be_looked_for_is_not_taken_for_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(str(tmp_path))
    (tmp_path / "payloads").mkdir()
    (tmp_path / "payloads" / "a").write_bytes(b"1")
    assert files.exists("payloads/a")
    assert not files.exists("payloads/b")
    assert not files.exists("payloads/a/b")
    stat = os.stat

    def failing(path: object, *rest: object, **more: object) -> os.stat_result:
        if str(path).endswith("payloads/a"):
            raise OSError(errno.EIO, "Input/output error")
        return stat(path, *rest, **more)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(os, "stat", failing)
    with pytest.raises(StoreError, match="payloads/a"):
        files.exists("payloads/a")


def test_links_are_not_files_of_the_store(folder_store: ArtefactStore, tmp_path: Path) -> None:
    folder_store.replace("work/a", b"x")
    Path(folder_store.root, "work", "link").symlink_to(Path(folder_store.root, "work", "a"))
    Path(folder_store.root, "work", "elsewhere").symlink_to(tmp_path)
    assert folder_store.list("work") == ["work/a"]


class InConflict:
    """A bucket that answers conditional writes with 409 so many times."""

    def __init__(self, conflicts: int, there: bytes | None = None) -> None:
        self.conflicts, self.there, self.tries = conflicts, there, 0

    def pipe_file(self, path: str, data: bytes, **kwargs: Any) -> None:
        self.tries += 1
        if self.tries <= self.conflicts:
            raise translate_boto_error(CONFLICT)
        if self.there is not None:
            raise FileExistsError(path)
        self.there = data

    def exists(self, path: str) -> bool:
        return self.there is not None


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that were asked for, none of which is made."""
    made: list[float] = []
    monkeypatch.setattr(files.time, "sleep", made.append)
    return made


def in_bucket(server: InConflict) -> Files:
    """Files in that bucket."""
    found = Files("s3://bucket/prefix")
    found._connected = (os.getpid(), server)
    return found


def test_a_write_in_conflict_with_another_is_tried_again(waits: list[float]) -> None:
    server = InConflict(2)
    assert in_bucket(server).put_if_absent("a", b"mine")
    assert (server.tries, server.there) == (3, b"mine")
    assert len(waits) == 2
    server = InConflict(1, b"theirs")
    assert not in_bucket(server).put_if_absent("a", b"mine")
    assert server.there == b"theirs"


def test_after_the_last_conflict_what_is_there_decides(waits: list[float]) -> None:
    assert not in_bucket(InConflict(99, b"theirs")).put_if_absent("a", b"mine")
    server = InConflict(99)
    with pytest.raises(StoreError, match=r"writing a failed: .*Conflict.* → .*run the same command again") as refusal:
        in_bucket(server).put_if_absent("a", b"mine")
    assert "AWS_ENDPOINT_URL" not in str(refusal.value)
    assert server.tries == len(files.CONFLICT_PAUSES) + 1
    assert sum(files.CONFLICT_PAUSES) < 10


@pytest.mark.parametrize(
    "address", ["S3://b/x", "gs://b/x", "file:///tmp/x", "s3:/b/x", "s3://", "memory://x", "http://host/x", "C:/x"]
)
def test_an_address_of_another_kind_is_refused_with_those_that_are_not(address: str) -> None:
    with pytest.raises(InputError, match=r"DD_STORE.* → .*folder.* s3://bucket/prefix"):
        Files(address)


@pytest.mark.parametrize("address", ["s3://b/x", "s3a://b/x", "s3://b"])
def test_buckets_are_no_folders(address: str) -> None:
    assert not Files(address).is_local


@pytest.mark.parametrize("address", ["/a/b", "a/b", "~/a", "../a:b/c", "a:b"])
def test_plain_paths_are_folders(address: str) -> None:
    assert Files(address).is_local
