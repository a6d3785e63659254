"""Unpacking archives that came from the network: members are checked before anything is written.

Belongs here: what a member may be called and be, how much an archive may become, unpacking zip files, and making
torchvision's own unpacking of tar files obey the same rules. Does not belong: addresses and checksums (downloads.py).

A checksum says that an archive is the one its publisher named, not that it is harmless.
"""

from __future__ import annotations

import contextlib
import platform
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from dd_assets.datasets.sources import safe_path
from dd_assets.errors import InputError

MAX_MEMBERS = 3_000_000
"""More than twice the files of ImageNet-1K."""
MAX_EXPANSION = 20
"""Bytes that may come out per byte of the archive: pictures hardly compress, bombs do a thousandfold."""
FREE_BYTES = 1 << 30
"""What any archive may become, whatever its size."""
BLAME = "fetch it again from its publisher; it was not unpacked any further"


def checked_member(name: str, where: str) -> str:
    """The name of a member if it stays below the folder that it is unpacked into; raises InputError."""
    if not name.isprintable() or ":" in name:
        raise InputError(f"{where}: member {name[:80]!r} is no usable name", BLAME)
    try:
        return safe_path(name, f"{where}: member")
    except InputError as error:
        raise InputError(error.problem, BLAME) from error


def unpack_zip(archive: Path, to: Path) -> None:
    """Unpack a zip file into a folder, nothing of it if a member is not acceptable; raises InputError.

    Refused: names with '..', '\\\\', a drive or a leading '/', of absurd length or with control characters, links,
    names that occur twice, more than MAX_MEMBERS, and more bytes than MAX_EXPANSION times the archive.
    """
    where, seen, total = str(archive), set[str](), 0
    allowed = max(FREE_BYTES, MAX_EXPANSION * archive.stat().st_size)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            for member in members:
                name = checked_member(member.filename, where)
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or name in seen:
                    raise InputError(f"{where}: member {name[:80]!r} is a link, a device or there twice", BLAME)
                seen.add(name)
                total += member.file_size
            _check_size(where, len(members), total, allowed)
            # zipfile never writes more of a member than the size that was just added up.
            opened.extractall(to)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{where} cannot be unpacked: {error}", BLAME) from error


@contextlib.contextmanager
def checked_tars() -> Iterator[None]:
    """While the body runs, every tar file that this process unpacks is checked member by member; raises InputError.

    Also raised, before the body runs, by a Python that has no hook for such a check (3.11.0 to 3.11.3).
    """
    if not hasattr(tarfile, "data_filter"):
        raise InputError(
            f"Python {platform.python_version()} cannot check what a tar file would write", "use Python 3.11.4 or newer"
        )
    before, count, total = tarfile.TarFile.__dict__.get("extraction_filter"), 0, 0

    def check(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        nonlocal count, total
        where = f"archive for {folder}"
        checked_member(member.name, where)
        if not (member.isreg() or member.isdir()):
            raise InputError(f"{where}: member {member.name[:80]!r} is a link or a device", BLAME)
        count, total = count + 1, total + member.size
        # Its own size is not known here; no dataset that is fetched comes near this.
        _check_size(where, count, total, 40 * FREE_BYTES)
        return tarfile.data_filter(member, folder)

    # The hook of PEP 706: torchvision calls extractall without a filter of its own.
    tarfile.TarFile.extraction_filter = staticmethod(check)  # type: ignore[assignment]
    try:
        yield
    except tarfile.FilterError as error:
        raise InputError(f"an archive is not acceptable: {error}", BLAME) from error
    finally:
        if before is None:
            del tarfile.TarFile.extraction_filter
        else:
            tarfile.TarFile.extraction_filter = before


def _check_size(where: str, members: int, total: int, allowed: int) -> None:
    if members > MAX_MEMBERS or total > allowed:
        raise InputError(
            f"{where}: {members} files of {total / 1e9:.1f} GB together",
            f"at most {MAX_MEMBERS} files and {allowed / 1e9:.1f} GB are unpacked from it",
        )
