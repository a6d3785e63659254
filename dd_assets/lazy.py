"""NumPy, imported when it is first used.

Belongs here: a stand-in for modules that Dagster's definitions import but that compute nothing then; importing NumPy
costs a quarter of a CPU-second in every process that only looks. Does not belong: other libraries, which are imported
inside the functions that need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:

    class _NumPy:
        def __getattr__(self, name: str) -> Any:
            import numpy

            value = getattr(numpy, name)
            setattr(self, name, value)
            return value

    np = _NumPy()

__all__ = ["np"]
