"""Densification on eigenvalues known beforehand (reference 16.6).

Belongs here: densification.py. Does not belong: its weight in G-VBSM.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dd_assets.synthesis.densification import densification, groups_of


def _kl(eigenvalues: np.ndarray, tau: float) -> float:
    soft, sharp = np.exp(eigenvalues / tau), np.exp(eigenvalues)
    soft, sharp = soft / soft.sum(), sharp / sharp.sum()
    return float((soft * np.log(soft / sharp)).sum())


def _images(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).view(len(rows), 1, 2, 2)


# Orthogonal rows of squared length 1 and 4: eigenvalues 1 and 4.
ORTHOGONAL = _images([1.0, 0, 0, 0], [0, 2.0, 0, 0])


def test_closed_form_of_two_orthogonal_images() -> None:
    groups = groups_of(np.zeros(2, dtype=np.int64))
    assert float(densification(ORTHOGONAL, groups, 4.0)) == pytest.approx(_kl(np.array([1.0, 4.0]), 4.0), rel=1e-5)
    # Singular values instead of eigenvalues, or the other direction:
    assert abs(_kl(np.array([1.0, 2.0]), 4.0) - _kl(np.array([1.0, 4.0]), 4.0)) > 0.1
    # Equal images lie in one direction, eigenvalues 8 and 0: a larger loss.
    equal = _images([1.0, 1, 1, 1], [1.0, 1, 1, 1])
    assert float(densification(equal, groups, 4.0)) == pytest.approx(_kl(np.array([8.0, 0.0]), 4.0), rel=1e-4)
    assert float(densification(equal, groups, 4.0)) > float(densification(ORTHOGONAL, groups, 4.0))


def test_classes_are_taken_apart_and_single_images_do_not_count() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2])
    assert [group.tolist() for group in groups_of(labels)] == [[[1, 2]], [[3, 4, 5]]]
    assert groups_of(np.arange(5)) == []
    single = densification(ORTHOGONAL, groups_of(np.array([0, 1])), 4.0)
    # One image per class: nothing at all, where a Gram matrix over the batch would give more than 1.
    assert float(single) == 0.0
    twice = torch.cat([ORTHOGONAL, ORTHOGONAL])
    alone = float(densification(ORTHOGONAL, groups_of(np.zeros(2, dtype=np.int64)), 4.0))
    assert float(densification(twice, groups_of(np.array([0, 0, 1, 1])), 4.0)) == pytest.approx(2 * alone)


def test_the_softened_distribution_is_a_constant() -> None:
    images = ORTHOGONAL.clone().requires_grad_()
    densification(images, groups_of(np.zeros(2, dtype=np.int64)), 4.0).backward()
    # d KL / d λ = softmax(λ) - softmax(λ / τ); d λ_k / d image = 2 · its own value here.
    eigenvalues = np.array([1.0, 4.0])
    sharp, soft = (
        np.exp(eigenvalues) / np.exp(eigenvalues).sum(),
        np.exp(eigenvalues / 4) / np.exp(eigenvalues / 4).sum(),
    )
    assert images.grad[0, 0, 0, 0].item() == pytest.approx((sharp - soft)[0] * 2, rel=1e-4)
    assert images.grad[1, 0, 0, 1].item() == pytest.approx((sharp - soft)[1] * 4, rel=1e-4)


def test_large_images_are_averaged_down_to_32() -> None:
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(2, 1, 32, 32, generator=generator) * 0.05
    large = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    groups = groups_of(np.zeros(2, dtype=np.int64))
    torch.testing.assert_close(densification(large, groups, 4.0), densification(small, groups, 4.0))
    # Without it the eigenvalues of the large ones are four times as large.
    assert float(densification(small * 2, groups, 4.0)) != pytest.approx(float(densification(small, groups, 4.0)))
