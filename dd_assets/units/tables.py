"""Parquet in and out, in the layouts others can read without this project.

Belongs here: tables of images (Hugging Face `datasets` features), labels and scores. Does not belong: what is in them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import Image

from dd_assets.errors import CorruptArtefactError, DDError
from dd_assets.lazy import np

if TYPE_CHECKING:
    import pyarrow as pa

IMAGES = "images.parquet"
"""The payload of every unit that holds images."""
ROWS_AT_ONCE = 64
"""Images decoded from one piece of a table."""


def _column(values: np.ndarray) -> pa.Array:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))


def write_columns(columns: Mapping[str, np.ndarray], metadata: Mapping[str, Any] | None = None) -> bytes:
    """NumPy columns as a Parquet file; further axes become fixed-size lists, their shapes are kept in the metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: _column(np.asarray(values)) for name, values in columns.items()}
    shapes = {name: list(np.shape(values)[1:]) for name, values in columns.items() if np.ndim(values) > 1}
    table = pa.table(arrays).replace_schema_metadata(
        {"dd_shapes": json.dumps(shapes), "dd_metadata": json.dumps(dict(metadata or {}))}
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


@contextmanager
def _intact(what: str) -> Iterator[None]:
    """Turns whatever a damaged table makes pyarrow, NumPy and Pillow raise into CorruptArtefactError."""
    try:
        yield
    except DDError:
        raise
    except Exception as error:
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise CorruptArtefactError(f"{what} is damaged: {problem}", "discard it and run again") from error


def read_columns(data: bytes) -> dict[str, np.ndarray]:
    """The inverse of `write_columns`; raises CorruptArtefactError for a table that it did not write."""
    with _intact("a table of columns"):
        return _columns_of(data)


def _columns_of(data: bytes) -> dict[str, np.ndarray]:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    shapes = json.loads(table.schema.metadata[b"dd_shapes"])
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if name in shapes:
            values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shapes[name])
        else:
            values = column.to_numpy(zero_copy_only=False)
        columns[name] = np.array(values)
    return columns


def encode_png(image: np.ndarray) -> bytes:
    """One uint8 image (H, W, C) as PNG bytes, lossless."""
    sink = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(sink, "PNG")
    return sink.getvalue()


def _feature(values: np.ndarray) -> dict[str, Any]:
    value = {"dtype": str(values.dtype), "_type": "Value"}
    if values.ndim == 1:
        return value
    return {"feature": value, "length": int(np.prod(values.shape[1:])), "_type": "Sequence"}


def write_images(
    images: np.ndarray, labels: np.ndarray, classes: Sequence[str], columns: Mapping[str, np.ndarray]
) -> bytes:
    """Images uint8 (N, H, W, C) and labels as a Parquet file that `datasets.load_dataset("parquet")` understands."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = [{"bytes": encode_png(image), "path": None} for image in images]
    arrays = {
        "image": pa.array(pictures, type=pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "label": pa.array(labels.astype(np.int64)),
        **{name: _column(values) for name, values in columns.items()},
    }
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        **{name: _feature(values) for name, values in columns.items()},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), sink, compression="zstd")
    return sink.getvalue()


def read_images(data: bytes) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(images uint8 (N, H, W, C), labels int64 (N,), further columns) of a file made by `write_images`.

    Raises CorruptArtefactError for another file.
    """
    with _intact("a table of images"):
        return _images_of(data)


def _images_of(data: bytes) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    import pyarrow.parquet as pq

    pictures: list[np.ndarray] = []
    parts: dict[str, list[np.ndarray]] = {}
    # As one table more than 2 GiB of pictures would be two chunks of a nested column, which pyarrow cannot make.
    for part in pq.ParquetFile(io.BytesIO(data)).iter_batches(batch_size=ROWS_AT_ONCE):
        for blob in part["image"].field("bytes"):
            with Image.open(io.BytesIO(blob.as_py())) as image:
                pixels = np.asarray(image, dtype=np.uint8)
            pictures.append(pixels[..., None] if pixels.ndim == 2 else pixels)
        for name in part.schema.names:
            if name != "image":
                column = part[name]
                wide = hasattr(column.type, "list_size")
                flat = (column.flatten() if wide else column).to_numpy(zero_copy_only=False)
                parts.setdefault(name, []).append(flat.reshape(len(part), -1) if wide else flat)
    columns = {name: np.concatenate(found) for name, found in parts.items()}
    return np.stack(pictures), columns.pop("label").astype(np.int64), columns
