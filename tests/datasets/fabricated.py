"""Small datasets in the layouts of the real ones, every image a single colour that says which one it is."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import Setting


def setting_of(base: str, **changes: Any) -> Setting:
    """A catalogue entry with fields replaced."""
    return replace(CATALOGUE[base], **changes)


def three_classes(**changes: Any) -> Setting:
    """Three classes of 8-pixel colour images in a plain image folder."""
    fields = {"data": "own", "reader": "folder", "options": {}, "classes": ("cat", "ant", "bee"), "size": 8}
    return setting_of("imagenette", name="own", **{**fields, **changes})


def encoded(value: int, size: tuple[int, int] = (8, 8), kind: str = "PNG", mode: str = "RGB") -> bytes:
    """An image of one colour, `value` in every channel."""
    colour = value if mode in ("L", "I;16") else (value,) * len(mode)
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, kind)
    return file.getvalue()


def put(path: Path, data: bytes) -> Path:
    """Write a file, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def image_folder(
    base: Path, folders: tuple[str, ...], splits: tuple[str, str] = ("train", "test"), each: int = 2
) -> None:
    """<base>/<split>/<folder>/<n>.png; class c's image n has value 40 c + n, in the second split 20 more."""
    for part, split in enumerate(splits):
        for label, folder in enumerate(folders):
            for number in range(2):
                put(base / split / folder / f"{number}.png", encoded(40 * label + number + 20 * part))


def table(path: Path, images: list[bytes | None], labels: list[int | None], names: Any = None, **columns: str) -> Path:
    """A Parquet file in Hugging Face's layout; `names` is the class order it states."""
    image = pa.array(
        [{"bytes": data, "path": None} for data in images], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    label = pa.array(labels, pa.int64())
    made = pa.table({columns.get("image", "image"): image, columns.get("label", "label"): label})
    if names is not None:
        features = {columns.get("label", "label"): {"names": list(names), "_type": "ClassLabel"}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made, path, row_group_size=2)
    return path


def idx(values: np.ndarray) -> bytes:
    """Yann LeCun's idx format for uint8."""
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def mnist(root: Path, folder: str, suffix: str = "") -> dict[str, np.ndarray]:
    """MNIST's four raw files: 20 training and 10 test images, image n has value n (test: 100 + n), label n mod 10."""
    arrays = {}
    for split, count, first in (("train", 20, 0), ("t10k", 10, 100)):
        values = np.arange(first, first + count, dtype=np.uint8)
        arrays[f"{split}-images-idx3-ubyte"] = np.broadcast_to(values[:, None, None], (count, 28, 28)).copy()
        arrays[f"{split}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    for name, values in arrays.items():
        data = idx(values)
        put(root / folder / "raw" / f"{name}{suffix}", gzip.compress(data, mtime=0) if suffix else data)
    return arrays


def md5(path: Path) -> str:
    """A file's md5 sum, as torchvision checks it."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def cifar(root: Path, kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    """CIFAR's pickles with one image per class and file, and the class attributes that make torchvision accept them.

    Image of class c is red c, green 100, blue 200 everywhere, which tells a wrong channel order or layout.
    """
    folder = root / ("cifar-10-batches-py" if kind == "cifar10" else "cifar-100-python")
    count = len(names)
    pixels = np.zeros((count, 3, 1024), dtype=np.uint8)
    pixels[:, 0], pixels[:, 1], pixels[:, 2] = np.arange(count)[:, None], 100, 200
    label_key = "labels" if kind == "cifar10" else "fine_labels"
    batch = {"data": pixels.reshape(count, 3072), label_key: list(range(count))}
    train = [f"data_batch_{part}" for part in range(1, 6)] if kind == "cifar10" else ["train"]
    test = ["test_batch"] if kind == "cifar10" else ["test"]
    for name in (*train, *test):
        put(folder / name, pickle.dumps(batch))
    meta, key = ("batches.meta", "label_names") if kind == "cifar10" else ("meta", "fine_label_names")
    put(folder / meta, pickle.dumps({key: list(names)}))
    return {
        "train_list": [[name, md5(folder / name)] for name in train],
        "test_list": [[name, md5(folder / name)] for name in test],
        "meta": {"filename": meta, "key": key, "md5": md5(folder / meta)},
    }


def tarball(folder: Path, target: Path) -> Path:
    """A folder packed as .tar.gz."""
    with tarfile.open(target, "w:gz") as file:
        file.add(folder, arcname=folder.name)
    return target
