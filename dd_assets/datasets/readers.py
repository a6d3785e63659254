"""Reading raw datasets into memory.

Belongs here: one function per layout, from files to uint8 arrays in the setting's class order, with clear refusals.
Does not belong: where the files lie (dd_resources/raw_data.py), normalisation, anything about methods.

A reader takes (setting, root) and returns (train, test). `files` lists what it reads, so that a change is noticed
without decoding anything.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.registry import Setting
from dd_assets.errors import InputError, UnknownNameError

Split = tuple[ImageArrays, ImageArrays]
MAX_PIXELS = 64_000_000
"""Images above this are refused: no dataset of the field has them, decompression bombs do."""


@dataclass(frozen=True)
class Reader:
    """How one layout is read and which files it consists of."""

    read: Callable[[Setting, Path], Split]
    files: Callable[[Setting, Path], list[Path]]


def reader(setting: Setting) -> Reader:
    """The setting's reader; raises UnknownNameError."""
    if setting.reader not in READERS:
        raise UnknownNameError.of(f"reader of {setting.name}", setting.reader, READERS)
    return READERS[setting.reader]


def _digits_file(setting: Setting, root: Path) -> list[Path]:
    import importlib.resources

    return [Path(str(importlib.resources.files("sklearn.datasets") / "data" / "digits.csv.gz"))]


def read_digits(setting: Setting, root: Path) -> Split:
    """scikit-learn's 1,797 handwritten 8x8 digits (values 0 to 16), split 80:20 within each class, fixed for ever."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.round(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = raw.target.astype(np.int64)
    test_rows = np.sort(np.concatenate([_fifth(np.flatnonzero(labels == label), label) for label in range(10)]))
    train_rows = np.setdiff1d(np.arange(len(labels)), test_rows)
    return tuple(ImageArrays(images[rows], labels[rows]) for rows in (train_rows, test_rows))  # type: ignore[return-value]


def _fifth(rows: np.ndarray, label: int) -> np.ndarray:
    order = randomness.permutation(len(rows), 0, "digits split", label)
    return rows[order[: round(len(rows) / 5)]]


def decode(data: bytes, setting: Setting, where: str) -> np.ndarray:
    """Image bytes as uint8 (size, size, channels): shorter side resized (bilinear, antialias), centre cropped."""
    mode = "L" if setting.channels == 1 else "RGB"
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{where}: {image.width} x {image.height} pixels", f"at most {MAX_PIXELS} are read")
            converted = image.convert(mode)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{where} cannot be decoded: {error}", "replace or remove that image") from error
    size = setting.size
    if converted.size != (size, size):
        scale = size / min(converted.size)
        wide, high = (max(size, round(side * scale)) for side in converted.size)
        converted = converted.resize((wide, high), Image.Resampling.BILINEAR)
        left, top = (wide - size) // 2, (high - size) // 2
        converted = converted.crop((left, top, left + size, top + size))
    return np.asarray(converted, dtype=np.uint8).reshape(size, size, setting.channels)


def _parquet_files(setting: Setting, root: Path) -> list[Path]:
    return [root / str(setting.options[split]) for split in ("train", "test")]


def read_parquet(setting: Setting, root: Path) -> Split:
    """Hugging Face layout: columns `image` {bytes, path} and `label`; options train and test name the files."""
    return tuple(_read_parquet_file(setting, path) for path in _parquet_files(setting, root))  # type: ignore[return-value]


def _read_parquet_file(setting: Setting, path: Path) -> ImageArrays:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["image", "label"])
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise InputError(
            f"{path} is not a readable image table: {error}", "columns image and label, Parquet"
        ) from error
    known = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    names = known.get("info", {}).get("features", {}).get("label", {}).get("names")
    if names is not None and tuple(names) != setting.classes:
        raise InputError(
            f"{path}: its class order is {names}, setting {setting.name} says {list(setting.classes)}",
            "write the setting's classes in the file's order",
        )
    labels = table["label"].to_numpy().astype(np.int64)
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(setting.classes)):
        raise InputError(f"{path}: label {labels.max()} with {len(setting.classes)} classes", "list all classes")
    blobs = table["image"].combine_chunks().field("bytes")
    images = [decode(blob.as_py(), setting, f"{path}, row {row}") for row, blob in enumerate(blobs)]
    return ImageArrays(np.stack(images), labels)


IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def _folder_split(setting: Setting, root: Path, split: str) -> Path:
    return root / str(setting.options.get("folder", setting.data)) / str(setting.options.get(split, split))


def _folder_files(setting: Setting, root: Path) -> list[Path]:
    found: list[Path] = []
    for split in ("train", "test"):
        for name in setting.classes:
            folder = _folder_split(setting, root, split) / name
            found += sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return found


def read_folder(setting: Setting, root: Path) -> Split:
    """ImageFolder layout: <folder>/<train|test>/<class name>/*.png|jpg…, in the setting's class order."""
    return _read_folder_split(setting, root, "train"), _read_folder_split(setting, root, "test")


def _read_folder_split(setting: Setting, root: Path, split: str) -> ImageArrays:
    base = _folder_split(setting, root, split)
    present = {path.name for path in base.iterdir() if path.is_dir()} if base.is_dir() else set()
    for name in setting.classes:
        if name not in present:
            raise InputError(f"{base} has no folder for class {name!r}", f"folders there: {sorted(present)[:12]}")
    images, labels = [], []
    for label, name in enumerate(setting.classes):
        for path in sorted((base / name).glob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                images.append(decode(path.read_bytes(), setting, str(path)))
                labels.append(label)
    if not images:
        raise InputError(f"{base} holds no images", f"put files ending in {sorted(IMAGE_SUFFIXES)} there")
    return ImageArrays(np.stack(images), np.array(labels, dtype=np.int64))


READERS: dict[str, Reader] = {
    "digits": Reader(read_digits, _digits_file),
    "parquet": Reader(read_parquet, _parquet_files),
    "folder": Reader(read_folder, _folder_files),
}
