"""CV-DD: two members of a committee vote on the images of an IPC index.

Belongs here: who votes with what weight, and what CV-DD asks of the shared loop. Does not belong: the loop
(dd_assets/synthesis/recover.py), losses of several teachers (committee.py there), numbers (recipe.py).

Source: Jiacheng8/CV-DD 24097e9, recover/recover.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.methods.cvdd.recipe import Parameters
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.committee import Shares, committee_loss, softmax_weights
from dd_assets.synthesis.recover import (
    Batch,
    Objective,
    Recovery,
    batches_of,
    beginning,
    recover,
    shared_views,
    start_of,
)
from dd_assets.synthesis.schedules import learning_rate_at

Pair = tuple[str, str]


def pairs_of(pool: Sequence[str]) -> list[Pair]:
    """All pairs of members, in the pool's order: (0, 1), (0, 2), …, (1, 2), …"""
    return list(itertools.combinations(pool, 2))


def voters_of(
    parameters: Parameters, pool: Sequence[str], priors: Mapping[str, float], ipc: int, index: int, seed: int
) -> Pair:
    """The two members that vote on IPC index `index`, for all classes and iterations.

    "published": the two of the highest priors at IPC 1 (the published pair of the dataset with `compat`); the k-th of
    all pairs for index k where IPC is the number of pairs (10 of five members); else one drawn per index. "nested":
    index k takes the k-th of all pairs in a seeded order, a new one after each round, whatever the IPC.
    """
    pairs = pairs_of(pool)
    if parameters.voters == "nested":
        turn, place = divmod(index, len(pairs))
        return pairs[randomness.permutation(len(pairs), seed, "cvdd", "pairs", turn)[place]]
    if ipc == 1:
        if parameters.compat and parameters.compat_pair:
            first, second = parameters.compat_pair
            return first, second
        first, second, *_ = sorted(pool, key=lambda name: -priors[name])
        return first, second
    if ipc == len(pairs):
        return pairs[index]
    return pairs[randomness.integers(len(pairs), 1, seed, "cvdd", "pair", index)[0]]


def synthesise(request: Request) -> SyntheticImages:
    """Optimise images under two voters per IPC index, both at every iteration; iterations 0 gives the beginning.

    Loss: Σ_m w_m (CE_m + r_bn BN_m) with w the softmax of prior / temperature over the two, priors in percent.
    Curves: iteration, ce and bn_loss, weighted by w, means over the shard's batches. Resumes from
    `request.checkpoints` within a batch. Raises InputError where neither voter has batch norm, for a loss that is not
    finite, and for a part of the set unless voters are "nested".
    """
    parameters, classes = request.parameters, len(request.facts.classes)
    if not parameters.per_index and (request.first, request.last) != (0, request.ipc):
        raise InputError("cvdd: voters depend on IPC, so it cannot be computed in parts", "use voters: nested")
    committee, priors = request.committee(), request.priors()

    def objective(batch: Batch) -> AbstractContextManager[Objective]:
        voters = voters_of(parameters, list(committee), priors, request.ipc, batch.key[0], request.seed)
        weights = softmax_weights(priors, voters, parameters.temperature)
        shares = Shares(ce=weights, bn=weights)
        members = {name: committee[name] for name in voters}
        return nullcontext(committee_loss(members, lambda: shares, parameters.r_bn, parameters.first_bn_multiplier))

    return recover(
        request,
        Recovery(
            name="cvdd",
            precision=parameters.precision,
            iterations=parameters.iterations,
            batches=batches_of(request.first, request.last, classes, parameters.batch, "one_per_class"),
            initial=beginning(request, "cvdd", start_of(request)),
            rate=lambda at: learning_rate_at(at, parameters.iterations, parameters.learning_rate),
            view=shared_views(request, "cvdd", lambda at: parameters.crop_scale_min),
            objective=objective,
        ),
    )
