"""Fields that a recipe gained after results had been stored under it.

Belongs here: the mark, read where recipes become digests (planning/digests.py). Does not belong: any recipe.
"""

from __future__ import annotations

import dataclasses
from typing import Any

LATER = "dd_assets/later"


def later(default: Any) -> Any:
    """A dataclass field with a default under which results keep the digests they had before the field existed."""
    return dataclasses.field(default=default, metadata={LATER: True})
