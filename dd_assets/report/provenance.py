"""What a set of synthetic images owes to the real ones: a walk through the units that it was made from.

Belongs here: the walk. Does not belong: ranking (leaderboard.py), which units a method reads (planning/).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from dd_resources.store import ArtefactStore

Provenance = Literal["data-free", "generator saw the data", ""]
GENERATORS, TEACHER, DATASET = ("generator", "fine_tuned_generator"), "teacher", "dataset"


def provenance(store: ArtefactStore, images: Iterable[str], dataset: str) -> Provenance:
    """How the units `images` (recipe digests) reach the dataset whose content digest is `dataset`.

    "data-free": not at all, but for the teacher, through which no path is followed; "generator saw the data": only
    through a generator trained on it; '': in another way too, or a unit on the way is no longer in the store. A
    pre-trained folder is the end of a path: what it was trained on cannot be known here.
    """
    found: set[bool] = set()
    waiting, seen = [(digest, False) for digest in images], set()
    while waiting:
        digest, generated = step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        manifest = store.lookup(digest)
        if manifest is None:
            return ""
        kind = manifest.recipe["unit"]
        if kind == TEACHER:
            continue
        if kind == DATASET and manifest.content == dataset:
            found.add(generated)
        waiting += [(source, generated or kind in GENERATORS) for source in manifest.sources.values()]
    if False in found:
        return ""
    return "generator saw the data" if found else "data-free"
