"""The evaluation protocol as one typed object.

Belongs here: every knob of student training and labels, with where its value comes from; light, no torch.
Does not belong: the knobs of a view (view_presets.py), the computation (views.py, labels.py, students.py).

Source: RD3 paper, Tables 8 and 9, sections 3.2 and 4.4; where the paper is silent, the RDED lineage it builds on
(LINs-lab/RDED 3f6453d, validation/main.py and argument.py). `docs/protocol.md` lists every unstated knob.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dd_assets.bounds import ABOVE_ZERO, BELOW_ONE, COUNT, NOT_NEGATIVE, SHARE, SHARE_ABOVE_ZERO, WHOLE, Range, require
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.evaluation.view_presets import Views
from dd_assets.later import later

LabelMode = Literal["soft", "hard"]


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """Whose answers the soft labels are and how they are found; the default is RD3's: one teacher, as it evaluates."""

    pool: tuple[str, ...] = later(())
    """Committee members in the order in which they are added up; () stands for the setting's one teacher."""
    mix: Literal["mean", "frobenius", "priors"] = later("mean")
    batch_norm: Literal["running", "batch"] = later("running")
    micro_batch: int = later(0)
    dropout: bool = later(False)


def check_top_k(top_k: int, classes: int) -> None:
    """Raise InputError where a row has no more logits than are to be kept."""
    if top_k > classes:
        raise InputError(f"label_top_k={top_k} of {classes} classes", "keep fewer")


def check_parts(labelling: Labelling, images: int, batch: int) -> None:
    """Raise InputError where batch statistics would be those of a single view."""
    if labelling.batch_norm == "batch" and 1 in (min(batch, images), images % batch):
        raise InputError(
            f"{images} images in batches of {batch} leave a batch of one view, which has no batch statistics",
            "use another batch or number of images, or `label_batch_norm: running`",
        )


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One student training, completely specified but for images, labels, architecture and seed."""

    name: str = "rd3"
    """Of the preset; it counts in the recipe digest."""
    label: LabelMode = "soft"
    """What a view's target is: the labeller's answer, or the class that the image was made for."""
    label_storage: Literal["stored", "online"] = "stored"
    """stored: logits are replayed from a table; online: the teacher runs on each regenerated view."""
    views: Views
    """How an image becomes a training view (view_presets.py)."""
    epochs: int = 400
    """How often all images are gone through (RD3 Tables 8, 9)."""
    batch: int = 50
    """50 if student and teacher share the architecture, else 100 (RD3 Tables 8, 9); |S| if that is smaller."""
    zeta: float = 1.0
    """Cosine smoothing: lr(i) = lr/2 (1 + cos(pi i / (zeta N))), stepped per epoch; 1 with batch 50, 2 with 100."""
    learning_rate: float = 1e-3
    """The rate of the first epoch (RD3 Tables 8, 9); `rates` can give each student its own."""
    weight_decay: float = 0.01
    """On weights with more than one dimension only (not stated in RD3; RDED, EDC and CV-DD agree)."""
    temperature: float = 20.0
    """KL batchmean without the T^2 factor (not stated for the main table; Figure 8 implies 20)."""
    hard_form: Literal["mixed", "base_only"] = "base_only"
    """Hard labels under CutMix: lam CE(base) + (1 - lam) CE(pasted), or CE(base) alone, which fits RD3's figures for
    random CIFAR-10 images better (docs/results/rd3_cifar10.md); `digits` and `mnist` have `mixed`."""
    precision: Literal["fp32", "bf16", "bf16_products"] = "fp32"
    """bf16: networks compute in mixed precision, students and labellers alike; parameters stay fp32. bf16_products:
    besides, on a CPU, 3x3 convolutions onto maps of at most 4 px are products of matrices (models/small_maps.py)."""
    window: float = 0.2
    """Best-in-window looks at every `window_step`-th epoch of the last fifth, as RDED does; last is the headline."""
    window_step: int = 10
    """Epochs between two looks within the window; the last epoch is looked at in any case."""
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
    label_codec: Literal["fp16", "int8", "features"] = later("fp16")
    """How stored logits are kept (label_codecs.py): two bytes each; one and four per row; or as one teacher's
    penultimate features, a byte each, and its classifier once."""
    label_top_k: int = later(0)
    """Above 0 only so many of a view's largest logits are stored, and the softmax is over those (LPQLD)."""
    label_epochs: int = later(0)
    """Above 0 only so many epochs' views are labelled; training goes through them again and again (LPLD)."""
    loss: Literal["kl", "mse_gt", "dkd", "nkd", "lskd", "crld"] = later("kl")
    """mse_gt: MSE of raw logits + gamma CE with the base image's label, un-mixed (G-VBSM, EDC; RD3 section 4.4); the
    others are RD3 Table 18's (losses_kd.py) and carry their papers' T^2. crld sees a second, strong view of each image
    (strong_views.py), which takes online labels and about twice the time of a step."""
    gamma: float = later(0.025)
    """EDC's and RD3's; G-VBSM's scripts have .1 (ImageNet-1K, Tiny-ImageNet) and .15 (CIFAR)."""
    kd_target: Literal["teacher", "base", "mixed"] = later("teacher")
    """The class y of a CutMix view in dkd, nkd and the cross-entropy beside them: the teacher's argmax, the base
    image's label, or both labels' losses mixed by their shares. RD3 and the methods' papers do not say."""
    kd_ce: float = later(0.0)
    """Weight of that cross-entropy; RD3's baseline has none, the methods' own recipes .1 to 2."""
    dkd_alpha: float = later(1.0)
    """Weight of dkd's target-class part; `dkd_beta` is that of its other classes."""
    dkd_beta: float = later(0.5)
    """mdistiller's for ImageNet; 8 for CIFAR."""
    dkd_warmup: int = later(1)
    """Epochs over which dkd grows to its weight: 1 (none) for ImageNet, 20 for CIFAR."""
    nkd_gamma: float = later(1.5)
    """Weight of nkd's part of the other classes."""
    lskd_weight: float = later(9.0)
    """Weight of the KL of z-scored logits."""
    crld_within: float = later(2.0)
    """Weight of crld's KLs between student and teacher on the same view."""
    crld_cross: float = later(0.5)
    """Weight of its KLs between the weak view of one and the strong view of the other."""
    crld_weak_confidence: float = later(0.9)
    """The teacher's largest softmax on the weak view from which on the KLs of the same view count."""
    crld_strong_confidence: float = later(0.2)
    """Its largest softmax on the strong view from which on the KLs across views count."""
    sample_weights: Literal["none", "column"] = later("none")
    """column: each image's loss counts by the image set's column `weight`, scaled to mean 1 (DDOQ's cluster sizes);
    a set without that column is trained as with none."""
    batch_rule: Literal["rd3", "stated"] = later("rd3")
    """rd3: the batch follows RD3's rule for the student; stated: `batch` stands (no more than |S|)."""
    zeta_rule: Literal["rd3", "stated"] = later("rd3")
    """rd3: `zeta` follows RD3's rule for the student; stated: `zeta` stands."""
    rates: Literal["rd3", "rded"] = later("rd3")
    """rd3: `learning_rate` for every student; rded: RDED's rate of each architecture (STUDENT_RATES)."""
    optimiser: Literal["adamw", "sgd"] = later("adamw")
    """sgd: with `momentum`, `weight_decay` on every parameter (Minimax, DC-BENCH)."""
    momentum: float = later(0.9)
    """Of sgd, not Nesterov's."""
    schedule: Literal["cosine", "cos2", "multistep"] = later("cosine")
    """cos2: the cosine up to 5/6 of the epochs, then a sixth of its value, falling linearly to 0 (EDC's SSRS);
    multistep: times `decay` at each of `milestones`."""
    milestones: tuple[float, ...] = later((2 / 3, 5 / 6))
    """Shares of the epochs, ascending."""
    milestone_rule: Literal["up", "down"] = later("up")
    """Where a share is no whole number of epochs: the first epoch after it, or the last before it, as with Minimax's
    `2 * epochs // 3`."""
    decay: float = later(0.2)
    """What the rate is multiplied by at each milestone."""
    ema: float = later(0.0)
    """Above 0 the test accuracy is that of the parameters' moving average with this decay per step, batch norm's
    buffers the live ones (EDC: .99)."""
    batch_norm_updates: int = later(1)
    """How often a batch moves the student's running statistics. 2: RDED's loop, which runs the same batch through the
    student once more for a printed accuracy; with momentum m that is one update with 1 - (1 - m)^2."""
    curve_step: int = later(0)
    """Above 0 every so many epochs before the window are tested too, on `curve_images` images: a curve to look at."""
    curve_images: int = later(0)
    """How many of the test images; a seeded sample, equal for all trainings of a dataset."""

    def __post_init__(self) -> None:
        require("protocol", self, _RANGES)
        self._check_looks()
        for name, choices in _choices().items():
            if getattr(self, name) not in choices:
                raise UnknownNameError.of(f"{name} of the protocol", str(getattr(self, name)), choices)
        for name, (owner, values) in _ONLY_WITH.items():
            if getattr(self, name) != _defaults()[name] and getattr(self, owner) not in values:
                raise InputError(
                    f"protocol: {name}={getattr(self, name)!r} would change nothing",
                    f"set `{owner}: {'` or `'.join(values)}`",
                )
        if self.label_micro_batch < 0 or self.label_micro_batch == 1:
            raise InputError(
                f"protocol: label_micro_batch={self.label_micro_batch}",
                "a part has two views or more (0: the whole batch)",
            )
        shares = [share for share in self.milestones if isinstance(share, (int, float)) and 0 < share <= 1]
        if list(self.milestones) != sorted(shares):
            given = list(self.milestones)
            raise InputError(f"protocol: milestones={given}", "give shares of the epochs in (0, 1], ascending")
        if self.loss == "crld" and (self.label_storage != "online" or self.label_batch_norm != "running"):
            raise InputError(
                "protocol: crld's strong views have no stored labels, and no parts of a batch",
                "set `label_storage: online` and `label_batch_norm: running`",
            )
        if min(self.label_top_k, self.label_epochs) < 0 or (self.label_top_k and self.label_codec != "fp16"):
            raise InputError(
                f"protocol: label_top_k={self.label_top_k}, label_epochs={self.label_epochs},"
                f" label_codec={self.label_codec}",
                "neither number is negative, and what is kept of a row is fp16",
            )
        if self.label_codec == "features" and self.labeller != "teacher":
            raise InputError("protocol: label_codec=features is one teacher's, not a committee's", "use `int8`")
        if self.label_top_k and self.loss != "kl":
            raise InputError(f"protocol: {self.loss} needs every logit, label_top_k keeps some", "set `loss: kl`")

    def _check_looks(self) -> None:
        """Raise InputError for batch norm or a curve that cannot be."""
        if self.batch_norm_updates < 1 or min(self.curve_step, self.curve_images) < 0:
            raise InputError(
                f"protocol: batch_norm_updates={self.batch_norm_updates}, curve_step={self.curve_step},"
                f" curve_images={self.curve_images}",
                "a batch is seen once or more, and neither number of a curve is negative",
            )
        if bool(self.curve_step) != bool(self.curve_images):
            raise InputError(
                f"protocol: curve_step={self.curve_step}, curve_images={self.curve_images}",
                "a curve has both, and none has neither",
            )

    def require_read(self) -> None:
        """Raise InputError for a stated number that a rule is to replace; `for_student` carries the rules out."""
        for name, (rule, needed) in _RULED.items():
            if getattr(self, name) != _defaults()[name] and getattr(self, rule) != needed:
                raise InputError(
                    f"protocol: {name}={getattr(self, name)!r} would change nothing", f"set `{rule}: {needed}`"
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

    @property
    def labelled_epochs(self) -> int:
        """How many epochs' views have labels of their own."""
        return min(self.label_epochs or self.epochs, self.epochs)

    def bytes_per_view(self, classes: int) -> int:
        """Bytes of one view's stored logits before compression; for features the most they may be (under 2 C wide)."""
        if self.label_top_k:
            return 4 * self.label_top_k
        return {"fp16": 2 * classes, "int8": classes + 4, "features": 2 * classes + 3}[self.label_codec]

    def for_labels(self, mode: LabelMode, committee: tuple[str, ...] = ()) -> Protocol:
        """The protocol of one label mode: hard labels come from nobody, a committee by name from the setting's members.

        Fields that the mode does not read have one value each, as a rule their default, so that recipes do not differ
        by them. Raises InputError for members that the setting's committee lacks, or if it has none.
        """
        if mode == "hard":
            unread = {name: _defaults()[name] for name in ("temperature", *_SOFT_ONLY)}
            return replace(self, label=mode, label_storage="stored", **unread)
        own = replace(self, label=mode, hard_form=_SOFT_HARD_FORM)
        if self.labeller == "teacher":
            return own
        pool = self.label_pool or committee
        absent = [name for name in pool if name not in committee]
        if absent or not pool:
            raise InputError(
                f"soft labels by {', '.join(absent) or 'a committee'}, which the setting's committee lacks",
                f"its members: {', '.join(committee) or 'none'}; choose others in label_pool or `labeller: teacher`",
            )
        return replace(own, label_pool=pool)

    def by_one_teacher(self) -> Protocol:
        """Soft labels of a single teacher, stored: what a committee member's own worth (its prior) is measured with.

        crld, which cannot have stored labels, gives way to kl.
        """
        loss = {
            name: _defaults()[name]
            for name in _SOFT_ONLY
            if self.loss == "crld" and name not in (*_LABELLING, *_LABEL_BYTES)
        }
        whole = {name: _defaults()[name] for name in _LABEL_BYTES}
        changes = {"label_storage": "stored", "labeller": "teacher", "label_pool": (), "label_mix": "mean", **loss}
        changes |= {**whole, "hard_form": _SOFT_HARD_FORM}
        return replace(self, label="soft", **changes)

    def for_student(self, same_architecture: bool, images: int, student: str = "") -> Protocol:
        """The protocol with RD3's batch and smoothing for a student, given the number of images |S|.

        The rules and `rates` are carried out and back at their defaults: however batch, zeta and rate were stated,
        equal trainings have equal recipes.
        """
        batch, zeta = (50, 1.0) if same_architecture else (100, 2.0)
        batch = self.batch if self.batch_rule == "stated" else batch
        zeta = self.zeta if self.zeta_rule == "stated" else zeta
        rate = self.learning_rate if self.rates == "rd3" else STUDENT_RATES.get(student, 1e-3)
        done: dict[str, Any] = {"batch_rule": "rd3", "zeta_rule": "rd3", "rates": "rd3"}
        return replace(self, batch=min(batch, images), zeta=zeta, learning_rate=rate, **done)

    def evaluated_epochs(self) -> list[int]:
        """Zero-based epochs after which the test accuracy is measured; the last one always is."""
        start = self.epochs * (1 - self.window)
        chosen = [e for e in range(self.epochs) if e >= start and e % self.window_step == self.window_step - 1]
        return sorted({*chosen, self.epochs - 1})

    def curve_epochs(self) -> list[int]:
        """Zero-based epochs before the window after which a sample of the test images is looked at; [] without."""
        first = self.evaluated_epochs()[0]
        return [e for e in range(first) if self.curve_step and e % self.curve_step == self.curve_step - 1]


_RANGES: Mapping[str, Range] = {
    **dict.fromkeys(("epochs", "batch", "window_step", "dkd_warmup"), COUNT),
    **dict.fromkeys(("zeta", "temperature", "decay"), ABOVE_ZERO),
    **dict.fromkeys(("learning_rate", "weight_decay", "gamma", "kd_ce", "dkd_alpha", "dkd_beta"), NOT_NEGATIVE),
    **dict.fromkeys(("nkd_gamma", "lskd_weight", "crld_within", "crld_cross"), NOT_NEGATIVE),
    **dict.fromkeys(("crld_weak_confidence", "crld_strong_confidence"), SHARE),
    **dict.fromkeys(("momentum", "ema"), BELOW_ONE),
    "window": SHARE_ABOVE_ZERO,
    **dict.fromkeys(("label_epochs", "label_top_k", "label_micro_batch", "batch_norm_updates"), WHOLE),
    **dict.fromkeys(("curve_step", "curve_images"), WHOLE),
}
"""Numbers that do not depend on one another. A rate of 0 is a student that stays as it is."""

STUDENT_RATES = {
    "efficientnet_b0": 0.002,
    "mobilenet_v2": 0.0025,
    "swin_v2_t": 1e-4,
    "vit_b_16": 1e-4,
    "alexnet": 1e-4,
    "vgg11": 5e-4,
}
"""RDED's initial rates (RDED:argument.py), 1e-3 for any other student; RD3 states 1e-3 for all."""

_KD = ("dkd", "nkd", "lskd", "crld")
_ONLY_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "label_pool": ("labeller", ("committee",)),
    "label_mix": ("labeller", ("committee",)),
    "label_micro_batch": ("label_batch_norm", ("batch",)),
    "label_dropout": ("label_batch_norm", ("batch",)),
    **{name: ("label_storage", ("stored",)) for name in ("label_codec", "label_top_k", "label_epochs")},
    "gamma": ("loss", ("mse_gt",)),
    "kd_target": ("loss", _KD),
    "kd_ce": ("loss", _KD),
    **{name: ("loss", ("dkd",)) for name in ("dkd_alpha", "dkd_beta", "dkd_warmup")},
    "nkd_gamma": ("loss", ("nkd",)),
    "lskd_weight": ("loss", ("lskd",)),
    **{f"crld_{name}": ("loss", ("crld",)) for name in ("within", "cross", "weak_confidence", "strong_confidence")},
    "momentum": ("optimiser", ("sgd",)),
    "milestones": ("schedule", ("multistep",)),
    "milestone_rule": ("schedule", ("multistep",)),
    "decay": ("schedule", ("multistep",)),
}
"""Field to the field and the values without which it has no effect."""
_RULED = {"batch": ("batch_rule", "stated"), "zeta": ("zeta_rule", "stated"), "learning_rate": ("rates", "rd3")}
"""Field to the rule that replaces it unless it has this value."""
_SOFT_HARD_FORM: Literal["mixed"] = "mixed"
"""What the recipes of soft labels say of hard ones: the default when the first of them were stored."""
_LABELLING = ("labeller", "label_pool", "label_mix", "label_batch_norm", "label_micro_batch", "label_dropout")
_LABEL_BYTES = ("label_codec", "label_top_k", "label_epochs")
_SOFT_ONLY = (
    *_LABELLING,
    *_LABEL_BYTES,
    "loss",
    *(name for name, (owner, _) in _ONLY_WITH.items() if owner == "loss"),
)


@cache
def _choices() -> dict[str, tuple[str, ...]]:
    """Fields with a closed list of values."""
    hints = get_type_hints(Protocol)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


@cache
def _defaults() -> Mapping[str, Any]:
    return {item.name: item.default for item in fields(Protocol)}
