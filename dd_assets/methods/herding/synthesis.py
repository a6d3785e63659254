"""The herding coreset.

Belongs here: the greedy walk to the class mean. Does not belong: features (synthesis/outputs.py).

Source: Welling 2009; in this greedy form Rebuffi et al. 2017 (iCaRL, algorithm 4).
"""

from __future__ import annotations

import numpy as np

from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.outputs import features_of
from dd_assets.synthesis.selection import Choice, select


def herd(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` different rows of `features` (n, D), int64, and how far their running mean is from the mean of all.

    Each row brings the mean of those chosen so far, itself included, as close to the class mean as any unused row
    can; ties by row.
    """
    mean, total = features.mean(axis=0), np.zeros(features.shape[1])
    chosen, distances = np.empty(count, dtype=np.int64), np.empty(count)
    used = np.zeros(len(features), dtype=bool)
    for step in range(count):
        off = np.linalg.norm(mean - (total + features) / (step + 1), axis=1)
        off[used] = np.inf
        best = int(np.argmin(off))
        chosen[step], distances[step], used[best] = best, off[best], True
        total += features[best]
    return chosen, distances


def synthesise(request: Request) -> SyntheticImages:
    """Real images whose mean teacher feature follows the class mean, in the order they were found.

    Columns source_index and distance, that of the mean of images 0 to k. Raises InputError where a class has too few.
    """
    teacher = request.teacher()

    def choose(label: int, images: np.ndarray) -> Choice:
        features = features_of(teacher, images, request.facts.normalisation, request.device)
        chosen, distances = herd(features, request.last)
        return chosen, {"distance": distances}

    return select(request, choose)
