"""The EL2N coreset.

Belongs here: the error norm and the order. Does not belong: which end to keep (recipe.py), forward passes
(synthesis/outputs.py).

Source: Paul, Ganguli, Dziugaite 2021 (arXiv 2107.07075), definition 2.2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.outputs import logits_of
from dd_assets.synthesis.selection import Choice, select


def error_norms(logits: Tensor, label: int) -> Tensor:
    """‖softmax(logits) - e_label‖₂ of each row, (N, classes) to float64 (N,).

    The label's own part, 1 - p_y, is summed from the other probabilities, since the subtraction would round to 0 for
    every image that the teacher is sure of.
    """
    others = torch.softmax(logits.double(), dim=1)
    others[:, label] = 0
    return torch.sqrt(others.sum(dim=1) ** 2 + (others**2).sum(dim=1))


def synthesise(request: Request) -> SyntheticImages:
    """Real images with the smallest or largest error norm of the class, the extreme one first.

    Columns source_index and score, the norm; ties by training row. Raises InputError where a class has too few images.
    """
    teacher, largest = request.teacher(), request.parameters.keep == "largest"

    def choose(label: int, images: np.ndarray) -> Choice:
        norms = error_norms(logits_of(teacher, images, request.facts.normalisation, request.device), label)
        scores = norms.cpu().numpy()
        order = np.argsort(-scores if largest else scores, kind="stable")
        return order, {"score": scores[order]}

    return select(request, choose)
