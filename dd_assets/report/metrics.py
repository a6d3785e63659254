"""Figures made of accuracies: DD-Ranking's scores, gaps, and the distance from a published value.

Belongs here: arithmetic on accuracies as fractions. Does not belong: where they come from (leaderboard.py), noise
(statistics.py), seconds and bytes (efficiency.py).

DD-Ranking: Li et al., "DD-Ranking: Rethinking the Evaluation of Dataset Distillation" (2025), and
NUS-HPC-AI-Lab/DD-Ranking, ddranking/metrics/. Its code hands accuracies in percent to a formula made for fractions, so
that its scores leave [0, 1] by orders of magnitude; here percents are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from dd_assets.errors import InputError

WEIGHT = 0.5
"""DD-Ranking's w and γ."""


def improvement_over_random(synthetic: float, random: float) -> float:
    """IOR in [-1, 1]: the accuracy with synthetic images less that with as many random ones under the same recipe."""
    return _fraction(synthetic) - _fraction(random)


def hard_label_recovery(real: float, synthetic: float) -> float:
    """HLR in [-1, 1]: what hard labels on the synthetic images lack to the whole training split; less is better."""
    return _fraction(real) - _fraction(synthetic)


def label_robust_score(improvement: float, recovery: float, weight: float = WEIGHT) -> float:
    """LRS in [0, 1] of an IOR and an HLR: (e^α - e^-1) / (e - e^-1) with α = w IOR - (1 - w) HLR.

    As good as the real data and no better than random gives .27 at w = .5, and so does anything with α = 0.
    """
    return _scaled(weight * _difference(improvement) - (1 - weight) * _difference(recovery))


def augmentation_robust_score(augmented: float, plain: float, weight: float = WEIGHT) -> float:
    """ARS in [0, 1] of the IOR with and the IOR without augmentation, scaled as LRS is."""
    return _scaled(weight * _difference(augmented) + (1 - weight) * _difference(plain))


def cross_architecture_gap(accuracies: Mapping[str, float], own: str) -> float | None:
    """Accuracy of the architecture that guided the synthesis, less the mean of the others; None without either.

    accuracies: student to accuracy, of one image set under one protocol. Large means that the images suit one network.
    """
    others = [_fraction(value) for name, value in accuracies.items() if name != own]
    if own not in accuracies or not others:
        return None
    return _fraction(accuracies[own]) - sum(others) / len(others)


def published_z(ours: float, ours_std: float | None, paper: float, paper_std: float | None) -> float | None:
    """z = Δ / √(s²_paper + s²_ours) of two accuracies and their standard deviations over runs; None without both.

    The deviations are those of single runs, so |z| < 2 says that ours could be one of the paper's runs; it is no test
    of the means, for which the paper would have to say how many runs it has.
    """
    if ours_std is None or paper_std is None:
        return None
    spread = math.hypot(ours_std, paper_std)
    return (_fraction(ours) - _fraction(paper)) / spread if spread else None


def _scaled(alpha: float) -> float:
    return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))


def _fraction(value: float) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"an accuracy of {value:g}", "give fractions in [0, 1], not percent")
    return value


def _difference(value: float) -> float:
    if not -1 <= value <= 1:
        raise InputError(f"a difference of accuracies of {value:g}", "give fractions in [-1, 1], not percent")
    return value
