"""Choosing real images class by class.

Belongs here: the walk over classes and the orders that two or more methods use. Does not belong: one method's
criterion (its synthesis.py), forward passes (outputs.py), patches (patches.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from torch import nn

from dd_assets.errors import InputError
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.outputs import logits_of
from dd_assets.synthesis.patches import cross_entropy_scores

Choice = tuple[np.ndarray, Mapping[str, np.ndarray]]
"""Positions among a class's images, most wanted first, int64 (n,), and a column value for each of them."""


def select(request: Request, choose: Callable[[int, np.ndarray], Choice]) -> SyntheticImages:
    """Real images in (IPC index, class) order: image k of a class is the k-th of `choose`'s positions.

    `choose` gets a class and its training images, uint8 (n, H, W, C), and gives at least `request.last` different
    positions. Column source_index is the training row; the choice's own columns follow. Raises InputError naming the
    class if it has fewer than `request.last` images.
    """
    train, classes = request.train(), request.facts.classes
    columns: dict[str, list[np.ndarray]] = {"source_index": []}
    for label, name in enumerate(classes):
        rows = train.of_class(label)
        if len(rows) < request.last:
            raise InputError(
                f"class {name!r} has {len(rows)} images, IPC index {request.last - 1} does not exist",
                "choose a smaller IPC",
            )
        positions, further = choose(label, train.images[rows])
        wanted = slice(request.first, request.last)
        columns["source_index"].append(rows[positions[wanted]])
        for column, values in further.items():
            columns.setdefault(column, []).append(values[wanted])
        request.progress(label + 1, len(classes))
    joined = {column: np.stack(values, axis=1).reshape(-1) for column, values in columns.items()}
    source = joined["source_index"]
    return SyntheticImages(images=train.images[source], labels=train.labels[source], columns=joined)


def median_order(scores: np.ndarray) -> np.ndarray:
    """All positions by distance in rank from the middle, int64 (n,): the middle rank, one above, one below, two above…

    The middle is rank ceil(n / 2) of the ascending order, counted from 0, hence one above the median where n is odd;
    ranks that do not exist are passed over. Ties by position. Source: VILA-Lab/DELT f2f81ca, data_selection.py.
    """
    ascending = np.argsort(scores, kind="stable")
    middle = math.ceil(len(scores) / 2)
    ranks = [middle + sign * step for step in range(len(scores) + 1) for sign in (1, -1)]
    inside = dict.fromkeys(rank for rank in ranks if 0 <= rank < len(scores))
    return ascending[list(inside)]


def by_median_probability(request: Request, teacher: nn.Module) -> Callable[[int, np.ndarray], Choice]:
    """A choice for `select`: images by distance in rank from the class's median teacher probability.

    Column score is -log p(y | x), float64. It ranks as the probability does, backwards, and keeps apart the many
    images that a well-fitted teacher gives a probability of exactly 1 in float32.
    """

    def choose(label: int, images: np.ndarray) -> Choice:
        logits = logits_of(teacher, images, request.facts.normalisation, request.device)
        scores = cross_entropy_scores(logits, label, "float64").cpu().numpy()
        order = median_order(-scores)
        return order, {"score": scores[order]}

    return choose
