"""Losses against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from dd_assets.errors import InputError
from dd_assets.evaluation.losses import hard_cutmix, mse_gt, soft_kl


def test_kl_of_two_classes_in_closed_form_without_t_squared() -> None:
    """Teacher (T ln 3, 0) is (3/4, 1/4) at temperature T, student (0, 0) is (1/2, 1/2), at T = 20.

    KL = 3/4 ln(3/2) + 1/4 ln(1/2) = .1308; with T^2 it would be 52.3, with "mean" .0654, swapped .1438.
    """
    teacher = torch.tensor([[20 * math.log(3), 0.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert soft_kl(torch.zeros(1, 2), teacher, 20.0).item() == pytest.approx(expected, rel=1e-5)


def test_kl_is_a_mean_over_the_batch() -> None:
    """Second row has no divergence, so the batch of two has half the value; "sum" would give all of it."""
    teacher = torch.tensor([[20 * math.log(3), 0.0], [0.0, 0.0]])
    one, two = (soft_kl(torch.zeros(n, 2), teacher[:n], 20.0).item() for n in (1, 2))
    assert two == pytest.approx(one / 2)


def test_kl_gradient_is_student_minus_teacher_over_t_and_batch() -> None:
    """d/ds = (q - p) / (T B); with T^2 it would be 400 times that."""
    student = torch.zeros(2, 2, requires_grad=True)
    teacher = torch.tensor([[20 * math.log(3), 0.0]] * 2)
    soft_kl(student, teacher, 20.0).backward()
    assert torch.allclose(student.grad, torch.tensor([[-0.25, 0.25]] * 2) / (20 * 2), rtol=1e-4)


def test_kl_is_computed_in_float32_for_half_logits() -> None:
    student, teacher = torch.randn(4, 10).bfloat16(), torch.randn(4, 10).half()
    assert soft_kl(student, teacher, 20.0).item() == soft_kl(student.float(), teacher.float(), 20.0).item()


def test_kl_refuses_other_class_counts() -> None:
    with pytest.raises(InputError, match="same classes"):
        soft_kl(torch.zeros(2, 3), torch.zeros(2, 1), 20.0)


def test_hard_cutmix_worked_example() -> None:
    """Logits (ln 3, 0): -ln p is ln(4/3) for class 0 and ln 4 for class 1; base 0, pasted 1, lam 3/4.

    mixed = 3/4 ln(4/3) + 1/4 ln 4 = .5623; swapped weights would give 1.1116; base alone ln(4/3) = .2877.
    """
    logits = torch.tensor([[math.log(3), 0.0]])
    base, pasted = torch.tensor([0]), torch.tensor([1])
    mixed = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert hard_cutmix(logits, base, pasted, 0.75, "mixed").item() == pytest.approx(mixed, rel=1e-6)
    assert hard_cutmix(logits, base, pasted, 0.75, "base_only").item() == pytest.approx(math.log(4 / 3), rel=1e-6)
    assert hard_cutmix(logits, base, pasted, 1.0, "mixed").item() == pytest.approx(math.log(4 / 3), rel=1e-6)


def test_mse_gt_worked_example() -> None:
    """Student (ln 3, 0), teacher (ln 3, 2): MSE 4 / 2 = 2; CE with base class 0 is ln(4/3) = .2877, gamma .1.

    A cross-entropy mixed by lam = 3/4, as for hard labels, would add .0562 instead of .0288; "sum" would start from 4;
    temperature 20 would divide by 400.
    """
    student, teacher = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[math.log(3), 2.0]])
    loss = mse_gt(student, teacher, torch.tensor([0]), 0.1)
    assert loss.item() == pytest.approx(2 + 0.1 * math.log(4 / 3), rel=1e-6)
    with pytest.raises(InputError, match="same classes"):
        mse_gt(student, torch.zeros(1, 3), torch.tensor([0]), 0.1)


def test_weights_multiply_each_rows_loss_and_divide_by_the_batch() -> None:
    """Rows with losses .1308 and 0, weights 3/2 and 1/2: 3/4 of the first; dividing by the weights' sum is the same
    here, but not for a batch of the first row alone, which must count 3/2."""
    teacher, student = torch.tensor([[20 * math.log(3), 0.0], [0.0, 0.0]]), torch.zeros(2, 2)
    one = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    weights = torch.tensor([1.5, 0.5])
    assert soft_kl(student, teacher, 20.0, weights).item() == pytest.approx(0.75 * one, rel=1e-5)
    assert soft_kl(student[:1], teacher[:1], 20.0, weights[:1]).item() == pytest.approx(1.5 * one, rel=1e-5)
    assert soft_kl(student, teacher, 20.0, torch.ones(2)).item() == pytest.approx(
        soft_kl(student, teacher, 20.0).item()
    )


def test_weights_of_mse_and_of_mixed_hard_labels() -> None:
    """Each label counts by its own image's weight: base 3/2, pasted 1/2."""
    logits = torch.tensor([[math.log(3), 0.0]])
    base, pasted, own, other = torch.tensor([0]), torch.tensor([1]), torch.tensor([1.5]), torch.tensor([0.5])
    hard = hard_cutmix(logits, base, pasted, 0.75, "mixed", (own, other))
    assert hard.item() == pytest.approx(0.75 * 1.5 * math.log(4 / 3) + 0.25 * 0.5 * math.log(4), rel=1e-6)
    alone = hard_cutmix(logits, base, pasted, 0.75, "base_only", (own, other))
    assert alone.item() == pytest.approx(1.5 * math.log(4 / 3), rel=1e-6)
    soft = mse_gt(logits, logits + 1, base, 0.1, own)
    assert soft.item() == pytest.approx(1.5 * (1 + 0.1 * math.log(4 / 3)), rel=1e-6)


def test_mse_gt_gradient_in_closed_form() -> None:
    """2 (s - t) / (B C) + gamma (softmax(s) - base) / B: gamma alone scales the second part, no temperature either."""
    random = torch.Generator().manual_seed(0)
    student = torch.randn(3, 4, generator=random, requires_grad=True)
    teacher, base = torch.randn(3, 4, generator=random), torch.tensor([2, 0, 3])
    mse_gt(student, teacher, base, 0.25).backward()
    with torch.no_grad():
        onehot = torch.eye(4)[base]
        expected = 2 * (student - teacher) / 12 + 0.25 * (torch.exp(student.log_softmax(dim=1)) - onehot) / 3
    assert student.grad is not None
    assert torch.allclose(student.grad, expected, atol=1e-7)


@pytest.mark.parametrize(("form", "share"), [("mixed", 0.7), ("base_only", 1.0)])
def test_hard_cutmix_gradient_in_closed_form(form: str, share: float) -> None:
    """(softmax(s) - lam base - (1 - lam) pasted) / B; base_only does as if nothing had been pasted."""
    random = torch.Generator().manual_seed(1)
    student = torch.randn(3, 4, generator=random, requires_grad=True)
    base, pasted = torch.tensor([2, 0, 3]), torch.tensor([1, 0, 2])
    hard_cutmix(student, base, pasted, 0.7, form).backward()  # type: ignore[arg-type]
    with torch.no_grad():
        mixture = share * torch.eye(4)[base] + (1 - share) * torch.eye(4)[pasted]
        expected = (student.exp() / student.exp().sum(dim=1, keepdim=True) - mixture) / 3
    assert student.grad is not None
    assert torch.allclose(student.grad, expected, atol=1e-7)
