"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 as torchvision stores them.

Belongs here: reading them through torchvision, whose md5 sums guard CIFAR's pickles. Does not belong: downloading
(dd_assets/datasets/downloads.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.readers.images import empty, fitted
from dd_assets.datasets.readers.layout import Reader, Split, check_classes, check_labels
from dd_assets.datasets.setting import Setting
from dd_assets.datasets.sources import Found, Source, safe_path
from dd_assets.errors import InputError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One of torchvision's datasets: its class there, and the files below its root."""

    loader: str
    files: tuple[str, ...]
    names_its_classes: bool
    """True if its files state the class names, which then must be the setting's."""


def _idx(folder: str) -> tuple[str, ...]:
    parts = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(f"{folder}/raw/{part}-ubyte" for part in parts)


# Known without importing torchvision, so that planning stays light.
ARCHIVES: dict[str, Archive] = {
    "mnist": Archive(loader="MNIST", files=_idx("MNIST"), names_its_classes=False),
    "fashion_mnist": Archive(loader="FashionMNIST", files=_idx("FashionMNIST"), names_its_classes=False),
    "cifar10": Archive(
        loader="CIFAR10",
        files=tuple(
            f"cifar-10-batches-py/{name}"
            for name in (*(f"data_batch_{part}" for part in range(1, 6)), "test_batch", "batches.meta")
        ),
        names_its_classes=True,
    ),
    "cifar100": Archive(
        loader="CIFAR100",
        files=tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        names_its_classes=True,
    ),
}


def _archive(setting: Setting) -> tuple[str, Archive, str]:
    name = str(setting.options.get("dataset", setting.data))
    if name not in ARCHIVES:
        raise UnknownNameError.of(f"torchvision dataset of {setting.name}", name, ARCHIVES)
    folder = str(setting.options.get("folder", ""))
    return name, ARCHIVES[name], safe_path(folder, f"setting {setting.name}: option folder") if folder else ""


def archive_files(setting: Setting, source: Source) -> list[Found]:
    """The archive's unpacked files; raises InputError with the download command if one is missing."""
    name, archive, folder = _archive(setting)
    found = []
    for part in archive.files:
        path = f"{folder}/{part}" if folder else part
        source.local(path)
        entry = source.find(path)
        if not entry:
            raise InputError(f"dataset {setting.name}: {source.describe(path)} does not exist", _remedy(name))
        found += entry
    return found


def _remedy(name: str) -> str:
    return f"set DD_DATA_ROOT to the folder that holds it, or run `dd-assets datasets --download {name}`"


def read_archive(setting: Setting, source: Source) -> Split:
    """Both splits through torchvision without downloading; raises InputError if a file fails its integrity check."""
    archive_files(setting, source)
    name, _, folder = _archive(setting)
    root = source.local(folder)
    return _read_split(setting, name, root, True), _read_split(setting, name, root, False)


def _read_split(setting: Setting, name: str, root: Path, train: bool) -> ImageArrays:
    from torchvision import datasets

    archive, where = ARCHIVES[name], f"{root}, {name} {'train' if train else 'test'} split"
    try:
        loaded: Any = getattr(datasets, archive.loader)(str(root), train=train, download=False)
        pixels = np.asarray(loaded.data)
        labels = np.asarray(loaded.targets, dtype=np.int64)
    # torchvision states a failed check as RuntimeError or assert; its parsers of damaged idx files raise the rest.
    except (RuntimeError, AssertionError, OSError, ValueError, KeyError, EOFError, IndexError, TypeError) as error:
        raise InputError(f"{where}: {' '.join(str(error).split()) or 'damaged'}", _remedy(name)) from error
    if archive.names_its_classes:
        check_classes(setting, loaded.classes, where)
    if len(pixels) != len(labels):
        raise InputError(f"{where}: {len(pixels)} images and {len(labels)} labels", _remedy(name))
    check_labels(setting, labels, where, complete=True)
    images = empty(len(pixels), setting, where)
    if pixels.shape[1:3] == images.shape[1:3] and pixels[0].size == images[0].size:
        images[:] = pixels.reshape(images.shape)
    else:
        for row, picture in enumerate(pixels):
            images[row] = fitted(Image.fromarray(picture), setting)
    return ImageArrays(images, labels)


TORCHVISION = Reader(read=read_archive, files=archive_files, options=("dataset", "folder"), encoded=False)
