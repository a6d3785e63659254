"""Archives: what may be unpacked, and that nothing of what may not reaches the disk."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from dd_assets.datasets import archives, downloads
from dd_assets.datasets.archives import checked_member, checked_tars, unpack_zip
from dd_assets.errors import InputError

BAD_NAMES = [
    "../outside",
    "a/../../outside",
    "/etc/passwd",
    "~/x",
    "a\\..\\b",
    "C:/x",
    "a\nb",
    "a\0b",
    "x" * 256,
    "/".join("d" * 8 for _ in range(200)),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_member_that_leaves_its_folder_or_has_an_absurd_name_is_refused(name: str) -> None:
    with pytest.raises(InputError) as refusal:
        checked_member(name, "data.zip")
    assert len(str(refusal.value)) < 400
    assert "\n" not in str(refusal.value)


def zipped(path: Path, members: dict[str, bytes], link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFLNK | 0o777 if name == link else stat.S_IFREG | 0o644) << 16
            made.writestr(entry, data)
    return path


def test_a_good_zip_is_unpacked(tmp_path: Path) -> None:
    unpack_zip(zipped(tmp_path / "a.zip", {"t/train/a.txt": b"1", "t/b.txt": b"2"}), tmp_path / "out")
    assert (tmp_path / "out/t/train/a.txt").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("members", "link"),
    [({"good": b"1", "../outside": b"2"}, ""), ({"good": b"1", "bad": b"/etc"}, "bad"), ({"/abs": b"1"}, "")],
    ids=["traversal", "symlink", "absolute"],
)
def test_nothing_of_a_bad_zip_is_written(tmp_path: Path, members: dict[str, bytes], link: str) -> None:
    with pytest.raises(InputError, match=r"a\.zip: member"):
        unpack_zip(zipped(tmp_path / "a.zip", members, link), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} <= {"a.zip", "home"}


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 16)
    bomb = zipped(tmp_path / "a.zip", {"zeros": bytes(10 << 20)})
    assert bomb.stat().st_size < 20_000
    with pytest.raises(InputError, match=r"at most 3000000 files and 0\.\d GB are unpacked"):
        unpack_zip(bomb, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")


def tarred(path: Path, name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Path:
    with tarfile.open(path, "w:gz") as made:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, target, 1 if kind == tarfile.REGTYPE else 0
        made.addfile(entry, io.BytesIO(b"x"))
    return path


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("../outside", tarfile.REGTYPE, ""),
        ("/tmp/h_flt_outside", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "/etc"),
        ("hard", tarfile.LNKTYPE, "../x"),
        ("pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_torchvisions_unpacking_of_tar_files_obeys_the_same_rules(
    tmp_path: Path, name: str, kind: bytes, target: str
) -> None:
    from torchvision.datasets.utils import extract_archive

    archive = tarred(tmp_path / "a.tgz", name, kind, target)
    with pytest.raises(InputError, match="member"), checked_tars():
        extract_archive(str(archive), str(tmp_path / "out"))
    assert not (tmp_path / "outside").exists()
    assert not list((tmp_path / "out").rglob("*"))
    assert "extraction_filter" not in tarfile.TarFile.__dict__ or tarfile.TarFile.extraction_filter is None


def test_a_good_tar_file_is_unpacked_while_checked(tmp_path: Path) -> None:
    from torchvision.datasets.utils import extract_archive

    with checked_tars():
        extract_archive(str(tarred(tmp_path / "a.tgz", "t/a")), str(tmp_path / "out"))
    assert (tmp_path / "out/t/a").read_bytes() == b"x"


def test_without_the_hook_of_pep_706_nothing_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.0 to 3.11.3 ignore `extraction_filter`, so no member would be checked."""
    monkeypatch.delattr(tarfile, "data_filter")
    monkeypatch.setitem(downloads.DOWNLOADERS, "cifar10", lambda _: pytest.fail("fetched"))
    with pytest.raises(InputError, match=r"cannot check .* → use Python 3\.11\.4 or newer"):
        downloads.download("cifar10", str(tmp_path))
