"""G-VBSM's data densification: a loss against images of a class that lie in few directions.

Belongs here: the loss and its grouping by class. Does not belong: its weight (recipes), the loop (recover.py).

Source: Shao et al., CVPR 2024, arXiv 2311.17950, section 3.2; shaoshitong/G_VBSM_Dataset_Condensation 8dbdeec,
Branch_full_ImageNet_1k/recover/data_synthesis_with_svd_with_db_with_all_statistic.py.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dd_assets.shapes import Float

SIDE = 32
"""Larger images are averaged down to this side, in pixels."""


def groups_of(labels: np.ndarray) -> list[np.ndarray]:
    """Rows of each class, stacked where classes have equally many: int64 (classes, n) arrays, n at least 2.

    Classes with one image are left out: a single eigenvalue has the same distribution at every temperature.
    """
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    counts = sorted({len(own) for own in rows if len(own) > 1})
    return [np.stack([own for own in rows if len(own) == count]) for count in counts]


def densification(images: Float[Tensor, "n c h w"], groups: list[np.ndarray], tau: float) -> Float[Tensor, ""]:
    """Σ over classes of KL(softmax(λ / τ) ‖ softmax(λ)), λ the eigenvalues of the Gram matrix of a class's images.

    Images are normalised network input, flattened after averaging down to at most 32 px; the softened distribution is a
    constant target, so that eigenvalues are drawn together. A Gram matrix is symmetric, hence eigvalsh.
    """
    if images.shape[-1] > SIDE:
        images = F.adaptive_avg_pool2d(images, SIDE)
    flat, total = images.flatten(1), images.new_zeros(())
    for rows in groups:
        of_class = flat[torch.from_numpy(rows).to(flat.device)]
        # Mixed precision is for networks: a Gram matrix of bf16 products has other eigenvalues.
        with torch.autocast(images.device.type, enabled=False):
            eigenvalues = torch.linalg.eigvalsh(of_class @ of_class.mT)
        softened = F.log_softmax(eigenvalues / tau, dim=-1).detach()
        total = total + F.kl_div(F.log_softmax(eigenvalues, dim=-1), softened, reduction="sum", log_target=True)
    return total
