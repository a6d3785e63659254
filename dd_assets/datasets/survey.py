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

from dd_assets.datasets.readers.images import DAMAGE, DEEP_MODES, FORMATS, IMAGE_SUFFIXES, MAX_PIXELS
from dd_assets.datasets.sources import Source, safe_path
from dd_assets.errors import InputError
from dd_assets.lazy import np

SIZES = (8, 16, 28, 32, 64, 128, 224)
"""Resolutions of the field, in pixels."""
SPLITS = (("train", "training"), ("test", "val", "validation", "valid"))
"""Names that the two splits usually have."""
IPC = (1, 10, 50, 100)
GREY = frozenset({"1", "L", "LA"})


@dataclass
class Survey:
    """What was found below one folder with the layout <split>/<class>/<images>."""

    folder: str
    splits: tuple[str, str]
    classes: list[str]
    counts: dict[str, list[int]]
    """Split to readable images per class."""
    sides: list[int] = field(default_factory=list)
    """Shorter side of each readable image, in pixels."""
    grey: bool = True
    """Whether no image has colours."""
    corrupt: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of each image that the reader would refuse."""
    moments: list[tuple[float, float]] = field(default_factory=list)
    """(mean, mean of squares) of each readable training image's pixels, in [0, 1]."""

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

    Raises InputError for a folder without the two splits, or without classes that both of them hold.
    """
    source, base = Source(root), safe_path(folder, "folder")
    present = source.folders(base)
    splits = [next((name for name in names if name in present), "") for names in SPLITS]
    if not all(splits):
        raise InputError(
            f"{source.describe(base)} has no folder for training and one for test images; it has {present[:12]}",
            "make <folder>/train/<class>/*.png and <folder>/test/<class>/*.png",
        )
    train, test = splits
    classes = source.folders(f"{base}/{train}")
    lacking = sorted({*classes} ^ {*source.folders(f"{base}/{test}")})
    if len(classes) < 2 or lacking:
        raise InputError(
            f"{source.describe(base)}: {len(classes)} classes in {train}, {lacking[:12]} in one split alone",
            "give both splits the same two or more class folders",
        )
    found = Survey(base, (train, test), classes, {train: [0] * len(classes), test: [0] * len(classes)})
    for split in (train, test):
        for entry in source.walk(f"{base}/{split}"):
            path = PurePosixPath(entry.path)
            if path.suffix.lower() in IMAGE_SUFFIXES:
                label = classes.index(path.relative_to(f"{base}/{split}").parts[0])
                found.counts[split][label] += _open(found, source.read(entry.path), entry.path, split == train)
    return found


def _open(found: Survey, data: bytes, path: str, training: bool) -> bool:
    """Note one image's facts; False for one that the reader would refuse."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or image.mode in DEEP_MODES:
                raise ValueError(f"{image.width} x {image.height} pixels of mode {image.mode}")
            image.load()
            found.grey &= image.mode in GREY
            found.sides.append(min(image.size))
            if training:
                pixels = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
                found.moments.append((float(pixels.mean()), float((pixels**2).mean())))
    except DAMAGE as error:
        found.corrupt.append((path, " ".join(str(error).split())))
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
                "accuracy_floor": round(min(0.5, 3 / len(found.classes)), 2),
            },
        },
        "students": [network],
    }


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
    """(what, whether it is well, finding) of a survey, for people."""
    for split in found.splits:
        counts = found.counts[split]
        detail = ", ".join(f"{name} {count}" for name, count in list(zip(found.classes, counts, strict=True))[:20])
        yield f"{split} images", all(counts), f"{sum(counts)} in {len(counts)} classes: {detail}"
    sides = sorted(found.sides)
    if sides:
        yield "shorter side", True, f"{sides[0]} to {sides[-1]} px, median {sides[len(sides) // 2]} px"
    yield "colours", True, "grey" if found.grey else "colour"
    named = "; ".join(f"{path} ({reason})" for path, reason in found.corrupt[:10])
    yield "corrupt files", not found.corrupt, f"{len(found.corrupt)}{': ' if named else ''}{named}"
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
