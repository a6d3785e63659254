"""DKD, NKD, LSKD and CRLD against formulas written out in NumPy, and their gradients against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dd_assets.errors import InputError
from dd_assets.evaluation.kd_terms import Truth, kd_loss
from dd_assets.evaluation.losses import soft_kl
from dd_assets.evaluation.losses_kd import crld_rows, dkd_rows, kl_rows, lskd_rows, nkd_rows
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS

RNG = np.random.default_rng(5)
STUDENT, TEACHER = RNG.normal(0, 2, (6, 4)), RNG.normal(0, 2, (6, 4))
TARGET = np.array([0, 1, 2, 3, 0, 2])


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor(STUDENT).float(), torch.tensor(TEACHER).float(), torch.tensor(TARGET)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum()


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))


def protocol(**changes: object) -> Protocol:
    return Protocol(views=VIEW_PRESETS["rd3"], **{"temperature": 3.0, **changes})  # type: ignore[arg-type]


def test_dkd_is_its_two_divergences_written_out() -> None:
    """T = 3, alpha 1, beta 8. Without T^2 a ninth; with the target left among the others NCKD is another number."""
    expected = []
    for s, t, y in zip(STUDENT / 3, TEACHER / 3, TARGET, strict=True):
        p_s, p_t = softmax(s)[y], softmax(t)[y]
        binary = kl(np.array([p_t, 1 - p_t]), np.array([p_s, 1 - p_s]))
        rest = [c for c in range(4) if c != y]
        expected.append(9 * (binary + 8 * kl(softmax(t[rest]), softmax(s[rest]))))
    student, teacher, target = tensors()
    assert np.allclose(dkd_rows(student, teacher, target, 3.0, 1.0, 8.0), expected, rtol=1e-4)


def test_dkd_with_the_natural_weight_of_the_others_is_plain_kl() -> None:
    """KL = TCKD + (1 - p_t(y)) NCKD (Zhao et al. 2022, equation 4), for each row with its own weight."""
    student, teacher, target = tensors()
    binary = dkd_rows(student, teacher, target, 2.0, 1.0, 0.0)
    others = dkd_rows(student, teacher, target, 2.0, 0.0, 1.0)
    rest = 1 - (teacher / 2).softmax(dim=1).gather(1, target[:, None])[:, 0]
    assert torch.allclose(binary + rest * others, kl_rows(student, teacher, 2.0), rtol=1e-4)


def test_dkd_of_a_certain_teacher_is_finite_and_its_others_have_no_gradient_on_the_target() -> None:
    """p_t(y) rounds to 1 in float32: log(1 - p_t) would be -inf and 0 times it NaN."""
    student = torch.zeros(1, 3, requires_grad=True)
    teacher, target = torch.tensor([[200.0, 0.0, 1.0]]), torch.tensor([0])
    loss = dkd_rows(student, teacher, target, 1.0, 1.0, 0.5).sum()
    assert torch.isfinite(loss)
    loss.backward()
    assert torch.isfinite(student.grad).all()
    alone = torch.zeros(1, 3, requires_grad=True)
    dkd_rows(alone, teacher, target, 1.0, 0.0, 1.0).sum().backward()
    # d NCKD / ds = q - p over the two others: q = 1/2, p = sigmoid(-1), sigmoid(1); nothing on the target.
    sigmoid = 1 / (1 + math.exp(-1))
    assert torch.allclose(alone.grad, torch.tensor([[0.0, 0.5 - (1 - sigmoid), 0.5 - sigmoid]]), atol=1e-6)


def test_nkd_is_its_two_cross_entropies_written_out() -> None:
    """T = 3 in the second term alone; at T in both the first would be -p_t(y; 3) log p_s(y; 3)."""
    expected = []
    for s, t, y in zip(STUDENT, TEACHER, TARGET, strict=True):
        rest = [c for c in range(4) if c != y]
        others = -sum(softmax(t[rest] / 3) * np.log(softmax(s[rest] / 3)))
        expected.append(-softmax(t)[y] * math.log(softmax(s)[y]) + 1.5 * 9 * others)
    student, teacher, target = tensors()
    assert np.allclose(nkd_rows(student, teacher, target, 3.0, 1.5), expected, rtol=1e-4)


def test_nkd_gradient_in_closed_form() -> None:
    """Student zeros, three classes, y = 0, T = 2, gamma 1: first term p_t(y) (q - e_y) with q = 1/3, second
    T (1/2 - N_t) on the others (T^2 / T); with one factor T fewer half of it."""
    student = torch.zeros(1, 3, requires_grad=True)
    teacher, target = torch.tensor([[math.log(2), 0.0, 2 * math.log(3)]]), torch.tensor([0])
    nkd_rows(student, teacher, target, 2.0, 1.0).sum().backward()
    p = 2 / (2 + 1 + 9)
    expected = p * np.array([1 / 3 - 1, 1 / 3, 1 / 3]) + 2 * np.array([0, 0.5 - 0.25, 0.5 - 0.75])
    assert np.allclose(student.grad.numpy()[0], expected, atol=1e-5)


def test_lskd_is_kl_of_z_scores_with_the_unbiased_deviation() -> None:
    """std over C - 1; the biased one would give other values by sqrt(4 / 3) in the logits."""
    expected = []
    for s, t in zip(STUDENT, TEACHER, strict=True):
        z_s, z_t = ((row - row.mean()) / (row.std(ddof=1) + 1e-7) / 3 for row in (s, t))
        expected.append(9 * kl(softmax(z_t), softmax(z_s)))
    student, teacher, _ = tensors()
    assert np.allclose(lskd_rows(student, teacher, 3.0), expected, rtol=1e-4)


def test_lskd_ignores_scale_and_shift_so_its_gradient_is_orthogonal_to_both() -> None:
    student, teacher, _ = tensors()
    assert torch.allclose(lskd_rows(2 * student + 5, teacher, 2.0), lskd_rows(student, teacher, 2.0), rtol=1e-3)
    free = student.clone().requires_grad_()
    lskd_rows(free, teacher, 2.0).sum().backward()
    assert free.grad.abs().max() > 1e-2
    assert torch.allclose(free.grad.sum(dim=1), torch.zeros(6), atol=1e-5)
    assert torch.allclose((free.grad * student).sum(dim=1), torch.zeros(6), atol=1e-4)


def test_crld_masks_by_the_teachers_confidence_at_temperature_one() -> None:
    """Two rows; the teacher is sure of the first weak view (.982 >= .9) and not of the second (.5); of both strong
    views (>= .2). At T = 4 the first would have .73 and be masked out too."""
    t_weak, t_strong = torch.tensor([[4.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    s_weak, s_strong = torch.tensor([[0.5, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    found = crld_rows((s_weak, s_strong), (t_weak, t_strong), 4.0, 2.0, 0.5, (0.9, 0.2))

    def divergence(row: int, student: torch.Tensor, teacher: torch.Tensor) -> float:
        return 16 * kl(softmax(teacher[row].numpy() / 4.0), softmax(student[row].numpy() / 4.0))

    cross = [0.5 * (divergence(row, s_strong, t_weak) + divergence(row, s_weak, t_strong)) for row in (0, 1)]
    within = 2.0 * (divergence(0, s_weak, t_weak) + divergence(0, s_strong, t_strong))
    assert np.allclose(found, [within + cross[0], cross[1]], rtol=1e-4)
    # At .8 the teacher is sure of the second strong view (.88) and not of the first (.73).
    surer = crld_rows((s_weak, s_strong), (t_weak, t_strong), 4.0, 2.0, 0.5, (0.9, 0.8))
    assert np.allclose(surer, [within, cross[1]], rtol=1e-4)


def test_a_masked_row_has_no_gradient_but_counts_in_the_mean() -> None:
    weak = torch.zeros(2, 2, requires_grad=True)
    teacher = torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    stated = protocol(loss="crld", label_storage="online", crld_cross=0.0, temperature=1.0)
    truth = Truth(base=torch.tensor([0, 1]), pasted=torch.tensor([1, 0]), lam=0.5)
    kd_loss(stated, (weak, torch.zeros(2, 2)), (teacher, teacher), truth, 0).backward()
    q = 1 / (1 + math.exp(-4))
    # within 2, (q_s - p_t) of the first row, over the batch of 2; dividing by the one row left would double it.
    assert torch.allclose(weak.grad, torch.tensor([[0.5 - q, q - 0.5], [0.0, 0.0]]), atol=1e-5)


@pytest.mark.parametrize(("loss", "target"), [("dkd", "base"), ("nkd", "base"), ("dkd", "teacher"), ("nkd", "teacher")])
def test_the_class_of_a_mixed_view_is_a_field(loss: str, target: str) -> None:
    student, teacher, _ = tensors()
    base, pasted = torch.tensor([0, 1, 2, 3, 0, 2]), torch.tensor([1, 2, 3, 0, 1, 3])
    truth = Truth(base=base, pasted=pasted, lam=0.75)
    found = kd_loss(protocol(loss=loss, kd_target=target), (student,), (teacher,), truth, 0)
    chosen = base if target == "base" else torch.tensor(TEACHER.argmax(axis=1))
    rows = (
        dkd_rows(student, teacher, chosen, 3.0, 1.0, 0.5)
        if loss == "dkd"
        else nkd_rows(student, teacher, chosen, 3.0, 1.5)
    )
    assert found.item() == pytest.approx(rows.mean().item(), rel=1e-5)
    mixed = kd_loss(protocol(loss=loss, kd_target="mixed"), (student,), (teacher,), truth, 0)
    sides = [
        kd_loss(protocol(loss=loss, kd_target="base"), (student,), (teacher,), side, 0).item()
        for side in (truth, Truth(base=pasted, pasted=base, lam=0.75))
    ]
    assert mixed.item() == pytest.approx(0.75 * sides[0] + 0.25 * sides[1], rel=1e-5)


def test_cross_entropy_and_weights_are_added_row_by_row() -> None:
    """LSKD with weight 0 leaves kd_ce times CE of the base class; weights 2 and 0 keep the first row alone."""
    logits, teacher = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    truth = Truth(base=torch.tensor([0, 0]), pasted=torch.tensor([1, 1]), lam=0.5, weights=torch.tensor([2.0, 0.0]))
    stated = protocol(loss="lskd", lskd_weight=0.0, kd_ce=0.1, kd_target="base")
    assert kd_loss(stated, (logits,), (teacher,), truth, 0).item() == pytest.approx(0.1 * math.log(4 / 3), rel=1e-5)


def test_dkd_warms_up_from_the_first_epoch_and_leaves_cross_entropy_alone() -> None:
    student, teacher, target = tensors()
    truth = Truth(base=target, pasted=target, lam=1.0)
    full = dkd_rows(student, teacher, target, 3.0, 1.0, 0.5).mean().item()
    for epoch, share in ((0, 0.05), (9, 0.5), (19, 1.0), (300, 1.0)):
        found = kd_loss(protocol(loss="dkd", dkd_warmup=20, kd_target="base"), (student,), (teacher,), truth, epoch)
        assert found.item() == pytest.approx(share * full, rel=1e-5)


def test_rows_of_kl_are_t_squared_times_the_protocols_kl() -> None:
    student, teacher, _ = tensors()
    assert kl_rows(student, teacher, 20.0).mean().item() == pytest.approx(
        400 * soft_kl(student, teacher, 20.0).item(), rel=1e-4
    )


@pytest.mark.parametrize("loss", ["dkd", "nkd", "lskd", "crld"])
def test_logits_in_bfloat16_are_compared_in_float32(loss: str) -> None:
    student, teacher, target = tensors()
    rows = {
        "dkd": lambda s, t: dkd_rows(s, t, target, 3.0, 1.0, 8.0),
        "nkd": lambda s, t: nkd_rows(s, t, target, 3.0, 1.5),
        "lskd": lambda s, t: lskd_rows(s, t, 3.0),
        "crld": lambda s, t: crld_rows((s, s), (t, t.flip(1)), 3.0, 2.0, 0.5, (0.6, 0.6)),
    }[loss]
    half = student.bfloat16(), teacher.bfloat16()
    assert torch.equal(rows(*half), rows(half[0].float(), half[1].float()))


def test_other_class_counts_are_refused() -> None:
    truth = Truth(base=torch.tensor([0]), pasted=torch.tensor([0]), lam=1.0)
    with pytest.raises(InputError, match="same classes"):
        kd_loss(protocol(loss="nkd"), (torch.zeros(1, 3),), (torch.zeros(1, 2),), truth, 0)


def test_fields_that_would_change_nothing_and_stored_labels_of_strong_views_are_refused() -> None:
    with pytest.raises(InputError, match=r"dkd_beta=8\.0 would change nothing"):
        protocol(dkd_beta=8.0)
    with pytest.raises(InputError, match="strong views have no stored labels"):
        protocol(loss="crld")
    with pytest.raises(InputError, match="dkd_warmup=0"):
        protocol(loss="dkd", dkd_warmup=0)
