"""Decoding: what becomes of one image, and which images are refused."""

from __future__ import annotations

import contextlib
import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from dd_assets.datasets.readers.images import decode, decode_all, empty
from dd_assets.errors import InputError
from tests.datasets.fabricated import encoded, three_classes

SETTING = three_classes()


def noise(kind: str, **options) -> bytes:
    """A 40 x 40 picture whose every row differs, so that a missing part shows."""
    values = np.random.Generator(np.random.Philox(7)).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def test_a_picture_of_the_right_size_is_untouched():
    values = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    assert (decode(file.getvalue(), SETTING, "x") == values).all()


def test_the_middle_of_the_longer_side_is_kept():
    # 24 x 8: the left, middle and right third are 10, 20, 30. Squashing would give all three, a left crop 10.
    values = np.repeat(np.array([10, 20, 30], dtype=np.uint8), 8)[None, :, None].repeat(8, 0).repeat(3, 2)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    assert (decode(file.getvalue(), SETTING, "x") == 20).all()


def test_grey_settings_get_one_channel_and_grey_pictures_three():
    assert decode(encoded(9), three_classes(channels=1), "x").shape == (8, 8, 1)
    assert (decode(encoded(9, mode="L"), SETTING, "x") == 9).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_truncated_picture_is_refused_whatever_other_libraries_have_set(kind, monkeypatch):
    # With the flag that some libraries set, Pillow fills the missing rows with grey or black and says nothing.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = noise(kind)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(InputError, match=r"cat/1\.x cannot be decoded"):
            decode(data[: int(len(data) * share)], SETTING, "cat/1.x")


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"])
def test_what_is_no_picture_is_refused_by_name(data):
    with pytest.raises(InputError, match="row 3 cannot be decoded"):
        decode(data, SETTING, "row 3")


def test_damage_anywhere_is_refused_or_decodes_and_never_escapes_as_another_error():
    decoded = 0
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        data = noise(kind)
        for position in range(0, len(data), max(1, len(data) // 120)):
            damaged = bytearray(data)
            damaged[position] ^= 0xFF
            with contextlib.suppress(InputError):
                decoded += decode(bytes(damaged), SETTING, "x").shape == (8, 8, 3)
    assert decoded > 100


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("size", [(8001, 8000), (20000, 20000)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(size):
    header = encoded(0, size=(1, 1))
    at = header.index(b"IHDR") + 4
    body = header[at - 4 : at] + size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big") + header[at + 8 : at + 13]
    bomb = header[: at - 4] + body + zlib.crc32(body).to_bytes(4, "big") + header[at + 17 :]
    with pytest.raises(InputError, match=r"pixels"):
        decode(bomb, SETTING, "x")


def test_sixteen_bits_per_channel_are_refused_rather_than_clipped():
    # Pillow's convert would turn every value above 255 into white.
    with pytest.raises(InputError, match="8 bits"):
        decode(encoded(3000, mode="I;16"), SETTING, "x")


def test_many_are_decoded_in_order_and_the_damaged_one_is_named():
    items = [(encoded(number % 256), f"row {number}") for number in range(700)]
    assert decode_all(items, 700, SETTING, "t")[:, 0, 0, 0].tolist() == [number % 256 for number in range(700)]
    items[601] = (b"broken", "row 601")
    with pytest.raises(InputError, match="row 601 cannot"):
        decode_all(items, 700, SETTING, "t")


def test_more_than_the_machine_holds_is_refused_with_the_size():
    with pytest.raises(InputError, match=r"need 1505280 GB"):
        empty(10**10, three_classes(size=224), "t")


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1)])
def test_a_picture_so_narrow_that_resizing_it_would_take_gigabytes_is_refused(size: tuple[int, int]) -> None:
    # 30,000 pixels in a file of some hundred bytes; at 224 px its shorter side of 1 makes the longer 6.7 million.
    with pytest.raises(InputError, match="too narrow"):
        decode(encoded(5, size), three_classes(size=224), "x")
    assert decode(encoded(5, size), SETTING, "x").shape == (8, 8, 3)


def test_a_file_of_absurd_length_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dd_assets.datasets.readers.images.MAX_BYTES", 50)
    with pytest.raises(InputError, match=r"x: \d+ bytes → at most 50"):
        decode(encoded(5), SETTING, "x")
