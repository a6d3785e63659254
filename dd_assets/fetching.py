"""Whether published weights may be fetched, and why they could not be.

Belongs here: the one switch for all that fetches them. Does not belong: fetching (models/pretrained.py,
diffusion/hub.py), datasets, which have a command of their own (datasets/downloads.py).
"""

from __future__ import annotations

import os

DOWNLOADS = "DD_DOWNLOAD_WEIGHTS"
"""Published weights are fetched only where this environment variable is 1; otherwise their caches must hold them."""
LONGEST = 200
"""Characters of a library's own words in a refusal."""


def may_fetch() -> bool:
    """Whether weights may be fetched."""
    return os.environ.get(DOWNLOADS) == "1"


def in_short(error: Exception) -> str:
    """What a library says of a failed download, in one line."""
    return " ".join(str(error).split())[:LONGEST]
