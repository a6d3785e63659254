"""The evaluation protocol as one typed object.

Belongs here: every knob of student training and label views, with where its value comes from; light, no torch.
Does not belong: the computation (views.py, labels.py, students.py).

Source: RD3 paper, Tables 8 and 9, sections 3.2 and 4.4; where the paper is silent, the RDED lineage it builds on
(LINs-lab/RDED 3f6453d, validation/main.py and argument.py). `docs/protocol.md` lists every unstated knob.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

LabelMode = Literal["soft", "hard"]


@dataclass(frozen=True, kw_only=True)
class Views:
    """How a training image becomes a view, in this order: patch shuffle, crop, flip, CutMix, normalise."""

    preset: str
    shuffle_factor: int
    """Strips per axis (factor 2: 4 arrangements, RDED:validation/utils.py); 1 is the identity."""
    crop_scale_min: float
    """Lower bound of the crop's area; the upper bound is 1. Scale (1, 1) is exactly the identity."""
    hflip: float
    """Probability of a mirror image."""
    cutmix_alpha: float = 1.0
    """Beta parameter, applied to every batch; 0 turns CutMix off."""


VIEW_PRESETS = {
    # RD3 section 4.4 read literally: crop from .5 and patch shuffle for every dataset.
    "rd3": Views(preset="rd3", shuffle_factor=2, crop_scale_min=0.5, hflip=0.5),
    # RDED's scripts: factor 1 for CIFAR and Tiny-ImageNet, that is flip and CutMix only.
    "rded_factor": Views(preset="rded_factor", shuffle_factor=1, crop_scale_min=1.0, hflip=0.5),
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One student training, completely specified but for images, labels, architecture and seed."""

    name: str = "rd3"
    label: LabelMode = "soft"
    label_storage: Literal["stored", "online"] = "stored"
    """stored: logits are replayed from a table; online: the teacher runs on each regenerated view."""
    views: Views
    epochs: int = 400
    batch: int = 50
    """50 if student and teacher share the architecture, else 100 (RD3 Tables 8, 9); |S| if that is smaller."""
    zeta: float = 1.0
    """Cosine smoothing: lr(i) = lr/2 (1 + cos(pi i / (zeta N))), stepped per epoch; 1 with batch 50, 2 with 100."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    """On weights with more than one dimension only (not stated in RD3; RDED, EDC and CV-DD agree)."""
    temperature: float = 20.0
    """KL batchmean without the T^2 factor (not stated for the main table; Figure 8 implies 20)."""
    hard_form: Literal["mixed", "base_only"] = "mixed"
    """Hard labels under CutMix: lam CE(base) + (1 - lam) CE(pasted), or CE(base) alone."""
    precision: Literal["fp32", "bf16"] = "fp32"
    window: float = 0.2
    """Best-in-window looks at every `window_step`-th epoch of the last fifth, as RDED does; last is the headline."""
    window_step: int = 10

    def for_student(self, same_architecture: bool, images: int) -> Protocol:
        """The protocol with RD3's batch and smoothing for a student, given the number of images |S|."""
        batch, zeta = (50, 1.0) if same_architecture else (100, 2.0)
        return replace(self, batch=min(batch, images), zeta=zeta)

    def evaluated_epochs(self) -> list[int]:
        """Zero-based epochs after which the test accuracy is measured; the last one always is."""
        start = self.epochs * (1 - self.window)
        chosen = [e for e in range(self.epochs) if e >= start and e % self.window_step == self.window_step - 1]
        return sorted({*chosen, self.epochs - 1})
