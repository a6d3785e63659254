"""PRISM: one network judges the classes, a random subset of others the batch statistics.

Belongs here: the subset, the shares of both losses, lengths by IPC index, and what PRISM asks of the shared loop. Does
not belong: the loop (dd_assets/synthesis/recover.py, several.py), losses of several networks (committee.py there),
groups that enter late (methods/delt), numbers (recipe.py).

Source: Brian-Moser/prism a691b41, recover/data_synthesis.py.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache

import numpy as np
from torch import nn

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.methods.delt.synthesis import entry_iterations
from dd_assets.methods.prism.recipe import Parameters
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.committee import Clock, Shares, committee_loss, networks_run
from dd_assets.synthesis.recover import (
    Recovery,
    batches_of,
    beginning,
    class_major_batches,
    shared_views,
    start_of,
)
from dd_assets.synthesis.schedules import learning_rate_at
from dd_assets.synthesis.selection import Choice, select
from dd_assets.synthesis.several import recover_each

SubsetAt = Callable[[int, int], tuple[str, ...]]
"""(IPC index, iteration) to the networks that judge the batch statistics."""


def length_of(parameters: Parameters, index: int) -> int:
    """Iterations of IPC index `index` before `equal_forwards`: they fall within a cycle and begin again after it."""
    return max(0, parameters.iterations - parameters.shorter_by * (index % parameters.cycle))


def subset_of(pool: Sequence[str], extra: int, chance: float, seed: int, *stream: int) -> tuple[str, ...]:
    """The first of `pool` and up to `extra` different others, in the pool's order.

    Each of `extra` places is filled with probability `chance`, by a network drawn uniformly from those not yet in the
    subset; with a small pool later places may find none left.
    """
    taken, numbers = [pool[0]], randomness.uniform(2 * extra, seed, "prism", "subset", *stream)
    for place in range(extra):
        left = [name for name in pool if name not in taken]
        if left and numbers[2 * place] < chance:
            taken.append(left[int(numbers[2 * place + 1] * len(left))])
    return tuple(name for name in pool if name in taken)


def shares_of(parameters: Parameters, pool: Sequence[str], subset: Sequence[str]) -> Shares:
    """Weights of every network's CE and BN distance, each summing to 1; networks without batch norm count as others.

    The primary's batch statistics enter once, although the original holds a second copy of it for them.
    """
    judges = pool[:1] if parameters.logits_from == "primary" else pool
    matched = {"same": pool[:1], "all": pool, "subset": subset}[parameters.bn_from]
    return Shares(ce=dict.fromkeys(judges, 1 / len(judges)), bn=dict.fromkeys(matched, 1 / len(matched)))


def paid_for(budget: int, cost: Callable[[int], int]) -> int:
    """How many iterations, at `cost(iteration)` forward passes each, a budget of forward passes pays for."""
    spent = itertools.accumulate(cost(at) for at in range(budget))
    return sum(1 for total in itertools.takewhile(lambda total: total <= budget, spent))


def _draw(request: Request) -> Callable[[int, np.ndarray], Choice]:
    """Uniform without replacement, nested in IPC."""
    return lambda label, images: (randomness.permutation(len(images), request.seed, "prism", "init", label), {})


def _subset_at(request: Request, pool: Sequence[str], place: Callable[[int, int], int]) -> SubsetAt:
    """One subset per place, or per place and iteration; `place` is the IPC index or the round (index, iteration)."""
    parameters = request.parameters

    @cache
    def subset_at(index: int, at: int) -> tuple[str, ...]:
        stream = (place(index, at), at) if parameters.draw == "per_iteration" else (place(index, at),)
        return subset_of(pool, parameters.extra, parameters.chance, request.seed, *stream)

    return subset_at


def _recovery(
    request: Request, committee: Mapping[str, nn.Module], start: SyntheticImages | None, subset_at: SubsetAt
) -> Recovery:
    """What all of PRISM's recoveries have in common; iterations, batches and rate are the caller's to replace."""
    parameters, pool = request.parameters, list(committee)
    clock = Clock()

    def shares() -> Shares:
        return shares_of(parameters, pool, subset_at(clock.index, clock.iteration))

    loss = committee_loss(committee, shares, parameters.r_bn, parameters.first_bn_multiplier)
    return Recovery(
        name="prism",
        precision=parameters.precision,
        iterations=0,
        batches=(),
        initial=beginning(request, "prism", start),
        rate=lambda at: 0.0,
        view=shared_views(request, "prism", lambda at: parameters.crop_scale_min),
        objective=lambda batch: nullcontext(loss),
        memory=clock,
    )


def _index_by_index(
    request: Request, committee: Mapping[str, nn.Module], start: SyntheticImages | None
) -> list[Recovery]:
    """One recovery per IPC index, one image of each class in a batch, each with a cosine of its own length."""
    parameters, pool, classes = request.parameters, list(committee), len(request.facts.classes)
    subset_at = _subset_at(request, pool, lambda index, at: index)
    common = _recovery(request, committee, start, subset_at)

    def of(index: int) -> Recovery:
        length = length_of(parameters, index)
        if parameters.equal_forwards:
            length = paid_for(
                length, lambda at: len(networks_run(committee, shares_of(parameters, pool, subset_at(index, at))))
            )
        return dataclasses.replace(
            common,
            iterations=length,
            batches=batches_of(index, index + 1, classes, parameters.batch, "one_per_class"),
            rate=lambda at: learning_rate_at(at, length, parameters.learning_rate),
        )

    return [of(index) for index in range(request.first, request.last)]


def _early_late(request: Request, committee: Mapping[str, nn.Module], start: SyntheticImages | None) -> list[Recovery]:
    """One recovery with DELT's batches of whole classes, whose images enter in groups; a new subset per round."""
    parameters, total = request.parameters, request.parameters.iterations
    entry = entry_iterations(request.ipc, parameters.rounds, total)
    rounds = entry_iterations(parameters.rounds, parameters.rounds, total)
    subset_at = _subset_at(request, list(committee), lambda index, at: int(np.count_nonzero(rounds <= at)) - 1)
    return [
        dataclasses.replace(
            _recovery(request, committee, start, subset_at),
            iterations=total,
            batches=class_major_batches(request.ipc, len(request.facts.classes), parameters.batch),
            rate=lambda at: learning_rate_at(at, total, parameters.learning_rate),
            active=lambda batch, at: entry[batch.indices] <= at,
        )
    ]


def synthesise(request: Request) -> SyntheticImages:
    """Optimise real images: min CE + r_bn · mean of the BN distances of a subset; iterations 0 gives the beginning.

    The pool's first network is the primary. Column source_index is the row an image began as, with init "real".
    Curves: iteration, ce and bn_loss (un-weighted), means over the batches of an index, one index after another.
    Resumes from `request.checkpoints` within a batch. Raises InputError where no network has batch norm, for a loss
    that is not finite, where a class has too few images, and for a part of the set with layout "early_late".
    """
    if not request.parameters.per_index and (request.first, request.last) != (0, request.ipc):
        raise InputError("prism: layout 'early_late' cannot be computed in parts", "request all IPC indices at once")
    start = start_of(request, lambda: select(request, _draw(request)))
    plan = _index_by_index if request.parameters.per_index else _early_late
    made = recover_each(request, plan(request, request.committee(), start))
    return dataclasses.replace(made, columns=start.columns) if start else made
