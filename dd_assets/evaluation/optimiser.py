"""The student's optimiser: AdamW, which parameters decay, and the learning rate of each epoch.

Belongs here: optimiser rules as functions of the protocol. Does not belong: the loop that applies them (students.py).
"""

from __future__ import annotations

import math

import torch
from torch import nn

from dd_assets.evaluation.protocol import Protocol


def learning_rate(protocol: Protocol, epoch: int) -> float:
    """lr/2 (1 + cos(pi epoch / (zeta epochs))), constant within an epoch (RD3 section 4.4)."""
    return protocol.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / (protocol.zeta * protocol.epochs)))


def weight_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """AdamW's parameter groups: decay on parameters named '…weight…' with more than one dimension, none on the rest.

    So batch norm, biases, class tokens and position tables are not decayed (the same rule in RDED, EDC, CV-DD).
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in named if "weight" in name and parameter.ndim > 1]
    rest = [parameter for name, parameter in named if not ("weight" in name and parameter.ndim > 1)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def student_optimiser(model: nn.Module, protocol: Protocol) -> torch.optim.AdamW:
    """AdamW with betas (.9, .999) and eps 1e-8 (RDED:argument.py; RD3 states neither), fused where torch has it."""
    kinds = {parameter.device.type for parameter in model.parameters()}
    return torch.optim.AdamW(
        weight_groups(model, protocol.weight_decay),
        lr=protocol.learning_rate,
        betas=(0.9, 0.999),
        eps=1e-8,
        fused=kinds <= {"cpu", "cuda"},
    )
