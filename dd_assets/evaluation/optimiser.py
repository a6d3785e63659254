"""The student's optimiser: which parameters decay, the learning rate of each epoch, the moving average.

Belongs here: optimiser rules as functions of the protocol. Does not belong: the loop that applies them (students.py).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dd_assets.evaluation.protocol import Protocol

MOMENTS = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}
"""What each optimiser keeps per parameter, by torch's names."""
LAST_PART = 5 / 6
"""Share of the epochs after which EDC's schedule becomes linear."""


def learning_rate(protocol: Protocol, epoch: int) -> float:
    """lr/2 (1 + cos(pi epoch / (zeta epochs))), constant within an epoch (RD3 section 4.4), or another schedule's.

    cos2 takes the cosine's value v at 5/6 of the epochs and goes on with v (1 - epoch / epochs), which is a sixth of v
    at first (EDC, "SSRS"); multistep multiplies by `decay` from each milestone on.
    """
    if protocol.schedule == "multistep":
        places = [share * protocol.epochs for share in protocol.milestones]
        if protocol.milestone_rule == "down":
            # A share is seldom exact: .55 of 100 is 55.000000000000007.
            places = [math.floor(place + 1e-9) for place in places]
        passed = sum(epoch >= place for place in places)
        return protocol.learning_rate * protocol.decay**passed
    turn = LAST_PART * protocol.epochs
    if protocol.schedule == "cos2" and epoch > turn:
        return _cosine(protocol, turn) * (1 - epoch / protocol.epochs)
    return _cosine(protocol, epoch)


def _cosine(protocol: Protocol, epoch: float) -> float:
    return protocol.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / (protocol.zeta * protocol.epochs)))


def weight_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """AdamW's parameter groups: decay on parameters named '…weight…' with more than one dimension, none on the rest.

    So batch norm, biases, class tokens and position tables are not decayed (the same rule in RDED, EDC, CV-DD).
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in named if "weight" in name and parameter.ndim > 1]
    rest = [parameter for name, parameter in named if not ("weight" in name and parameter.ndim > 1)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def student_optimiser(model: nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    """AdamW with betas (.9, .999) and eps 1e-8 (RDED:argument.py; RD3 states neither), fused where torch has it.

    SGD decays every parameter, as Minimax's and DC-BENCH's scripts do.
    """
    kinds = {parameter.device.type for parameter in model.parameters()}
    if protocol.optimiser == "sgd":
        return torch.optim.SGD(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=protocol.learning_rate,
            momentum=protocol.momentum,
            weight_decay=protocol.weight_decay,
        )
    return torch.optim.AdamW(
        weight_groups(model, protocol.weight_decay),
        lr=protocol.learning_rate,
        betas=(0.9, 0.999),
        eps=1e-8,
        fused=kinds <= {"cpu", "cuda"},
    )


def moments(protocol: Protocol) -> tuple[str, ...]:
    """What the optimiser keeps per parameter; SGD without momentum keeps nothing."""
    return () if protocol.optimiser == "sgd" and protocol.momentum == 0 else MOMENTS[protocol.optimiser]


def prepare_moments(optimiser: torch.optim.Optimizer, protocol: Protocol, device: torch.device) -> None:
    """Give every parameter empty moments, in its own memory format, for a checkpoint to fill."""
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            state = {name: torch.zeros_like(parameter) for name in moments(protocol)}
            if protocol.optimiser == "adamw":
                state["step"] = torch.zeros((), dtype=torch.float32, device=device)
            optimiser.state[parameter] = state


class Average:
    """The moving average of a network's parameters; with decay 0 it is the network itself and costs nothing.

    Batch norm's buffers are not averaged: EDC swaps parameters alone (EDC:train_FKD_parallel.py).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._live = dict(model.named_parameters()) if decay else {}
        self.tensors = {name: parameter.detach().clone() for name, parameter in self._live.items()}

    def update(self) -> None:
        """After an optimiser step: average = decay average + (1 - decay) parameter."""
        with torch.no_grad():
            for name, parameter in self._live.items():
                self.tensors[name].lerp_(parameter, 1 - self._decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network has the averaged parameters."""
        kept: dict[str, Tensor] = {name: parameter.detach().clone() for name, parameter in self._live.items()}
        self._put(self.tensors)
        try:
            yield
        finally:
            self._put(kept)

    def _put(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._live.items():
                parameter.copy_(tensors[name])
