"""Tables of images: what is written comes back, however much it is."""

from __future__ import annotations

import numpy as np
import pytest

from dd_assets.errors import CorruptArtefactError
from dd_assets.units import tables
from dd_assets.units.tables import ROWS_AT_ONCE, encode_png, read_images, write_images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 3])
def test_images_and_columns_come_back_over_any_number_of_pieces(count: int, channels: int) -> None:
    random = np.random.default_rng(count)
    images = random.integers(0, 256, (count, 4, 4, channels), dtype=np.uint8)
    labels = np.arange(count) % 7
    columns = {"source": np.arange(count, dtype=np.int32), "box": random.random((count, 4), dtype=np.float32)}
    found, classes, further = read_images(write_images(images, labels, [str(k) for k in range(7)], columns))
    assert (found == images).all()
    assert (classes.dtype, classes.tolist()) == (np.int64, labels.tolist())
    assert {name: (values.dtype, values.shape) for name, values in further.items()} == {
        name: (values.dtype, values.shape) for name, values in columns.items()
    }
    assert all((further[name] == values).all() for name, values in columns.items())


def test_a_file_that_is_cut_off_is_called_damaged() -> None:
    data = write_images(np.zeros((3, 4, 4, 3), np.uint8), np.zeros(3, np.int64), ["a"], {})
    with pytest.raises(CorruptArtefactError, match=r"a table of images is damaged: .* → discard it and run again"):
        read_images(data[: len(data) // 2])


@pytest.mark.slow
def test_more_than_two_gibibytes_of_pictures_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ImageNet-1K at IPC 50 that is every set; as one column pyarrow could write it and not read it."""
    # What follows a PNG's end is read by nobody.
    blob = encode_png(np.full((4, 4, 3), 7, np.uint8)) + bytes(8 * 2**20)
    monkeypatch.setattr(tables, "encode_png", lambda _: blob)
    data = write_images(np.zeros((260, 4, 4, 3), np.uint8), np.zeros(260, np.int64), ["a"], {})
    images, labels, _ = read_images(data)
    assert len(blob) * 260 > 2**31
    assert (images.shape, len(labels)) == ((260, 4, 4, 3), 260)
    assert (images == 7).all()
