"""The distillation losses of a protocol on one batch: which class a mixed view has, weights, warm-up, cross-entropy.

Belongs here: from a protocol's fields to one number. Does not belong: the formulas (losses_kd.py), the training loop
(students.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from dd_assets.errors import InputError
from dd_assets.evaluation.losses_kd import crld_rows, dkd_rows, lskd_rows, nkd_rows
from dd_assets.evaluation.protocol import Protocol
from dd_assets.shapes import Float


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of a batch of views besides logits."""

    base: Tensor
    """Labels of the images under the pasted boxes, int64 (B,)."""
    pasted: Tensor
    """Labels of the pasted images, int64 (B,)."""
    lam: float
    """Share of pixels that are the base image's."""
    weights: Tensor | None = None
    """What each row counts, float32 (B,), 1 on average over the training set."""


def kd_loss(
    protocol: Protocol,
    student: tuple[Float[Tensor, "b c"], ...],
    teacher: tuple[Float[Tensor, "rows classes"], ...],
    truth: Truth,
    epoch: int,
) -> Float[Tensor, ""]:
    """The protocol's distillation loss plus `kd_ce` times cross-entropy, mean over the batch, in float32.

    student, teacher: logits of the views; for CRLD of the weak and of the strong ones. epoch is zero-based; DKD's
    terms grow linearly over its warm-up, the first epoch counting 1 / dkd_warmup (mdistiller numbers epochs from 1).
    Raises InputError if the networks' classes differ.
    """
    for own, other in zip(student, teacher, strict=True):
        if own.shape != other.shape:
            raise InputError(
                f"student logits {tuple(own.shape)}, teacher logits {tuple(other.shape)}",
                "teacher and student need the same classes",
            )
    rows = _by_class(protocol, student, teacher, truth, epoch)
    return (rows if truth.weights is None else rows * truth.weights).mean()


def _by_class(
    protocol: Protocol, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], truth: Truth, epoch: int
) -> Tensor:
    """Rows under each class a view may have, mixed by its share."""
    if protocol.kd_target == "teacher":
        # The strong view of CRLD shows the same image, of which the teacher is surer on the weak one.
        return _rows(protocol, student, teacher, teacher[0].argmax(dim=1), epoch)
    on_base = _rows(protocol, student, teacher, truth.base, epoch)
    if protocol.kd_target == "base":
        return on_base
    return truth.lam * on_base + (1 - truth.lam) * _rows(protocol, student, teacher, truth.pasted, epoch)


def _rows(
    protocol: Protocol, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], target: Tensor, epoch: int
) -> Tensor:
    temperature = protocol.temperature
    if protocol.loss == "dkd":
        warm = min((epoch + 1) / protocol.dkd_warmup, 1.0)
        rows = warm * dkd_rows(student[0], teacher[0], target, temperature, protocol.dkd_alpha, protocol.dkd_beta)
    elif protocol.loss == "nkd":
        rows = nkd_rows(student[0], teacher[0], target, temperature, protocol.nkd_gamma)
    elif protocol.loss == "lskd":
        rows = protocol.lskd_weight * lskd_rows(student[0], teacher[0], temperature)
    else:
        rows = crld_rows(
            (student[0], student[1]),
            (teacher[0], teacher[1]),
            temperature,
            protocol.crld_within,
            protocol.crld_cross,
            (protocol.crld_weak_confidence, protocol.crld_strong_confidence),
        )
    if protocol.kd_ce:
        entropies = [F.cross_entropy(logits.float(), target, reduction="none") for logits in student]
        rows = rows + protocol.kd_ce * sum(entropies)
    return rows
