"""scikit-learn's bundled digits.

Belongs here: reading and splitting them. Does not belong: torchvision's MNIST (torchvision.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.readers.images import fitted
from dd_assets.datasets.readers.layout import Reader, Split, check_labels
from dd_assets.datasets.setting import Setting
from dd_assets.datasets.sources import Found, Source


def digits_files(setting: Setting, source: Source) -> list[Found]:
    """The one file, by its absolute path in the installed package."""
    import importlib.resources

    path = Path(str(importlib.resources.files("sklearn.datasets") / "data" / "digits.csv.gz"))
    status = path.stat()
    return [Found(str(path), status.st_size, str(status.st_mtime_ns))]


def read_digits(setting: Setting, source: Source) -> Split:
    """scikit-learn's 1,797 handwritten 8x8 digits (values 0 to 16), split 80:20 within each class, fixed for ever."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.round(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = raw.target.astype(np.int64)
    check_labels(setting, labels, "scikit-learn's digits", complete=True)
    if images.shape[1:] != (setting.size, setting.size, setting.channels):
        images = np.stack([fitted(Image.fromarray(image[..., 0]), setting) for image in images])
    test_rows = np.sort(np.concatenate([_fifth(np.flatnonzero(labels == label), label) for label in range(10)]))
    train_rows = np.setdiff1d(np.arange(len(labels)), test_rows)
    return tuple(ImageArrays(images[rows], labels[rows]) for rows in (train_rows, test_rows))  # type: ignore[return-value]


def _fifth(rows: np.ndarray, label: int) -> np.ndarray:
    order = randomness.permutation(len(rows), 0, "digits split", label)
    return rows[order[: round(len(rows) / 5)]]


DIGITS = Reader(read=read_digits, files=digits_files, encoded=False, bundled=True)
