"""Fetching the datasets that may be fetched, when a person asks for it.

Belongs here: addresses, md5 sums, whether what lies there is whole, and calling torchvision's downloaders. Does not
belong: what an archive may hold (archives.py), reading (readers/); nothing else in this project downloads data.
"""

from __future__ import annotations

import math
import os
import struct
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from dd_assets.datasets.archives import checked_tars, unpack_zip
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.sources import Source
from dd_assets.errors import InputError, UnknownNameError

TINY_IMAGENET = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")
IMAGENETTE = ("https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612")
IMAGES = {
    "tiny-imagenet-200": {"train": 100_000, "val": 10_000},
    "imagenette2": {"train": 9_469, "val": 3_925},
}
"""Folder that an archive becomes to .JPEG files below each split, as published: fewer are half of an unpacking."""
BY_HAND = {
    "imagewoof": "unpack https://s3.amazonaws.com/fast-ai-imageclas/imagewoof2.tgz there yourself: no md5 sum of it is"
    " published",
    "imagenet1k": "accept ImageNet's terms at https://image-net.org, then arrange imagenet1k/{train,val}/<wnid>/ there",
    "imageidc": "it is read from imagenet1k/{train,val}/<wnid>/; accept ImageNet's terms at https://image-net.org",
}


def download(name: str, root: str) -> str:
    """Fetch and unpack a dataset below `root` and return a line that says what lies where; md5 sums are checked.

    Raises UnknownNameError for an unknown name, InputError for a dataset that cannot be fetched, a remote or missing
    root, a failed transfer or a wrong checksum. What is already complete is not fetched again; an incomplete folder is
    moved aside, and the line says where to.
    """
    if name not in CATALOGUE:
        raise UnknownNameError.of("dataset", name, CATALOGUE)
    if name == "digits":
        return "digits come with scikit-learn; nothing to fetch"
    if not root or "://" in root:
        raise InputError(f"cannot download to {root or 'no folder'}", "set DD_DATA_ROOT to a local folder")
    if name not in DOWNLOADERS:
        raise InputError(f"{name} cannot be downloaded to {root}", BY_HAND[name])
    place = Path(os.path.expanduser(root))
    try:
        place.mkdir(parents=True, exist_ok=True)
        with checked_tars():
            note = DOWNLOADERS[name](place)
    # torchvision states a wrong checksum as RuntimeError; a broken archive raises ValueError or EOFError.
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        remedy = "check the network, the disk and that address, then run the same command again"
        raise InputError(f"downloading {name} to {place} failed: {' '.join(str(error).split())}", remedy) from error
    return f"{name} lies below {place}{note}"


def _archive(loader: str) -> Callable[[Path], str]:
    def fetch(root: Path) -> str:
        from torchvision import datasets

        # torchvision takes any file of that name for a whole one, and unpacks all again where one is missing.
        for path in (root / loader / "raw").glob("*-ubyte"):
            if not _whole_idx(path):
                path.unlink()
        getattr(datasets, loader)(str(root), download=True)
        return ""

    return fetch


def _whole_idx(path: Path) -> bool:
    """Whether an IDX file has as many bytes as its header states."""
    with path.open("rb") as file:
        magic = file.read(4)
        sizes = file.read(4 * magic[3]) if len(magic) == 4 else b""
    if len(magic) < 4 or len(sizes) < 4 * magic[3]:
        return False
    return path.stat().st_size == 4 + len(sizes) + math.prod(struct.unpack(f">{magic[3]}I", sizes))


def _tiny_imagenet(root: Path) -> str:
    return _unpacked(root, "tiny-imagenet-200", *TINY_IMAGENET)


def _imagenette(root: Path) -> str:
    return _unpacked(root, "imagenette2", *IMAGENETTE)


def _images(root: Path, folder: str) -> int:
    return sum(entry.path.endswith(".JPEG") for entry in Source(str(root)).walk(folder))


def _unpacked(root: Path, folder: str, address: str, md5: str) -> str:
    """Fetch an archive and unpack it beside `folder`, which then takes its place all at once; what is to be said."""
    from torchvision.datasets.utils import download_url, extract_archive

    place, note = root / folder, ""
    if all(_images(root, f"{folder}/{split}") >= count for split, count in IMAGES[folder].items()):
        return note
    download_url(address, str(root), md5=md5)
    archive = root / address.rpartition("/")[2]
    with tempfile.TemporaryDirectory(prefix=f".{folder}.", dir=root) as beside:
        if archive.suffix == ".zip":
            unpack_zip(archive, Path(beside))
        else:
            extract_archive(str(archive), beside)
        if os.path.lexists(place):
            # An interrupted command left it, or a person, whose files are in it.
            aside = root / f"{folder}.incomplete-{uuid.uuid4().hex[:8]}"
            os.replace(place, aside)
            note = f"; what was there before, incomplete, is now {aside}"
        os.replace(Path(beside) / folder, place)
    return note


DOWNLOADERS: dict[str, Callable[[Path], str]] = {
    "mnist": _archive("MNIST"),
    "fashion_mnist": _archive("FashionMNIST"),
    "cifar10": _archive("CIFAR10"),
    "cifar100": _archive("CIFAR100"),
    "imagenette": _imagenette,
    "tiny_imagenet": _tiny_imagenet,
}
