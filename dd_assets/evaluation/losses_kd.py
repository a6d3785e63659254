"""Losses of knowledge distillation beyond KL: DKD, NKD, LSKD and CRLD (RD3 Table 18, appendix N).

Belongs here: these as functions of logits. Does not belong: the protocol's own losses (losses.py), which class a mixed
view has (kd_terms.py), strong views (strong_views.py).

Every function returns one value per row, float32 (B,), before weights and the mean over the batch. Each keeps its own
paper's factor T^2, unlike `soft_kl`: RD3 states no hyper-parameter, so the methods' code decides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dd_assets.shapes import Float, Int

STANDARD_EPS = 1e-7
"""Added to a row's standard deviation before dividing by it."""


def kl_rows(
    student_logits: Float[Tensor, "b c"], teacher_logits: Float[Tensor, "b c"], temperature: float
) -> Float[Tensor, " b"]:
    """T^2 KL(teacher || student) of the tempered softmaxes, summed over classes."""
    student = F.log_softmax(student_logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)


def dkd_rows(
    student_logits: Float[Tensor, "b c"],
    teacher_logits: Float[Tensor, "b c"],
    target: Int[Tensor, " b"],
    temperature: float,
    alpha: float,
    beta: float,
) -> Float[Tensor, " b"]:
    """Decoupled distillation: T^2 (alpha TCKD + beta NCKD) (Zhao et al. 2022; mdistiller, distillers/DKD.py).

    TCKD is the KL over (p_y, 1 - p_y), NCKD the KL over the softmax of the other classes. Trap: with NCKD's natural
    weight (the teacher's 1 - p_y) the sum would be plain KL; a constant beta is the method. Log-probabilities come from
    log-sum-exp, so a teacher that is certain of y gives no infinity.
    """
    student, teacher = student_logits.float() / temperature, teacher_logits.float() / temperature
    of_student, of_teacher = _split(student, target), _split(teacher, target)
    binary = F.kl_div(_binary(*of_student), _binary(*of_teacher), reduction="none", log_target=True).sum(dim=1)
    others = F.kl_div(
        F.log_softmax(of_student[1], dim=1), F.log_softmax(of_teacher[1], dim=1), reduction="none", log_target=True
    ).sum(dim=1)
    return temperature**2 * (alpha * binary + beta * others)


def nkd_rows(
    student_logits: Float[Tensor, "b c"],
    teacher_logits: Float[Tensor, "b c"],
    target: Int[Tensor, " b"],
    temperature: float,
    gamma: float,
) -> Float[Tensor, " b"]:
    """Normalised distillation: -p_t(y) log p_s(y) + gamma T^2 H(N_t, N_s) (Yang et al. 2023; cls_KD, losses/nkd.py).

    N is the softmax over the C - 1 other classes at temperature T, H a cross-entropy. Traps: the first term has
    temperature 1 whatever T is; H is not a KL, so the loss of equal logits is not 0 (its gradient is).
    """
    student, teacher = student_logits.float(), teacher_logits.float()
    chosen = target[:, None]
    on_target = -(teacher.softmax(dim=1) * student.log_softmax(dim=1)).gather(1, chosen)[:, 0]
    of_student, of_teacher = _split(student / temperature, target)[1], _split(teacher / temperature, target)[1]
    others = -(of_teacher.softmax(dim=1) * of_student.log_softmax(dim=1)).sum(dim=1)
    return on_target + gamma * temperature**2 * others


def lskd_rows(
    student_logits: Float[Tensor, "b c"], teacher_logits: Float[Tensor, "b c"], temperature: float
) -> Float[Tensor, " b"]:
    """T^2 KL of z-scored logits (Sun et al. 2024; logit-standardization-KD, distillers/KD.py).

    Each row less its mean, over its standard deviation (unbiased, + 1e-7), for both networks. Traps: a student row
    2 z + 5 has the loss of z; a biased deviation would act like a temperature sqrt((C - 1) / C) times as large.
    """
    return kl_rows(_standard(student_logits), _standard(teacher_logits), temperature)


def crld_rows(
    student: tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]],
    teacher: tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]],
    temperature: float,
    within: float,
    cross: float,
    confidence: tuple[float, float],
) -> Float[Tensor, " b"]:
    """Cross-view consistency on (weak, strong) views (Zhang et al. 2024; haiduo/DeepKD, distillers/CRLD.py).

    within [KL(s_w, t_w) + KL(s_s, t_s)] where the teacher is sure of the weak view, + cross [KL(s_s, t_w) +
    KL(s_w, t_s)] where it is sure of the strong one; KL times T^2. Sure: largest softmax at temperature 1 (trap: not at
    T) at or above the threshold. Rows that are masked out count as 0 in the mean, they do not leave it.
    """
    sure = [
        logits.float().softmax(dim=1).amax(dim=1) >= limit for logits, limit in zip(teacher, confidence, strict=True)
    ]
    same = kl_rows(student[0], teacher[0], temperature) + kl_rows(student[1], teacher[1], temperature)
    swapped = kl_rows(student[1], teacher[0], temperature) + kl_rows(student[0], teacher[1], temperature)
    return within * same * sure[0] + cross * swapped * sure[1]


def _split(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The target's logit (B, 1) and those of the other classes (B, C - 1), in their order."""
    mask = F.one_hot(target, logits.shape[1]).bool()
    return logits[mask][:, None], logits[~mask].reshape(len(logits), -1)


def _binary(own: Tensor, others: Tensor) -> Tensor:
    """log (p_y, 1 - p_y), (B, 2)."""
    return F.log_softmax(torch.cat([own, others.logsumexp(dim=1, keepdim=True)], dim=1), dim=1)


def _standard(logits: Tensor) -> Tensor:
    logits = logits.float()
    return (logits - logits.mean(dim=1, keepdim=True)) / (logits.std(dim=1, keepdim=True) + STANDARD_EPS)
