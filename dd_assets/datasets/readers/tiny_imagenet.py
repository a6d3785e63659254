"""Tiny-ImageNet as Stanford's archive unpacks it.

Belongs here: that layout, whose val labels stand in one file. Does not belong: repacked forms (use reader folder).

    tiny-imagenet-200/train/<wnid>/images/<wnid>_0.JPEG
    tiny-imagenet-200/val/images/val_0.JPEG
    tiny-imagenet-200/val/val_annotations.txt           file name, wnid, box; tab-separated
"""

from __future__ import annotations

from dd_assets.datasets.readers.folder import folder_names, is_image, labelled_files, read_labelled
from dd_assets.datasets.readers.layout import Reader, Split, missing, option
from dd_assets.datasets.setting import Setting
from dd_assets.datasets.sources import Found, Source, safe_path
from dd_assets.errors import InputError


def _base(setting: Setting) -> str:
    return option(setting, "folder", "tiny-imagenet-200")


def _annotation_file(setting: Setting, source: Source) -> Found:
    path = f"{_base(setting)}/val/val_annotations.txt"
    found = source.find(path)
    if not found:
        raise missing(setting, source, path)
    return found[0]


def _validation(setting: Setting, source: Source) -> list[tuple[Found, int]]:
    """The val images of the setting's classes with their labels, by class, then by name."""
    path = _annotation_file(setting, source).path
    present = {entry.path: entry for entry in source.walk(f"{_base(setting)}/val/images") if is_image(entry)}
    label_of = {name: label for label, name in enumerate(folder_names(setting))}
    try:
        lines = source.read(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{source.describe(path)} is not text: {error}", "unpack the archive again") from error
    found, named = [], set()
    for number, line in enumerate(lines, 1):
        name, _, rest = line.partition("\t")
        image = f"{_base(setting)}/val/images/{safe_path(name, f'{source.describe(path)}, line {number}: file')}"
        if image not in present or image in named:
            problem = "is named twice" if image in named else "does not exist"
            raise InputError(f"{source.describe(path)}, line {number}: {image} {problem}", "unpack the archive again")
        named.add(image)
        wnid = rest.partition("\t")[0]
        if wnid in label_of:
            found.append((present[image], label_of[wnid]))
    unnamed = sorted(set(present) - named)
    if unnamed:
        raise InputError(f"{source.describe(path)} does not name {unnamed[0]}", "unpack the archive again")
    return sorted(found, key=lambda pair: (pair[1], pair[0].path))


def tiny_files(setting: Setting, source: Source) -> list[Found]:
    """The training images, the annotation file and the val images."""
    train = [entry for entry, _ in labelled_files(setting, source, f"{_base(setting)}/train")]
    return [*train, _annotation_file(setting, source), *(entry for entry, _ in _validation(setting, source))]


def read_tiny(setting: Setting, source: Source) -> Split:
    """Tiny-ImageNet's train split, and its val split as test; classes in the setting's order."""
    train, test = f"{_base(setting)}/train", f"{_base(setting)}/val"
    return (
        read_labelled(setting, source, labelled_files(setting, source, train), source.describe(train)),
        read_labelled(setting, source, _validation(setting, source), source.describe(test)),
    )


TINY_IMAGENET = Reader(read=read_tiny, files=tiny_files, options=("folder", "folders"), place_is_label=True)
