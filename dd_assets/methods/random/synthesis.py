"""Random real images, drawn.

Belongs here: the seeded choice of rows. Does not belong: parameters and refusals (recipe.py).
"""

from __future__ import annotations

import numpy as np

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.methods.request import Request, SyntheticImages


def synthesise(request: Request) -> SyntheticImages:
    """Image k of class c is the k-th of the class's permuted rows; column source_index (rows,) is the training row.

    Raises InputError naming the class if it has fewer than `request.last` images.
    """
    train = request.train()
    classes = range(len(request.facts.classes))
    chosen = np.empty((request.last - request.first, len(classes)), dtype=np.int64)
    for label in classes:
        rows = train.of_class(label)
        if len(rows) < request.last:
            name = request.facts.classes[label]
            raise InputError(f"class {name!r} has {len(rows)} images, IPC index {request.last - 1} does not exist")
        order = randomness.permutation(len(rows), request.seed, "random", label)
        chosen[:, label] = rows[order[request.first : request.last]]
    source = chosen.reshape(-1)
    request.progress(len(source), len(source))
    return SyntheticImages(images=train.images[source], labels=train.labels[source], columns={"source_index": source})
