"""The two losses of a student training.

Belongs here: loss functions of logits. Does not belong: where the logits come from, optimisers.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from dd_assets.errors import InputError
from dd_assets.shapes import Float, Int


def soft_kl(
    student_logits: Float[Tensor, "b c"], teacher_logits: Float[Tensor, "rows classes"], temperature: float
) -> Float[Tensor, ""]:
    """KL(teacher || student) of the tempered softmaxes, summed over classes, mean over the batch; in float32.

    Both logits are (B, C), before any softmax. There is no T^2 factor (RDED:validation/main.py; also SRe2L, G-VBSM,
    EDC, CV-DD). Traps: with T^2 the value is 400 times larger at T = 20, which moves AdamW out of the regime where
    its eps = 1e-8 counts; `reduction="mean"` would divide by C as well; swapped arguments give KL(student || teacher);
    the gradients are about 1 / (T^2 C B), below fp16's range, so never compute this in half precision.
    Raises InputError if the shapes differ.
    """
    if student_logits.shape != teacher_logits.shape:
        raise InputError(
            f"student logits {tuple(student_logits.shape)}, teacher logits {tuple(teacher_logits.shape)}",
            "teacher and student need the same classes",
        )
    student = F.log_softmax(student_logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def hard_cutmix(
    student_logits: Float[Tensor, "b c"],
    base: Int[Tensor, " b"],
    pasted: Int[Tensor, " b"],
    lam: float,
    form: Literal["mixed", "base_only"],
) -> Float[Tensor, ""]:
    """Cross-entropy of a CutMix batch in float32: lam CE(base) + (1 - lam) CE(pasted), or CE(base) alone.

    student_logits (B, C); base, pasted int64 (B,). Trap: lam is the share of pixels that the base image keeps after
    the box was clipped to the image, not the Beta draw the box was made from (Yun et al. 2019, algorithm 1).
    """
    logits = student_logits.float()
    on_base = F.cross_entropy(logits, base)
    if form == "base_only":
        return on_base
    return lam * on_base + (1 - lam) * F.cross_entropy(logits, pasted)
