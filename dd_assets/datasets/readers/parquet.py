"""Image tables in Hugging Face's Parquet layout.

Belongs here: that layout, in one file or several per split. Does not belong: writing such tables (units/tables.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.readers.images import decode_all
from dd_assets.datasets.readers.layout import Reader, Split, check_classes, check_labels, missing
from dd_assets.datasets.setting import Setting
from dd_assets.datasets.sources import Found, Source, safe_path
from dd_assets.errors import InputError

BATCH = 256
"""Rows read at a time: the encoded bytes of an ImageNet row group would be hundreds of MB."""
MAX_ROWS = 50_000_000
"""Three times ImageNet-21k: a column of equal labels takes a few bytes for any number of rows."""
MAX_EXPANSION = 20
"""Bytes of a file's columns per byte of the file: encoded pictures do not compress, bombs do a thousandfold."""
FREE_BYTES = 64 << 20
"""What the columns of any file may become, whatever its size."""


def _split_files(setting: Setting, source: Source, split: str) -> list[Found]:
    stated = setting.options.get(split, f"{setting.data}/{split}.parquet")
    found: list[Found] = []
    for pattern in stated if isinstance(stated, (list, tuple)) else [stated]:
        path = safe_path(str(pattern), f"setting {setting.name}: option {split}")
        matching = source.find(path)
        if not matching:
            raise missing(setting, source, path)
        found += matching
    return found


def parquet_files(setting: Setting, source: Source) -> list[Found]:
    """The files of both splits, in reading order."""
    return [entry for split in ("train", "test") for entry in _split_files(setting, source, split)]


def training_files(setting: Setting, source: Source) -> int:
    """How many of `parquet_files` are the training split's."""
    return len(_split_files(setting, source, "train"))


def read_parquet(setting: Setting, source: Source) -> Split:
    """Columns `image` {bytes, path} and `label` (options image_column, label_column rename them).

    Options train and test name a file, a list of files or a pattern such as data/train-*.parquet.
    """
    train, test = (_read_split(setting, source, split) for split in ("train", "test"))
    return train, test


def _read_split(setting: Setting, source: Source, split: str) -> ImageArrays:
    files = _split_files(setting, source, split)
    where = source.describe(files[0].path) + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    label_parts = [_labels(setting, source, entry.path) for entry in files]
    labels = np.concatenate(label_parts)
    check_labels(setting, labels, where, complete=split == "train")
    encoded = (item for entry in files for item in _encoded(setting, source, entry.path))
    return ImageArrays(decode_all(encoded, len(labels), setting, where), labels)


def _columns(setting: Setting) -> tuple[str, str]:
    return str(setting.options.get("image_column", "image")), str(setting.options.get("label_column", "label"))


@contextmanager
def _table(setting: Setting, source: Source, path: str) -> Iterator[Any]:
    """The open ParquetFile; raises InputError for damage, here or while reading, and for missing columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = source.describe(path)
    try:
        with source.open(path) as file, pq.ParquetFile(file) as table:
            _check_size(table.metadata, source.find(path)[0].size, where)
            schema = table.schema_arrow
            for column in _columns(setting):
                if column not in schema.names:
                    raise InputError(
                        f"{where} has no column {column!r}, only {schema.names[:12]}",
                        "set the options image_column and label_column",
                    )
            kind = schema.field(_columns(setting)[0]).type
            if not (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
                raise InputError(f"{where}: its image column is {kind}", "it must be a struct with a field bytes")
            yield table
    except (OSError, UnicodeError, pa.ArrowException) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{where} is not a readable Parquet file: {problem}", "copy or export it again") from error


def _check_size(metadata: Any, size: int, where: str) -> None:
    """Raise InputError for a table that would become far larger than its file."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    total = sum(group.total_byte_size for group in groups)
    if metadata.num_rows > MAX_ROWS or total > max(FREE_BYTES, MAX_EXPANSION * size):
        raise InputError(
            f"{where}: {metadata.num_rows} rows, {total / 1e9:.1f} GB from {size / 1e9:.3f} GB",
            f"at most {MAX_ROWS} rows and {MAX_EXPANSION} times its size are read",
        )


def _labels(setting: Setting, source: Source, path: str) -> np.ndarray:
    """The label column, int64 (N,), after checking the class order that the file itself states."""
    import pyarrow as pa

    name, where = _columns(setting)[1], source.describe(path)
    with _table(setting, source, path) as table:
        schema = table.schema_arrow
        try:
            known = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
            names = known.get("info", {}).get("features", {}).get(name, {}).get("names")
        except (ValueError, AttributeError) as error:
            raise InputError(f"{where}: its huggingface metadata is damaged: {error}", "export it again") from error
        if names is not None:
            check_classes(setting, names, where)
        if not pa.types.is_integer(schema.field(name).type):
            raise InputError(f"{where}: labels are {schema.field(name).type}", "number the classes from 0")
        column = table.read(columns=[name])[name]
        if column.null_count:
            raise InputError(f"{where}: {column.null_count} rows have no label", "remove or label them")
        return column.to_numpy().astype(np.int64)


def _encoded(setting: Setting, source: Source, path: str) -> Iterator[tuple[bytes, str]]:
    """The encoded images with their names, row by row."""
    name, where, row = _columns(setting)[0], source.describe(path), 0
    with _table(setting, source, path) as table:
        for batch in table.iter_batches(BATCH, columns=[f"{name}.bytes"]):
            for data in batch.column(0).field("bytes"):
                if not data.is_valid:
                    raise InputError(f"{where}, row {row}: no image bytes", "embed the images when exporting")
                yield data.as_py(), f"{where}, row {row}"
                row += 1


PARQUET = Reader(
    read=read_parquet,
    files=parquet_files,
    training_files=training_files,
    options=("train", "test", "image_column", "label_column"),
)
