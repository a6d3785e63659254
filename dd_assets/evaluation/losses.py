"""The losses of a student training.

Belongs here: loss functions of logits. Does not belong: where the logits come from, optimisers.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from dd_assets.errors import InputError
from dd_assets.shapes import Float, Int


def soft_kl(
    student_logits: Float[Tensor, "b c"],
    teacher_logits: Float[Tensor, "rows classes"],
    temperature: float,
    weights: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """KL(teacher || student) of the tempered softmaxes, summed over classes, mean over the batch; in float32.

    Both logits are (B, C), before any softmax. There is no T^2 factor (RDED:validation/main.py; also SRe2L, G-VBSM,
    EDC, CV-DD). Traps: with T^2 the value is 400 times larger at T = 20, which moves AdamW out of the regime where
    its eps = 1e-8 counts; `reduction="mean"` would divide by C as well; swapped arguments give KL(student || teacher);
    the gradients are about 1 / (T^2 C B), below fp16's range, so never compute this in half precision.
    weights: what each row counts, 1 on average over the training set; the divisor stays B. Raises InputError if the
    shapes differ.
    """
    _same_shape(student_logits, teacher_logits)
    student = F.log_softmax(student_logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    if weights is None:
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (weights * F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)).mean()


def mse_gt(
    student_logits: Float[Tensor, "b c"],
    teacher_logits: Float[Tensor, "rows classes"],
    base: Int[Tensor, " b"],
    gamma: float,
    weights: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """MSE of raw logits, mean over batch and classes, + gamma CE(student, base); in float32, no temperature.

    base int64 (B,) is the label of the image under the pasted box, weights as in `soft_kl` (G_VBSM and EDC,
    train scripts). Trap: the view is a CutMix, its cross-entropy is not: lam CE(base) + (1 - lam) CE(pasted) is the
    loss of hard labels. Raises InputError if the shapes differ.
    """
    _same_shape(student_logits, teacher_logits)
    student, teacher = student_logits.float(), teacher_logits.float()
    if weights is None:
        return F.mse_loss(student, teacher) + gamma * F.cross_entropy(student, base)
    square = (student - teacher).square().mean(dim=1)
    return (weights * (square + gamma * F.cross_entropy(student, base, reduction="none"))).mean()


def _same_shape(student_logits: Tensor, teacher_logits: Tensor) -> None:
    if student_logits.shape != teacher_logits.shape:
        raise InputError(
            f"student logits {tuple(student_logits.shape)}, teacher logits {tuple(teacher_logits.shape)}",
            "teacher and student need the same classes",
        )


def hard_cutmix(
    student_logits: Float[Tensor, "b c"],
    base: Int[Tensor, " b"],
    pasted: Int[Tensor, " b"],
    lam: float,
    form: Literal["mixed", "base_only"],
    weights: tuple[Float[Tensor, " b"], Float[Tensor, " b"]] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of a CutMix batch in float32: lam CE(base) + (1 - lam) CE(pasted), or CE(base) alone.

    student_logits (B, C); base, pasted int64 (B,). Trap: lam is the share of pixels that the base image keeps after
    the box was clipped to the image, not the Beta draw the box was made from (Yun et al. 2019, algorithm 1).
    weights: of the base and of the pasted images; each image's label counts by that image's own.
    """
    logits = student_logits.float()
    on_base = _cross_entropy(logits, base, None if weights is None else weights[0])
    if form == "base_only":
        return on_base
    return lam * on_base + (1 - lam) * _cross_entropy(logits, pasted, None if weights is None else weights[1])


def _cross_entropy(logits: Tensor, truth: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return F.cross_entropy(logits, truth)
    return (weights * F.cross_entropy(logits, truth, reduction="none")).mean()
