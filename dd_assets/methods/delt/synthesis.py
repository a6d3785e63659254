"""DELT: images of a class enter the recovery one group after another.

Belongs here: groups and what DELT asks of the shared loop. Does not belong: the loop, batches, the curriculum and the
choice by median probability (dd_assets/synthesis), numbers (recipe.py).

Source: VILA-Lab/DELT f2f81ca, data_selection.py and recover/recover.py.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dd_assets.errors import InputError
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.recover import (
    Recovery,
    beginning,
    ce_and_bn,
    class_major_batches,
    recover,
    shared_views,
    start_of,
)
from dd_assets.synthesis.schedules import crop_floor_at, learning_rate_at
from dd_assets.synthesis.selection import by_median_probability, select


def group_sizes(ipc: int, rounds: int) -> list[int]:
    """Images of a class that enter at each round: ipc // rounds, one more in the first ipc % rounds."""
    return [ipc // rounds + (number < ipc % rounds) for number in range(rounds)]


def entry_iterations(ipc: int, rounds: int, iterations: int) -> np.ndarray:
    """The iteration at which image k of a class enters, int64 (ipc,); it is optimised from there to the end."""
    starts = [number * iterations // rounds for number in range(rounds)]
    return np.repeat(np.array(starts, dtype=np.int64), group_sizes(ipc, rounds))


def synthesise(request: Request) -> SyntheticImages:
    """Optimise median-probability real images; late groups join Adam, the schedules and the batch as they stand.

    Column source_index is the row an image began as, score its -log p(y | x). Curves: iteration, ce, bn_loss, of the
    images active at the time. Resumes from `request.checkpoints`; iterations 0 gives the real images. A shard is the
    whole set. Raises InputError as SRe2L does, for a part of the set, and where a class has too few images.
    """
    parameters, total = request.parameters, request.parameters.iterations
    if (request.first, request.last) != (0, request.ipc):
        raise InputError("delt: cannot be computed in parts", "request all IPC indices at once")
    teacher = request.teacher()
    start = start_of(request, lambda: select(request, by_median_probability(request, teacher)))
    entry = entry_iterations(request.ipc, parameters.rounds, total)

    def floor(at: int) -> float:
        return crop_floor_at(at, total, parameters.curriculum, parameters.milestone, parameters.crop_scale_min)

    made = recover(
        request,
        Recovery(
            name="delt",
            precision=parameters.precision,
            iterations=total,
            batches=class_major_batches(request.ipc, len(request.facts.classes), parameters.batch),
            initial=beginning(request, "delt", start),
            rate=lambda at: learning_rate_at(at, total, parameters.learning_rate),
            view=shared_views(request, "delt", floor),
            objective=lambda batch: ce_and_bn(teacher, parameters.r_bn, parameters.first_bn_multiplier),
            active=lambda batch, at: entry[batch.indices] <= at,
        ),
    )
    return dataclasses.replace(made, columns=start.columns) if start else made
