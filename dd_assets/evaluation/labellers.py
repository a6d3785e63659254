"""Whose answers soft labels are: one network or several, with running or with batch statistics.

Belongs here: forward passes of labelling networks and mixing what they answer. Does not belong: which views they see
(views.py), tables of answers (labels.py), loading networks.

Sources: G-VBSM (shaoshitong/G_VBSM_Dataset_Condensation 1ed80b0, relabel/generate_soft_label_with_db.py), EDC
(shaoshitong/EDC 80116a7, the same file), CV-DD (Jiacheng8/CV-DD 24097e9, relabel/relabel.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dd_assets.evaluation.protocol import Labelling
from dd_assets.evaluation.views import ViewSchedule
from dd_assets.models.small_maps import choose_products
from dd_assets.randomness import torch_seed
from dd_assets.shapes import Float

PRIOR_TEMPERATURE = 10.0
"""CV-DD's at relabelling; priors are in percent (at synthesis it is 5)."""


def forward_logits(network: nn.Module, inputs: Tensor, rows: int | Sequence[int], precision: str) -> Tensor:
    """Logits, float32 (B, C), in forwards of `rows` views (or of these numbers of views); any bf16 means autocast."""
    parts = inputs.split(rows if isinstance(rows, int) else list(rows))
    with torch.no_grad(), torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision != "fp32"):
        return torch.cat([network(part) for part in parts]).float()


def micro_batches(views: int, micro: int) -> list[int]:
    """Sizes of the consecutive parts of a batch of `views`: `micro` each, or one part where `micro` is 0 or larger.

    A rest of a single view joins the part before it, since batch norm over one view says nothing about its batch.
    Student and labellers use the same parts.
    """
    if not micro or micro >= views:
        return [views]
    sizes, rest = [micro] * (views // micro), views % micro
    if rest == 1:
        sizes[-1] += 1
    return [*sizes, rest] if rest > 1 else sizes


@contextlib.contextmanager
def batch_statistics(network: nn.Module, dropout: bool = False) -> Iterator[None]:
    """Inside, batch norm normalises by the statistics of what it is given; afterwards the network is as it was.

    Running statistics are taken away rather than updated: in train mode, as in CV-DD's code, they would drift from
    batch to batch, and the answers of a resumed or shared relabelling would depend on where it was cut. Other layers
    stay in evaluation mode unless `dropout`.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    modes = {module: module.training for module in network.modules()}
    network.train(dropout)
    for norm in norms:
        norm.eval()
        norm.running_mean = norm.running_var = None
    try:
        yield
    finally:
        for norm, (mean, variance) in zip(norms, kept, strict=True):
            norm.running_mean, norm.running_var = mean, variance
        for module, mode in modes.items():
            module.training = mode


def mixed(
    answers: Sequence[Tensor],
    sizes: Sequence[int],
    mix: Literal["mean", "frobenius", "priors"],
    weights: Sequence[float] = (),
) -> Tensor:
    """One table of logits (V, C) from those of several networks, all of consecutive batches of `sizes` views.

    mean: plain mean; priors: sum of weight times logits; frobenius: in each batch every network's logits (B, C) are
    rescaled to the networks' mean Frobenius norm before the mean, so that the result depends on the batch.
    """
    if mix == "priors":
        return torch.stack([weight * answer for weight, answer in zip(weights, answers, strict=True)]).sum(dim=0)
    stacked = torch.stack(list(answers))
    if mix == "frobenius":
        stacked = torch.cat([_balanced(part) for part in stacked.split(list(sizes), dim=1)], dim=1)
    return stacked.mean(dim=0)


def _balanced(answers: Float[Tensor, "members b c"]) -> Float[Tensor, "members b c"]:
    norms = torch.linalg.matrix_norm(answers)
    # A network that answers zeros everywhere keeps them.
    return answers * (norms.mean() / norms.clamp_min(torch.finfo(norms.dtype).tiny))[:, None, None]


def prior_weights(priors: Sequence[float]) -> tuple[float, ...]:
    """softmax(prior / 10) over priors in percent; fractions in [0, 1] would make all weights nearly equal."""
    scaled = np.asarray(priors, dtype=np.float64) / PRIOR_TEMPERATURE
    powers = np.exp(scaled - scaled.max())
    return tuple(float(value) for value in powers / powers.sum())


@dataclass(frozen=True, kw_only=True)
class Labeller:
    """The networks that label views, and how; called once per batch or for several batches together."""

    members: tuple[nn.Module, ...]
    """In the order of `labelling.pool`, or the one teacher."""
    labelling: Labelling = field(default_factory=Labelling)
    weights: tuple[float, ...] = ()
    """One per member, for the mix 'priors'."""

    def prepare(self, device: str | torch.device, precision: str) -> Labeller:
        """The members moved to a device (in place), channels last, in evaluation mode and ready for a precision."""
        for member in self.members:
            member.to(device).to(memory_format=torch.channels_last).eval()
            choose_products(member, precision)
        return self

    def __call__(
        self,
        inputs: Tensor,
        schedule: ViewSchedule,
        batch: int | None,
        *,
        rows: int,
        precision: str,
        seed: int,
    ) -> Tensor:
        """Logits, float32 (V, C), of the views of one batch of the schedule (its row), or of all its batches.

        rows: views per forward under running statistics, where it changes nothing but rounding. seed: the views'
        seed, from which dropout draws where it is on.
        """
        chosen = slice(None) if batch is None else slice(batch, batch + 1)
        sizes = schedule.n[chosen].tolist()
        if self.labelling.batch_norm == "running":
            answers = [forward_logits(member, inputs, rows, precision) for member in self.members]
        else:
            drawn = schedule.batch_epoch[chosen].tolist(), schedule.batch_index[chosen].tolist()
            keys = list(zip(*drawn, strict=True))
            parts = inputs.split(sizes)
            answers = [self._by_parts(number, parts, keys, precision, seed) for number in range(len(self.members))]
        return answers[0] if len(answers) == 1 else mixed(answers, sizes, self.labelling.mix, self.weights)

    def _by_parts(
        self, number: int, batches: Sequence[Tensor], keys: Sequence[tuple[int, int]], precision: str, seed: int
    ) -> Tensor:
        """One member's answers under the statistics of each part of each batch."""
        found = []
        member, labelling = self.members[number], self.labelling
        devices = [batches[0].device] if batches[0].is_cuda else []
        with batch_statistics(member, labelling.dropout), torch.random.fork_rng(devices, enabled=labelling.dropout):
            for views, (epoch, batch) in zip(batches, keys, strict=True):
                if labelling.dropout:
                    torch.manual_seed(torch_seed(seed, "label_dropout", number, int(epoch), int(batch)))
                parts = micro_batches(len(views), labelling.micro_batch)
                found.append(forward_logits(member, views, parts, precision))
        return torch.cat(found)


def labeller_of(network: nn.Module | Labeller) -> Labeller:
    """A labeller as it is, or the one that consists of a single network under RD3's protocol."""
    return network if isinstance(network, Labeller) else Labeller(members=(network,))
