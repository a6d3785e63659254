"""Readers of datasets on files that an accident or an enemy has written: success, or one of our errors."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dd_assets.datasets import archives
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.readers import READERS
from dd_assets.datasets.readers.images import decode
from dd_assets.datasets.setting import Setting
from dd_assets.datasets.sources import Source, safe_path
from tests.datasets.fabricated import encoded, idx, image_folder, put, table, three_classes
from tests.fuzz.inputs import TEXTS, VALUES, examples, judged, spoiled

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
NAMES = ("cat", "ant", "bee")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the module: each example writes its files over the last one's."""
    return tmp_path_factory.mktemp("fuzz")


@cache
def picture(kind: str) -> bytes:
    values = np.random.Generator(np.random.Philox(7)).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


SPOILED_PICTURES = st.sampled_from(KINDS).flatmap(lambda kind: spoiled(picture(kind)))


@given(SPOILED_PICTURES, st.sampled_from((1, 3)))
@examples(25_000)
def test_image_bytes(data: bytes, channels: int) -> None:
    setting = three_classes(channels=channels)
    found = judged("image bytes", lambda: decode(data, setting, "x"))
    assert found is None or (found.shape, found.dtype) == ((8, 8, channels), np.uint8)


def read(reader: str, setting: Setting, root: Path) -> None:
    """Read both splits and, where that works, look at what came."""
    found = judged(reader, lambda: READERS[setting.reader].read(setting, Source(str(root))))
    for part in found or ():
        assert part.images.dtype == np.uint8
        assert len(part.images) == len(part.labels)
        assert set(part.labels.tolist()) <= set(range(len(setting.classes)))


@cache
def good_table() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return table(Path(folder) / "t.parquet", [encoded(value) for value in (1, 2, 3)], [0, 1, 2], NAMES).read_bytes()


@given(spoiled(good_table()))
@examples(6_000)
def test_parquet_bytes(root: Path, data: bytes) -> None:
    put(root / "own/train.parquet", data)
    put(root / "own/test.parquet", good_table())
    read("Parquet files", three_classes(reader="parquet"), root)


@given(
    st.lists(st.tuples(st.none() | SPOILED_PICTURES, st.none() | st.integers(-1, 3)), max_size=4),
    st.none() | st.permutations(NAMES) | VALUES.filter(lambda value: isinstance(value, (list, str))),
)
@examples(3_000)
def test_parquet_rows(root: Path, rows: list[tuple[bytes | None, int | None]], names: object) -> None:
    made = root / "own/train.parquet"
    try:
        table(made, [image for image, _ in rows], [label for _, label in rows], names)
    except (UnicodeEncodeError, OverflowError):
        return
    put(root / "own/test.parquet", good_table())
    read("Parquet rows", three_classes(reader="parquet"), root)


IDX = idx(np.arange(160, dtype=np.uint8).reshape(10, 4, 4)), idx(np.arange(10, dtype=np.uint8))


@given(spoiled(IDX[0]), spoiled(IDX[1]), st.sampled_from(("images", "labels", "both")))
@examples(8_000)
def test_idx_files(root: Path, images: bytes, labels: bytes, which: str) -> None:
    for split in ("train", "t10k"):
        here = split == "train"
        put(root / f"MNIST/raw/{split}-images-idx3-ubyte", images if here and which != "labels" else IDX[0])
        put(root / f"MNIST/raw/{split}-labels-idx1-ubyte", labels if here and which != "images" else IDX[1])
    read("IDX files", replace(CATALOGUE["mnist"], size=8), root)


@given(st.dictionaries(st.sampled_from(("folder", "train", "test", "folders")), TEXTS | VALUES, max_size=3))
@examples(6_000)
def test_options_of_image_folders(root: Path, options: dict[str, object]) -> None:
    if not (root / "own").is_dir() or not (root / "own/train/bee").is_dir():
        image_folder(root / "own", NAMES)
    read("options of folders", three_classes(options=options), root)


@given(SPOILED_PICTURES)
@examples(2_000)
def test_files_of_image_folders(root: Path, data: bytes) -> None:
    image_folder(root / "files", NAMES)
    put(root / "files/train/cat/0.png", data)
    read("image folders", three_classes(data="files"), root)


ANNOTATIONS = b"".join(b"val_%d.JPEG\tn%d\t0\t0\t8\t8\n" % (number, number % 3) for number in range(3))


@given(spoiled(ANNOTATIONS))
@examples(10_000)
def test_annotations(root: Path, data: bytes) -> None:
    base = root / "tiny-imagenet-200"
    if not base.is_dir():
        for number in range(3):
            put(base / f"train/n{number}/images/n{number}_0.JPEG", encoded(9, kind="JPEG"))
            put(base / f"val/images/val_{number}.JPEG", encoded(9, kind="JPEG"))
    put(base / "val/val_annotations.txt", data)
    folders = {"cat": "n0", "ant": "n1", "bee": "n2"}
    read("annotations", three_classes(reader="tiny_imagenet", options={"folders": folders}), root)


@given(TEXTS | st.text(st.sampled_from("a./\\~:\0é"), max_size=40))
@examples(8_000)
def test_paths(root: Path, text: str) -> None:
    for check in (lambda: safe_path(text, "x"), lambda: archives.checked_member(text, "x")):
        found = judged("paths and members", check)
        if found is not None:
            assert (root / found).resolve().is_relative_to(root.resolve())
            judged("paths and members", lambda path=found: Source(str(root)).find(path))
