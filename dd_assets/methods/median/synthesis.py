"""The median coreset.

Belongs here: nothing but the call. Does not belong: the choice itself, which DELT shares (synthesis/selection.py).
"""

from __future__ import annotations

from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.selection import by_median_probability, select


def synthesise(request: Request) -> SyntheticImages:
    """Real images whose teacher probability is closest in rank to the class's median, nearest first.

    Columns source_index and score, -log p(y | x). Raises InputError where a class has too few images.
    """
    return select(request, by_median_probability(request, request.teacher()))
