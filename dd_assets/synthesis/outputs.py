"""What a teacher makes of 8-bit images: logits and penultimate features.

Belongs here: batched forward passes without gradients. Does not belong: scores and choices made from them
(selection.py, methods/*/synthesis.py) and anything differentiable (recover.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.models.classifier import classifier_of
from dd_assets.models.pixels import images_together, normalised


@torch.no_grad()
def logits_of(teacher: nn.Module, images: np.ndarray, normalisation: Normalisation, device: str) -> Tensor:
    """Logits (N, classes) of uint8 images (N, H, W, C); raises InputError where they are not finite."""
    step = images_together(torch.device(device).type, images.shape[1])
    parts = [
        teacher(normalised(images[start : start + step], normalisation, device))
        for start in range(0, len(images), step)
    ]
    logits = torch.cat(parts)
    if not bool(torch.isfinite(logits).all()):
        raise InputError("the teacher's logits are not finite", "check its weights and the normalisation")
    return logits


def features_of(teacher: nn.Module, images: np.ndarray, normalisation: Normalisation, device: str) -> np.ndarray:
    """Penultimate features, float64 (N, D): the input of `classifier_of`; InputError for a teacher without one."""
    classifier = classifier_of(teacher)
    seen: list[Tensor] = []
    handle = classifier.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].detach()))
    try:
        logits_of(teacher, images, normalisation, device)
    finally:
        handle.remove()
    return torch.cat(seen).flatten(1).double().cpu().numpy()
