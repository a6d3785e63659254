"""What every reader is, and the checks that all layouts share.

Belongs here: the Reader contract, option lookup, label and class checks. Does not belong: any one layout.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.setting import Setting
from dd_assets.datasets.sources import Found, Source, safe_path
from dd_assets.errors import InputError, UnknownNameError

Split = tuple[ImageArrays, ImageArrays]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How one layout is read and which files it consists of."""

    read: Callable[[Setting, Source], Split]
    files: Callable[[Setting, Source], list[Found]]
    """Without opening or decoding any image; raises InputError if a file or folder is missing."""
    training_files: Callable[[Setting, Source], int] | None = None
    """How many of `files` are the training split's, which come first; None where the layout itself says it."""
    options: Collection[str] = ()
    """Names that a setting's `options` may use."""
    place_is_label: bool = False
    """True if a file's folder says its class, so that moving a file changes the data."""
    encoded: bool = True
    """True if reading means decoding images, so that keeping the result on disk pays."""
    bundled: bool = False
    """True if the files come with an installed package rather than from the data root."""


def option(setting: Setting, name: str, default: str) -> str:
    """A path option of the setting, checked to stay below the data root; raises InputError."""
    return safe_path(str(setting.options.get(name, default)), f"setting {setting.name}: option {name}")


def check_options(setting: Setting, known: Collection[str]) -> None:
    """Raise UnknownNameError for an option that the reader does not have."""
    for name in setting.options:
        if name not in known:
            raise UnknownNameError.of(f"option of {setting.name} (reader {setting.reader})", str(name), known)


def missing(setting: Setting, source: Source, path: str) -> InputError:
    """The refusal for a file or folder that is not there."""
    return InputError(f"dataset {setting.name}: {source.describe(path)} does not exist", absence(source, path))


def absence(source: Source, path: str) -> str:
    """The remedy for a path that is not there: which part of it is missing below the root, and its nearest name."""
    root = f"set DD_DATA_ROOT (now {source.given or 'not set'!r}) to the folder that holds it"
    parent = ""
    for part in path.split("/"):
        folders = source.folders(parent)
        if part in folders:
            parent = f"{parent}/{part}".lstrip("/")
            continue
        files = [entry.path.rpartition("/")[2] for entry in source.walk(parent, depth=1)]
        where = source.describe(parent).rstrip("/")
        if part in files:
            return f"{where}/{part} is a file; name a folder"
        present = [*folders, *files]
        if not present and not parent:
            break
        close = difflib.get_close_matches(part, present, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {_short(present)};"
        return f"{where} has no {part!r}, {hint} correct the name, or {root}"
    return root


def check_classes(setting: Setting, names: Collection[str], where: str) -> None:
    """Raise InputError unless the data's own class names are the setting's, in that order."""
    if tuple(names) != setting.classes:
        raise InputError(
            f"{where}: its class order is {_short(names)}, setting {setting.name} says {_short(setting.classes)}",
            "write the setting's classes in the file's order",
        )


def check_labels(setting: Setting, labels: np.ndarray, where: str, *, complete: bool) -> None:
    """Raise InputError for labels (N,) outside the classes, no images at all or, if `complete`, an empty class."""
    if not len(labels):
        raise InputError(f"{where} holds no images", "check the setting's options")
    if labels.min() < 0 or labels.max() >= len(setting.classes):
        worst = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(f"{where}: label {worst} with {len(setting.classes)} classes", "list all classes")
    counts = np.bincount(labels, minlength=len(setting.classes))
    if complete and not counts.all():
        empty = [setting.classes[label] for label in np.flatnonzero(counts == 0)]
        raise InputError(f"{where}: no images of {_short(empty)}", "add images or remove the class from the setting")


def _short(names: Collection[str]) -> str:
    shown = list(names)[:12]
    return f"{shown}" if len(names) == len(shown) else f"{shown} and {len(names) - len(shown)} more"
