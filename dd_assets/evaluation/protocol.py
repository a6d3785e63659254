"""The evaluation protocol as one typed object.

Belongs here: every knob of student training and label views, with where its value comes from; light, no torch.
Does not belong: the computation (views.py, labels.py, students.py).

Source: RD3 paper, Tables 8 and 9, sections 3.2 and 4.4; where the paper is silent, the RDED lineage it builds on
(LINs-lab/RDED 3f6453d, validation/main.py and argument.py). `docs/protocol.md` lists every unstated knob.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dd_assets.errors import InputError, UnknownNameError
from dd_assets.later import later

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
class Labelling:
    """Whose answers the soft labels are and how they are found; the default is RD3's: one teacher, as it evaluates."""

    pool: tuple[str, ...] = later(())
    """Committee members in the order in which they are added up; () stands for the setting's one teacher."""
    mix: Literal["mean", "frobenius", "priors"] = later("mean")
    batch_norm: Literal["running", "batch"] = later("running")
    micro_batch: int = later(0)
    dropout: bool = later(False)


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
    labeller: Literal["teacher", "committee"] = later("teacher")
    """Who gives soft labels: RD3's main table has one teacher, its hybrid labels (appendix I) come from several."""
    label_pool: tuple[str, ...] = later(())
    """Committee members that label, by name; () stands for all of the setting's."""
    label_mix: Literal["mean", "frobenius", "priors"] = later("mean")
    """mean of raw logits (EDC, RD3's hybrid labels); frobenius: each member's logits of a batch rescaled to the mean
    Frobenius norm, then averaged (G-VBSM); priors: weights softmax(prior / 10), priors in percent (CV-DD)."""
    label_batch_norm: Literal["running", "batch"] = later("running")
    """batch: labellers normalise by the statistics of each part of a batch, and the student is trained on those same
    parts, its gradients added up (CV-DD's batch-specific soft labels; not RD3's labels)."""
    label_micro_batch: int = later(0)
    """Views per part; 0 is the whole batch. CV-DD: halves of 8."""
    label_dropout: bool = later(False)
    """True keeps the labellers' dropout on under batch statistics, as CV-DD's relabelling in train mode does."""
    loss: Literal["kl", "mse_gt"] = later("kl")
    """mse_gt: MSE of raw logits + gamma CE with the base image's label, un-mixed (G-VBSM, EDC; RD3 section 4.4)."""
    gamma: float = later(0.025)
    """EDC's and RD3's; G-VBSM's scripts have .1 (ImageNet-1K, Tiny-ImageNet) and .15 (CIFAR)."""
    sample_weights: Literal["none", "column"] = later("none")
    """column: each image's loss counts by the image set's column `weight`, scaled to mean 1 (DDOQ's cluster sizes);
    a set without that column is trained as with none."""

    def __post_init__(self) -> None:
        for name, choices in _choices().items():
            if getattr(self, name) not in choices:
                raise UnknownNameError.of(f"{name} of the protocol", str(getattr(self, name)), choices)
        for name, (owner, value) in _ONLY_WITH.items():
            if getattr(self, name) != _defaults()[name] and getattr(self, owner) != value:
                raise InputError(
                    f"protocol: {name}={getattr(self, name)!r} would change nothing", f"set `{owner}: {value}`"
                )
        if self.label_micro_batch < 0 or self.label_micro_batch == 1 or self.gamma < 0:
            raise InputError(
                f"protocol: label_micro_batch={self.label_micro_batch}, gamma={self.gamma}",
                "a part has two views or more (0: the whole batch), gamma is not negative",
            )

    @property
    def labelling(self) -> Labelling:
        """Whose soft labels a student gets; an empty `label_pool` must have been replaced by the members' names."""
        return Labelling(
            pool=self.label_pool,
            mix=self.label_mix,
            batch_norm=self.label_batch_norm,
            micro_batch=self.label_micro_batch,
            dropout=self.label_dropout,
        )

    def for_labels(self, mode: LabelMode, committee: tuple[str, ...] = ()) -> Protocol:
        """The protocol of one label mode: hard labels come from nobody, a committee by name from the setting's members.

        Raises InputError for members that the setting's committee lacks, or if it has none.
        """
        if mode == "hard":
            return replace(self, label=mode, label_storage="stored", **{name: _defaults()[name] for name in _SOFT_ONLY})
        if self.labeller == "teacher":
            return replace(self, label=mode)
        pool = self.label_pool or committee
        absent = [name for name in pool if name not in committee]
        if absent or not pool:
            raise InputError(
                f"soft labels by {', '.join(absent) or 'a committee'}, which the setting's committee lacks",
                f"its members: {', '.join(committee) or 'none'}; choose others in label_pool or `labeller: teacher`",
            )
        return replace(self, label=mode, label_pool=pool)

    def by_one_teacher(self) -> Protocol:
        """Soft labels of a single teacher, stored: what a committee member's own worth (its prior) is measured with."""
        return replace(self, label="soft", label_storage="stored", labeller="teacher", label_pool=(), label_mix="mean")

    def for_student(self, same_architecture: bool, images: int) -> Protocol:
        """The protocol with RD3's batch and smoothing for a student, given the number of images |S|."""
        batch, zeta = (50, 1.0) if same_architecture else (100, 2.0)
        return replace(self, batch=min(batch, images), zeta=zeta)

    def evaluated_epochs(self) -> list[int]:
        """Zero-based epochs after which the test accuracy is measured; the last one always is."""
        start = self.epochs * (1 - self.window)
        chosen = [e for e in range(self.epochs) if e >= start and e % self.window_step == self.window_step - 1]
        return sorted({*chosen, self.epochs - 1})


_SOFT_ONLY = (
    "labeller",
    "label_pool",
    "label_mix",
    "label_batch_norm",
    "label_micro_batch",
    "label_dropout",
    "loss",
    "gamma",
)
_ONLY_WITH = {
    "label_pool": ("labeller", "committee"),
    "label_mix": ("labeller", "committee"),
    "label_micro_batch": ("label_batch_norm", "batch"),
    "label_dropout": ("label_batch_norm", "batch"),
    "gamma": ("loss", "mse_gt"),
}
"""Field to the field and value without which it has no effect."""


@cache
def _choices() -> dict[str, tuple[str, ...]]:
    """Fields with a closed list of values."""
    hints = get_type_hints(Protocol)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


@cache
def _defaults() -> Mapping[str, Any]:
    return {item.name: item.default for item in fields(Protocol)}
