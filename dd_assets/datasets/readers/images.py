"""From encoded images to one uint8 array.

Belongs here: decoding, resizing and cropping one image, and doing so for many at once. Does not belong: files, labels.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError

MAX_PIXELS = 64_000_000
"""Images above this are refused: no dataset of the field has them, decompression bombs do."""
MAX_BYTES = 128_000_000
"""Encoded images above this are refused: twice what MAX_PIXELS in JPEG at its best quality take."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What may hide behind an image's bytes; Pillow's other, rarer decoders stay out of reach."""
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
CHUNK = 512
DAMAGE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow's decoders raise for damaged files."""


def damage(error: Exception) -> str:
    """One of DAMAGE in words; Pillow's own for bytes that are no image name an object in memory."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known kind"
    return " ".join(str(error).split())


def decode(data: bytes, setting: Setting, where: str) -> np.ndarray:
    """Image bytes as uint8 (size, size, channels): shorter side resized (bilinear, antialias), centre cropped.

    Alpha is dropped and only the first frame is read; raises InputError naming `where` for a damaged or truncated
    image, one above MAX_BYTES or MAX_PIXELS, one so narrow that resizing it would pass MAX_PIXELS, and one with more
    than 8 bits per channel.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: {len(data)} bytes", f"at most {MAX_BYTES} are read")
    # Libraries set this flag for their own files; it would let half an image pass as a whole one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{where}: {image.width} x {image.height} pixels", f"at most {MAX_PIXELS} are read")
            if setting.size**2 * max(image.size) > MAX_PIXELS * min(image.size):
                raise InputError(f"{where}: {image.width} x {image.height} is too narrow", "replace or remove it")
            if image.mode in DEEP_MODES:
                raise InputError(f"{where}: pixels of mode {image.mode}", "convert it to 8 bits per channel")
            return fitted(image, setting)
    except DAMAGE as error:
        raise InputError(f"{where} cannot be decoded: {damage(error)}", "replace or remove that file") from error


def fitted(image: Image.Image, setting: Setting) -> np.ndarray:
    """A picture as uint8 (size, size, channels): shorter side resized (bilinear, antialias), centre cropped."""
    converted = image.convert("L" if setting.channels == 1 else "RGB")
    size = setting.size
    if converted.size != (size, size):
        scale = size / min(converted.size)
        wide, high = (max(size, round(side * scale)) for side in converted.size)
        converted = converted.resize((wide, high), Image.Resampling.BILINEAR)
        left, top = (wide - size) // 2, (high - size) // 2
        converted = converted.crop((left, top, left + size, top + size))
    return np.asarray(converted, dtype=np.uint8).reshape(size, size, setting.channels)


def empty(count: int, setting: Setting, where: str) -> np.ndarray:
    """An array for `count` images, uint8 (count, size, size, channels); raises InputError if memory cannot hold it."""
    needed = count * setting.size**2 * setting.channels
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.9 * memory:
        raise InputError(
            f"{where}: {count} images of {setting.size} px need {needed / 1e9:.0f} GB, this machine has "
            f"{memory / 1e9:.0f} GB",
            "choose a smaller size or fewer classes",
        )
    return np.empty((count, setting.size, setting.size, setting.channels), dtype=np.uint8)


def decode_all(encoded: Iterable[tuple[bytes, str]], count: int, setting: Setting, where: str) -> np.ndarray:
    """Decode `count` images given as (bytes, name), in order, on all cores: uint8 (count, size, size, channels).

    Only a few hundred encoded images are held at a time, so that memory stays that of the result.
    """
    images = empty(count, setting, where)
    waiting, done = iter(encoded), 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while chunk := list(islice(waiting, CHUNK)):
            for image in pool.map(lambda item: decode(item[0], setting, item[1]), chunk):
                images[done] = image
                done += 1
    return images
