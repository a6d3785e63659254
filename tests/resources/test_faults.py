"""What a full or read-only disk does to the store: a clear refusal, and nothing that was committed is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dd_assets.errors import StoreError
from dd_resources.store import ArtefactStore
from tests.resources.samples import product, unit


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_midway_is_named_and_nothing_committed_is_lost(small_disk: Path) -> None:
    store = ArtefactStore(str(small_disk / "store")).open()
    kept = store.commit(unit(0), product(b"a" * 50_000), {})
    before = store.list("")
    with pytest.raises(StoreError, match=r"store .*small/store: writing .* No space left.* → free space") as refusal:
        store.commit(unit(1), product(b"b" * 400_000), {})
    assert "\n" not in str(refusal.value)
    assert [entry.path for entry in store.entries("")] == before, "a temporary file was left behind"
    assert store.lookup(unit(1).digest) is None
    assert store.read(kept, "w.bin") == b"a" * 50_000
    assert store.read(store.commit(unit(1), product(b"b" * 1000), {}), "w.bin") == b"b" * 1000


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(small_disk: Path) -> None:
    store = ArtefactStore(str(small_disk / "store")).open()
    store.replace("work/a/checkpoint", b"1" * 60_000)
    with pytest.raises(StoreError, match="No space left"):
        store.replace("work/a/checkpoint", b"2" * 400_000)
    assert store.read_or_none("work/a/checkpoint") == b"1" * 60_000
    assert [entry.path for entry in store.entries("work")] == ["work/a/checkpoint"]


def test_a_read_only_store_is_read_and_refuses_writes(small_disk: Path) -> None:
    # The administrator ignores permission bits, so the whole mount is made read-only.
    kept = ArtefactStore(str(small_disk / "store")).commit(unit(0), product(), {})
    _mount("-o", "remount,ro", str(small_disk))
    store = ArtefactStore(str(small_disk / "store")).open()
    assert store.read(kept, "w.bin") == b"weights"
    with pytest.raises(StoreError, match=r"Read-only file system.* → make it writable"):
        store.commit(unit(1), product(b"new"), {})


def test_a_new_store_on_a_read_only_disk_is_refused(small_disk: Path) -> None:
    _mount("-o", "remount,ro", str(small_disk))
    with pytest.raises(StoreError, match=r"small/store.*Read-only file system"):
        ArtefactStore(str(small_disk / "store")).open()
