"""What a folder of images is like, before anybody has written a setting for it.

Belongs here: counting, opening every image once, proposing a setting. Does not belong: reading with a setting
(readers/), checking a machine (dd_assets/doctor.py).

The proposals are starting points of this project's own: the size is the largest usual one that does not enlarge half of
the images, network and training follow the catalogue's entries of that size.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from dd_assets.datasets.readers.images import DAMAGE, DEEP_MODES, FORMATS, IMAGE_SUFFIXES, MAX_PIXELS, damage
from dd_assets.datasets.readers.layout import absence
from dd_assets.datasets.sources import Source, safe_path
from dd_assets.errors import InputError
from dd_assets.lazy import np

SIZES = (8, 16, 28, 32, 64, 128, 224)
"""Resolutions of the field, in pixels."""
SPLITS = (("train", "training"), ("test", "val", "validation", "valid"))
"""Names that the two splits usually have."""
IPC = (1, 10, 50, 100)
ABOVE_CHANCE = 1.3
"""Least that the suggested floor of a teacher's accuracy is, in shares of what guessing reaches."""


@dataclass
class Survey:
    """What was found below one folder with the layout <split>/<class>/<images>."""

    folder: str
    splits: tuple[str, str]
    classes: list[str]
    counts: dict[str, list[int]]
    """Split to readable images per class."""
    paths: list[str] = field(default_factory=list)
    """Of each readable image, relative to the root."""
    sides: list[int] = field(default_factory=list)
    """Shorter side of each readable image, in pixels, in the order of `paths`."""
    coloured: list[bool] = field(default_factory=list)
    """Whether red, green and blue differ anywhere in it, whatever its mode, in the order of `paths`."""
    ignored: list[str] = field(default_factory=list)
    """Files that the reader passes over: no image's suffix, or outside the class folders."""
    corrupt: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of each image that the reader would refuse."""
    moments: list[tuple[float, float]] = field(default_factory=list)
    """(mean, mean of squares) of each readable training image's pixels, in [0, 1]."""

    @property
    def grey(self) -> bool:
        """Whether no image has colours."""
        return not any(self.coloured)

    @property
    def empty(self) -> list[str]:
        """The class folders without a readable image, as <split>/<class>."""
        return [
            f"{split}/{name}"
            for split in self.splits
            for name, count in zip(self.classes, self.counts[split], strict=True)
            if not count
        ]

    @property
    def size(self) -> int:
        """The suggested size, in pixels."""
        half = float(np.median(self.sides)) if self.sides else SIZES[0]
        return max([size for size in SIZES if size <= half], default=SIZES[0])

    @property
    def ipc(self) -> list[int]:
        """The suggested IPC values: at most half of the smallest class, at least 1."""
        smallest = min(self.counts[self.splits[0]])
        return [value for value in IPC if 2 * value <= smallest] or [1]


def survey(root: str, folder: str) -> Survey:
    """Open every image below `folder` of a data root (a local folder or an s3:// URL) once.

    Raises InputError for a folder that is not there, one without the two splits, or without classes that both of them
    hold.
    """
    source, base = Source(root), safe_path(folder, "folder")
    present = source.folders(base)
    parent, _, name = base.rpartition("/")
    if not present and name not in source.folders(parent):
        raise InputError(f"folder {source.describe(base)} does not exist", absence(source, base))
    splits = [next((name for name in names if name in present), "") for names in SPLITS]
    if not all(splits):
        raise InputError(
            f"{source.describe(base)} has no folder for training and one for test images; it has {present[:12]}",
            "make <folder>/train/<class>/*.png and <folder>/test/<class>/*.png",
        )
    train, test = splits
    classes = source.folders(f"{base}/{train}")
    tested = source.folders(f"{base}/{test}")
    lacking = {
        split: sorted({*there} - {*here})[:12]
        for split, here, there in ((train, classes, tested), (test, tested, classes))
        if {*there} - {*here}
    }
    if lacking:
        named = "; ".join(f"{split} has no folder of {names}" for split, names in lacking.items())
        raise InputError(f"{source.describe(base)}: {named}", "give both splits a folder of each class")
    if len(classes) < 2:
        raise InputError(
            f"{source.describe(base)}/{train} has {len(classes)} class folders: {classes}", "make two or more"
        )
    found = Survey(base, (train, test), classes, {train: [0] * len(classes), test: [0] * len(classes)})
    for split in (train, test):
        for entry in source.walk(f"{base}/{split}"):
            path = PurePosixPath(entry.path)
            below = path.relative_to(f"{base}/{split}").parts
            if path.suffix.lower() not in IMAGE_SUFFIXES or len(below) < 2:
                found.ignored.append(entry.path)
                continue
            label = classes.index(below[0])
            found.counts[split][label] += _open(found, source.read(entry.path), entry.path, split == train)
    return found


def _open(found: Survey, data: bytes, path: str, training: bool) -> bool:
    """Note one image's facts; False for one that the reader would refuse."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or image.mode in DEEP_MODES:
                raise ValueError(f"{image.width} x {image.height} pixels of mode {image.mode}")
            pixels = np.asarray(image.convert("RGB"))
            found.paths.append(path)
            found.sides.append(min(image.size))
            found.coloured.append(bool((pixels != pixels[..., :1]).any()))
            if training:
                shares = pixels / 255
                found.moments.append((float(shares.mean()), float((shares**2).mean())))
    except DAMAGE as error:
        found.corrupt.append((path, damage(error)))
        return False
    return True


def proposal(found: Survey) -> dict[str, Any]:
    """Fields of a setting for these images, as YAML states them."""
    network, epochs = _network(found.size)
    mean, square = (sum(moment[i] for moment in found.moments) / max(len(found.moments), 1) for i in (0, 1))
    train, test = found.splits
    deviation = max(square - mean**2, 1e-4) ** 0.5
    statistics = {"mean": [round(mean, 3)], "std": [round(deviation, 3)]} if found.grey else {}
    return {
        "reader": "folder",
        "options": {"folder": found.folder, "train": train, "test": test},
        "classes": list(found.classes),
        "size": found.size,
        "channels": 1 if found.grey else 3,
        **statistics,
        "hflip": False,
        "ipc": found.ipc,
        "teacher": {
            "architecture": network,
            "recipe": {
                "epochs": epochs,
                "batch": 64 if sum(found.counts[train]) < 10_000 else 128,
                "pad_crop": max(1, found.size // 8),
                "hflip": False,
                "accuracy_floor": _floor(len(found.classes)),
            },
        },
        "students": [network],
    }


def _floor(classes: int) -> float:
    """A share of the test images that a trained teacher passes and guessing does not, to two digits."""
    return float(f"{max(min(0.5, 3 / classes), ABOVE_CHANCE / classes):.2g}")


def _network(size: int) -> tuple[str, int]:
    """(architecture, epochs) as the catalogue has them for that size."""
    if size < 28:
        return "convnet2_w64", 20
    if size < 32:
        return "convnet3_w128", 20
    return "resnet18", 200 if size < 128 else 90


def as_yaml(name: str, found: Survey) -> str:
    """A settings file with the proposed setting, its reasons as comments."""
    import yaml

    low, high = min(found.sides, default=0), max(found.sides, default=0)
    notes = [
        f"{found.folder}: {len(found.sides)} readable images, shorter side {low} to {high} px,"
        f" {'grey' if found.grey else 'colour'}",
        "hflip: true, here and in the teacher's recipe, if a mirrored image keeps its class",
        "accuracy_floor: below this top-1 on the test split the teacher is refused; raise it once you know better",
    ]
    body = yaml.safe_dump({name: proposal(found)}, sort_keys=False, default_flow_style=None, width=110)
    return "".join(f"# {note}\n" for note in notes) + body


def rows(found: Survey) -> Iterable[tuple[str, bool, str]]:
    """(what, whether it is well, finding) of a survey, for people; nothing is suggested for a class without images."""
    for split in found.splits:
        counts = found.counts[split]
        detail = ", ".join(f"{name} {count}" for name, count in list(zip(found.classes, counts, strict=True))[:20])
        bare = [name for name in found.empty if name.startswith(f"{split}/")]
        remedy = f" → {', '.join(bare[:12])}: add images, or remove the class from both splits" if bare else ""
        yield f"{split} images", not bare, f"{sum(counts)} in {len(counts)} classes: {detail}{remedy}"
    if found.sides:
        yield "shorter side", True, _sides(found)
    yield "colours", True, _colours(found)
    if found.ignored:
        count = f"{len(found.ignored)} file{'' if len(found.ignored) == 1 else 's'}"
        read = ", ".join(sorted(IMAGE_SUFFIXES))
        yield "ignored", True, f"{count}, e.g. {found.ignored[0]}: only {read} in class folders are read"
    named = "; ".join(f"{path} ({reason})" for path, reason in found.corrupt[:10])
    remedy = f": {named} → replace or remove them" if named else ""
    yield "corrupt files", not found.corrupt, f"{len(found.corrupt)}{remedy}"
    if found.empty:
        return
    stated = proposal(found)
    recipe = stated["teacher"]["recipe"]
    yield (
        "suggested",
        True,
        (
            f"size {stated['size']}, IPC {stated['ipc']}, teacher {stated['teacher']['architecture']}"
            f" for {recipe['epochs']} epochs in batches of {recipe['batch']}"
        ),
    )


def _sides(found: Survey) -> str:
    """Range and median of the shorter sides, and the file whose side is the farthest from the median."""
    ordered = sorted(found.sides)
    median = ordered[len(ordered) // 2]
    text = f"{ordered[0]} to {ordered[-1]} px, median {median} px"
    if ordered[0] == ordered[-1]:
        return text
    side, path = max(zip(found.sides, found.paths, strict=True), key=lambda entry: abs(entry[0] - median))
    return f"{text}; farthest from it {path} ({side} px)"


def _colours(found: Survey) -> str:
    """Grey or colour, or how many of each and a file of the rarer kind."""
    coloured = sum(found.coloured)
    grey = len(found.coloured) - coloured
    if not coloured or not grey:
        return "colour" if coloured else "grey"
    path = found.paths[found.coloured.index(coloured <= grey)]
    return f"{coloured:,} in colour, {grey:,} grey, e.g. {path} ({'colour' if coloured <= grey else 'grey'})"
