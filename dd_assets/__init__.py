"""Dataset distillation as data assets.

Belongs here: the small public Python API, loaded when it is asked for. Does not belong: anything that costs time to
import; Dagster's definitions import this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dd_assets.sharing.library import ImageSet, LabelledBatch, Library, SoftLabels, Training

__all__ = ["ImageSet", "LabelledBatch", "Library", "SoftLabels", "Training", "open"]


def open(store: str | None = None) -> Library:  # the field's word; modules here name the built-in explicitly
    """What a store holds, to read from Python: `dd_assets.open().image_set("rded", "digits", 10)`.

    store: a folder or an s3:// URL; None is DD_STORE's. Raises StoreError if it cannot be read.
    """
    from dd_assets.sharing.library import Library

    return Library(store)


def __getattr__(name: str) -> Any:
    if name in __all__:
        from dd_assets.sharing import library

        return getattr(library, name)
    raise AttributeError(f"module 'dd_assets' has no attribute {name!r}")
