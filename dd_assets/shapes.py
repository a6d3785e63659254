"""Array shapes in annotations, checked at run time in tests and free of cost elsewhere.

Belongs here: the names that torch-side annotations use, such as Float[Tensor, "n c h w"]. Does not belong: checks a
user's data needs; those raise InputError where the data comes in.

tests/conftest.py turns the checks on with jaxtyping's import hook and beartype. A machine without jaxtyping (a bare GPU
box) reads the same annotations as the plain array type.
"""

from __future__ import annotations

from typing import Any

try:
    from jaxtyping import Float, Int, UInt8
except ImportError:

    class _PlainArray:
        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            return item[0]

    Float = Int = UInt8 = _PlainArray  # type: ignore[assignment,misc]

__all__ = ["Float", "Int", "UInt8"]
