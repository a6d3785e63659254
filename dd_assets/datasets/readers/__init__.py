"""Reading raw datasets into memory.

Belongs here: one module per layout, from files to uint8 arrays in the setting's class order, with clear refusals.
Does not belong: where the files lie (sources.py, dd_resources/raw_data.py), normalisation, anything about methods.

A reader takes (setting, source) and returns (train, test). `files` lists what it reads, so that a change is noticed
without decoding anything.
"""

from __future__ import annotations

from dd_assets.datasets.readers.digits import DIGITS
from dd_assets.datasets.readers.folder import FOLDER
from dd_assets.datasets.readers.images import MAX_PIXELS, decode
from dd_assets.datasets.readers.layout import Reader, Split
from dd_assets.datasets.readers.parquet import PARQUET
from dd_assets.datasets.readers.tiny_imagenet import TINY_IMAGENET
from dd_assets.datasets.readers.torchvision import TORCHVISION
from dd_assets.datasets.setting import Setting
from dd_assets.errors import UnknownNameError

READERS: dict[str, Reader] = {
    "digits": DIGITS,
    "parquet": PARQUET,
    "folder": FOLDER,
    "tiny_imagenet": TINY_IMAGENET,
    "torchvision": TORCHVISION,
}


def reader(setting: Setting) -> Reader:
    """The setting's reader; raises UnknownNameError."""
    if setting.reader not in READERS:
        raise UnknownNameError.of(f"reader of {setting.name}", setting.reader, READERS)
    return READERS[setting.reader]


__all__ = ["MAX_PIXELS", "READERS", "Reader", "Split", "decode", "reader"]
