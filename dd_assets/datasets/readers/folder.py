"""Image folders: one folder per split, in it one folder per class.

Belongs here: the ImageFolder layout and its form with WordNet ids as folder names (ImageNet, ImageNette, ImageWoof,
ImageIDC). Does not belong: layouts that keep labels in a file (tiny_imagenet.py, parquet.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.names import class_folders
from dd_assets.datasets.readers.images import IMAGE_SUFFIXES, MAX_BYTES, decode_all
from dd_assets.datasets.readers.layout import Reader, Split, check_labels, missing, option
from dd_assets.datasets.setting import Setting
from dd_assets.datasets.sources import Found, Source, safe_path
from dd_assets.errors import InputError


def folder_names(setting: Setting) -> tuple[str, ...]:
    """The folder of each class, in class order: option `folders` (a map, or a table's name), else the class names."""
    stated = setting.options.get("folders", {})
    if not isinstance(stated, (str, Mapping)):
        raise InputError(f"setting {setting.name}: folders={stated!r}", "give a map class: folder or a table's name")
    table = class_folders(stated) if isinstance(stated, str) else stated
    unknown = [name for name in setting.classes if name not in table] if table else []
    if unknown:
        raise InputError(f"setting {setting.name}: option folders has no entry for {unknown[:5]}", "add it")
    names = tuple(str(table[name]) if table else name for name in setting.classes)
    for name in names:
        if "/" in safe_path(name, f"setting {setting.name}: class folder"):
            raise InputError(
                f"setting {setting.name}: class folder {name!r} is not one folder", "name the folder alone"
            )
    if len(set(names)) != len(names):
        raise InputError(f"setting {setting.name}: two classes share a folder", "give each class its own")
    return names


def split_base(setting: Setting, split: str) -> str:
    """The folder of a split, relative to the root."""
    return f"{option(setting, 'folder', setting.data)}/{option(setting, split, split)}"


def is_image(entry: Found) -> bool:
    """Whether a file's suffix is that of an image."""
    return PurePosixPath(entry.path).suffix.lower() in IMAGE_SUFFIXES


def labelled_files(setting: Setting, source: Source, base: str) -> list[tuple[Found, int]]:
    """Images below `base` with their labels, by class and then by path; raises InputError for a class without images.

    Folders that are no class of the setting are left alone, so that a subset can be read in place.
    """
    entries = source.walk(base)
    if not entries and not source.folders(base):
        beside = source.folders(base.rpartition("/")[0])
        if not beside:
            raise missing(setting, source, base)
        raise InputError(f"{source.describe(base)} does not exist or is empty", f"folders beside it: {beside[:12]}")
    by_folder: dict[str, list[Found]] = {}
    for entry in filter(is_image, entries):
        by_folder.setdefault(entry.path.removeprefix(f"{base}/").partition("/")[0], []).append(entry)
    found = []
    for label, name in enumerate(folder_names(setting)):
        if name not in by_folder:
            present = source.folders(base)
            problem = "has no images" if name in present else "does not exist"
            raise InputError(
                f"{source.describe(base)}/{name}, class {setting.classes[label]!r}, {problem}",
                f"images end in {sorted(IMAGE_SUFFIXES)}; folders there: {present[:12]}",
            )
        found += [(entry, label) for entry in by_folder[name]]
    return found


def read_labelled(setting: Setting, source: Source, found: list[tuple[Found, int]], where: str) -> ImageArrays:
    """Decode labelled files."""
    labels = np.array([label for _, label in found], dtype=np.int64)
    check_labels(setting, labels, where, complete=True)
    encoded = ((source.read(entry.path, MAX_BYTES), source.describe(entry.path)) for entry, _ in found)
    return ImageArrays(decode_all(encoded, len(found), setting, where), labels)


def folder_files(setting: Setting, source: Source) -> list[Found]:
    """All images of both splits."""
    return [
        entry for split in ("train", "test") for entry, _ in labelled_files(setting, source, split_base(setting, split))
    ]


def read_folder(setting: Setting, source: Source) -> Split:
    """<folder>/<train|test>/<class folder>/**/*.png|jpg…; options folder, train, test and folders rename the parts."""
    train, test = (
        read_labelled(setting, source, labelled_files(setting, source, base), source.describe(base))
        for base in (split_base(setting, "train"), split_base(setting, "test"))
    )
    return train, test


FOLDER = Reader(
    read=read_folder, files=folder_files, options=("folder", "train", "test", "folders"), place_is_label=True
)
