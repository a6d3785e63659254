"""Fetching the datasets that may be fetched, when a person asks for it.

Belongs here: addresses, md5 sums, and calling torchvision's downloaders. Does not belong: what an archive
may hold (archives.py), reading (readers/); nothing
else in this project downloads data.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dd_assets.datasets.archives import checked_tars, unpack_zip
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.errors import InputError, UnknownNameError

TINY_IMAGENET = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")
BY_HAND = {
    "imagewoof": "unpack https://s3.amazonaws.com/fast-ai-imageclas/imagewoof2.tgz there yourself: no md5 sum of it is"
    " published",
    "imagenet1k": "accept ImageNet's terms at https://image-net.org, then arrange imagenet1k/{train,val}/<wnid>/ there",
    "imageidc": "it is read from imagenet1k/{train,val}/<wnid>/; accept ImageNet's terms at https://image-net.org",
}


def download(name: str, root: str) -> str:
    """Fetch and unpack a dataset below `root` and return a line that says what lies where; md5 sums are checked.

    Raises UnknownNameError for an unknown name, InputError for a dataset that cannot be fetched, a remote or missing
    root, a failed transfer or a wrong checksum. What is already complete is not fetched again.
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
            DOWNLOADERS[name](place)
    # torchvision states a wrong checksum as RuntimeError; a broken archive raises ValueError or EOFError.
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        remedy = "check the network, the disk and that address, then run the same command again"
        raise InputError(f"downloading {name} to {place} failed: {' '.join(str(error).split())}", remedy) from error
    return f"{name} lies below {place}"


def _archive(loader: str) -> Callable[[Path], None]:
    def fetch(root: Path) -> None:
        from torchvision import datasets

        getattr(datasets, loader)(str(root), download=True)

    return fetch


def _tiny_imagenet(root: Path) -> None:
    from torchvision.datasets.utils import download_url

    if not (root / "tiny-imagenet-200" / "val" / "val_annotations.txt").is_file():
        address, md5 = TINY_IMAGENET
        download_url(address, str(root), md5=md5)
        unpack_zip(root / address.rpartition("/")[2], root)


DOWNLOADERS: dict[str, Callable[[Path], None]] = {
    "mnist": _archive("MNIST"),
    "fashion_mnist": _archive("FashionMNIST"),
    "cifar10": _archive("CIFAR10"),
    "cifar100": _archive("CIFAR100"),
    "imagenette": _archive("Imagenette"),
    "tiny_imagenet": _tiny_imagenet,
}
