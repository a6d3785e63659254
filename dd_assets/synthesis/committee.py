"""Losses of several teachers: cross-entropies of some, BN distances of some, each with its share.

Belongs here: the weighted sum, running each network once, counting forward passes, softmax weights. Does not belong:
which members take part and when (methods/*/synthesis.py), one network's BN distance (bn_statistics.py), the
optimisation loop (recover.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets.errors import InputError
from dd_assets.synthesis.bn_statistics import BatchNormMatcher
from dd_assets.synthesis.recover import Batch, Moment, Objective


@dataclass(frozen=True, kw_only=True)
class Shares:
    """By member, the weight of its cross-entropy and of its BN distance; a member in neither is not run."""

    ce: Mapping[str, float]
    bn: Mapping[str, float]
    """A member without batch norm may have a share, and then contributes 0."""


def softmax_weights(scores: Mapping[str, float], members: Sequence[str], temperature: float) -> dict[str, float]:
    """exp(score_m / temperature) over its sum among `members` alone; scores in percent for CV-DD's temperatures."""
    highest = max(scores[name] for name in members)
    odds = {name: math.exp((scores[name] - highest) / temperature) for name in members}
    return {name: value / sum(odds.values()) for name, value in odds.items()}


def has_batch_norm(network: nn.Module) -> bool:
    """Whether any layer of the network is a BatchNorm2d."""
    return any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def networks_run(members: Mapping[str, nn.Module], shares: Shares) -> list[str]:
    """The members that one evaluation of the loss runs, each once, in the committee's order.

    A network is run for its cross-entropy or for BN statistics it has; an AlexNet that only counts in a mean is not.
    """
    return [
        name
        for name, network in members.items()
        if name in shares.ce or (name in shares.bn and has_batch_norm(network))
    ]


def committee_loss(
    members: Mapping[str, nn.Module], shares: Callable[[], Shares], r_bn: float, first_multiplier: float
) -> Objective:
    """Σ_m shares.ce[m] · CE_m + r_bn · Σ_m shares.bn[m] · BN_m, where BN_m is SRe2L's distance of member m.

    `shares` is asked at every evaluation. A member in both sums is run once. Figures ce and bn_loss are the two sums,
    the latter without r_bn. Raises InputError where no member has batch norm.
    """
    matchers = {
        name: BatchNormMatcher(network, first_multiplier)
        for name, network in members.items()
        if has_batch_norm(network)
    }
    if not matchers:
        raise InputError(f"none of {', '.join(members)} has batch norm layers", "put a network with batch norm first")

    def objective(images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        now, ce, bn = shares(), images.new_zeros(()), images.new_zeros(())
        for name in networks_run(members, now):
            matcher = matchers[name] if name in now.bn and name in matchers else None
            with matcher or nullcontext():
                logits = members[name](images)
                if matcher:
                    bn = bn + now.bn[name] * matcher.loss()
            if name in now.ce:
                ce = ce + now.ce[name] * F.cross_entropy(logits, labels)
        return ce + r_bn * bn, {"ce": ce, "bn_loss": bn}

    return objective


class Clock:
    """A `Memory` of the loop that keeps nothing: which IPC index and iteration the coming loss is about."""

    def __init__(self) -> None:
        self.index = self.iteration = -1

    def start(self, batch: Batch, images: Tensor) -> None:
        """Nothing begins."""

    def see(self, moment: Moment) -> None:
        """Note the IPC index of the batch's first image, and the iteration."""
        self.index, self.iteration = moment.batch.key[0], moment.at

    def pack(self) -> dict[str, np.ndarray]:
        """Nothing: every iteration says where it stands."""
        return {}

    def unpack(self, saved: Mapping[str, np.ndarray], batch: Batch) -> None:
        """Nothing to go on from."""
