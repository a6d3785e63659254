"""Each paper's own recipe for training and labelling, and the protocols of hard labels, as data.

Belongs here: what such a preset changes, where that comes from and what of the source's recipe it leaves out. Does not
belong: distillation losses (loss_presets.py), how changes are applied (preset.py).

Sources: `[table 10]` is RD3's; repositories and files as in the method recipes (methods/<name>/recipe.py). A paper's
recipe is ImageNet-1K's unless `by_data` or `by_both` says otherwise; `left_out_on` names what it stands in for.
"""

from __future__ import annotations

from typing import Any

from dd_assets.evaluation.preset import MORE, Changes, Preset, Ranges

CROP_08 = {"shuffle_factor": 1, "crop_scale_min": 0.08}
"""Random resized crops from 8 % of the area with flip and CutMix, before RDED."""
FACTOR_1 = {"shuffle_factor": 1, "crop_scale_min": 1.0}
_EDC_CROP = {"shuffle_factor": 1, "crop_scale_min": 0.5}
_RAND_9 = {"rand_operations": 2, "rand_magnitude": 9}
_RAND_6 = {"rand_operations": 2, "rand_magnitude": 6}
_STATED = {"batch_rule": "stated", "zeta_rule": "stated"}
_BATCH_1024 = {**_STATED, "batch": 1024, "zeta": 1.0, "epochs": 300, "views": CROP_08}
_BATCH_128 = {**_BATCH_1024, "batch": 128}
_HYBRID = {"labeller": "committee"}
_CIFAR_CROPS = "CIFAR: padded crops in place of resized ones"
_MIXUP = {**FACTOR_1, "cutmix_alpha": 0.0, "mixup_alpha": 0.8}
_REPORTS_BEST = "it reports the best epoch on the test set, here a second column"


def _cifar(**changes: Any) -> dict[str, Changes]:
    return {"cifar10": changes, "cifar100": changes}


def _paper(name: str, source: str, changes: Changes, left_out: str = "", **further: Any) -> Preset:
    text = "; ".join(part for part in (left_out, _REPORTS_BEST) if part)
    return Preset(name=f"paper:{name}", changes=changes, whole=True, source=source, left_out=text, **further)


def _but(ipc: int, there: Changes, elsewhere: Changes) -> Ranges:
    """One IPC against all others, as a script's `if ipc == …: … else: …` has it."""
    return ((ipc - 1, elsewhere), (ipc, there), (MORE, elsewhere))


def _squared(rate: float, decay: float, temperature: float = 20.0) -> dict[str, Any]:
    """SGD on T^2 times the KL of soft labels: its steps are those on the KL at T^2 times the rate, 1/T^2 the decay."""
    square = temperature**2
    return {
        "optimiser": "sgd",
        "learning_rate": rate * square,
        "weight_decay": decay / square,
        "temperature": temperature,
    }


_FOUR = ("imagenet1k", "cifar10", "cifar100", "tiny_imagenet")
TEN_CLASSES = ("digits", "mnist", "fashion_mnist", "cifar10", "imagenette", "imagewoof", "imageidc")
"""Datasets of ten classes, for RDED's batches."""

# relabel_cifar.py and validation_cifar.py never call the teacher's eval(): batch norm by the statistics of each batch.
_SRE2L_CIFAR = _cifar(epochs=400, batch=128, temperature=30.0, views=_MIXUP, label_batch_norm="batch")
_CIFAR_LEFT_OUT = f"{_CIFAR_CROPS}, weight decay on batch norm and biases too"
# zeyuanyin/tiny-imagenet 275c667, script/train_kd.sh and classification/train_kd.py; DWA: scripts/run_tiny.sh.
_SRE2L_TINY = {**_squared(0.2, 1e-4), "epochs": 100, "batch": 256, "views": {**CROP_08, "cutmix_alpha": 0.0}}
_CDA_TINY = {**_SRE2L_TINY, "views": CROP_08}
# DWA's script names no temperature; validation_tiny.py's own is 1.
_DWA_TINY = {**_CDA_TINY, **_squared(0.2, 1e-4, 1.0), "epochs": 200, "batch": 64}
_WARM_UP = "Tiny-ImageNet: five epochs of warm-up"
_RDED = {**_STATED, "batch": 100, "zeta": 2.0, "epochs": 300}
_RDED_LOOP = {**_RDED, "rates": "rded", "batch_norm_updates": 2}


def _rded_batches(middle: int, times: int) -> Ranges:
    """argument.py's batches; `middle`: the last IPC with the second; `times`: 2 for 100 and 1,000 classes."""
    return tuple((ipc, {"batch": size * times}) for ipc, size in ((1, 10), (middle, 50), (MORE, 100)))


_RDED_SMALL: dict[str, Changes] = {**_cifar(views=FACTOR_1), "tiny_imagenet": {"views": FACTOR_1, "batch": 100}}
_CVDD = {
    **_BATCH_1024,
    **_HYBRID,
    "batch": 16,
    "label_mix": "priors",
    "label_batch_norm": "batch",
    "label_micro_batch": 8,
}
_ZETA_1, _ZETA_2 = {"zeta": 1.0}, {"zeta": 2.0}
_TEN_IN_HALVES = {"batch": 10, "label_micro_batch": 5}
# validate/train_fkd.py's eta and rate for ResNet-18; batches are those of relabel/scripts.
_CVDD_TABLE: dict[str, Any] = {
    "by_ipc": _but(50, _ZETA_1, _ZETA_2),
    "by_data": {"imagenette": {"learning_rate": 5e-4, **_TEN_IN_HALVES}},
    "by_both": {
        "cifar10": ((1, {**_ZETA_1, **_TEN_IN_HALVES}), (MORE, _ZETA_1)),
        "cifar100": _but(10, _ZETA_2, _ZETA_1),
        "tiny_imagenet": _but(10, _ZETA_1, _ZETA_2),
        "imagenette": _but(10, _ZETA_1, _ZETA_2),
    },
    "datasets": (*_FOUR, "imagenette"),
}
_CVDD_LEFT_OUT = (
    "zetas and rates are its ResNet-18's, for every student; scripts of a later commit label ImageNet-1K at IPC 10 and"
    " CIFAR-10 at IPC 1 by one ResNet-18"
)
_INSTANCE_HARD = {
    "label": "hard",
    "optimiser": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 5e-4,
    "schedule": "multistep",
    "milestone_rule": "down",
    "batch_rule": "stated",
    "batch": 64,
    "hard_form": "mixed",
    "views": {"shuffle_factor": 1, "crop_scale_min": 0.5, "jitter": 0.4},
}
_ADAMW_HARD = {**_INSTANCE_HARD, "optimiser": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01}
_SGD_1 = {"optimiser": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}
_HARD_EPOCHS = tuple(
    (ipc, {"epochs": epochs})
    for ipc, epochs in ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500), (MORE, 300))
)
_HARD_SETS = ("imagenette", "imagewoof", "imageidc")
_HARD_LEFT_OUT = (
    "PCA lighting; jitter that is not clamped between its steps; a second set of classes has two thirds of the epochs"
)
_HALVES = "the student's batch norm sees halves of a batch"
_RAND_FIRST = "RandAugment comes before the crop, here after crop and flip"

PAPERS = (
    _paper(
        "sre2l",
        "VILA-Lab/SRe2L 8d00cba, validate/train_FKD.py and *small_dataset; RD3 Table 10",
        _BATCH_1024,
        f"{_CIFAR_LEFT_OUT}; CIFAR-10: CIFAR-100's, which alone is coded; {_WARM_UP}; ImageNet-1K: {_HALVES}",
        by_data={**_SRE2L_CIFAR, "tiny_imagenet": _SRE2L_TINY},
        datasets=_FOUR,
    ),
    _paper(
        "sre2lpp",
        "Jiacheng8/CV-DD 24097e9: one voter, batch-specific soft labels",
        {**_BATCH_1024, "batch": 16, "label_batch_norm": "batch", "label_micro_batch": 8},
        _CVDD_LEFT_OUT,
        **_CVDD_TABLE,
    ),
    _paper(
        "cda",
        "VILA-Lab/SRe2L 8d00cba, CDA; RD3 Table 10",
        _BATCH_128,
        f"{_WARM_UP}; its batch and epochs there are not published: SRe2L's",
        by_data={"tiny_imagenet": _CDA_TINY},
        datasets=("imagenet1k", "tiny_imagenet"),
    ),
    _paper(
        "dwa",
        "AngusDujw/Diversity-Driven-Synthesis c5b125f, validation; RD3 Table 10",
        _BATCH_128,
        f"{_CIFAR_LEFT_OUT}; {_WARM_UP}",
        by_data={**_SRE2L_CIFAR, "tiny_imagenet": _DWA_TINY},
        datasets=_FOUR,
    ),
    _paper(
        "d4m",
        "suduo94/D4M da35d10 follows SRe2L's validate; RD3 Table 10",
        _BATCH_1024,
        _HALVES,
        datasets=("imagenet1k",),
    ),
    _paper(
        "gvbsm",
        "shaoshitong/G_VBSM_Dataset_Condensation 1ed80b0, train/train.sh; RD3 Table 10",
        {**_BATCH_1024, **_HYBRID, "label_mix": "frobenius", "loss": "mse_gt", "gamma": 0.1},
        "its four labellers by name: the whole committee labels here; ImageNet-1K and Tiny-ImageNet:"
        f" {_HALVES}; CIFAR-100 and Tiny-ImageNet: no weight decay on batch norm and biases",
        by_data={
            "cifar10": {"epochs": 1000, "batch": 100, "gamma": 0.15, "label_mix": "mean", "weight_decay": 0.0},
            "cifar100": {"epochs": 1000, "batch": 64, "gamma": 0.15, "label_mix": "mean", **_SGD_1},
            "tiny_imagenet": {"epochs": 100, "batch": 100, "label_mix": "mean", **_SGD_1},
        },
        datasets=_FOUR,
    ),
    _paper(
        "edc",
        "shaoshitong/EDC 80116a7, train scripts; RD3 Table 10 (whose patch shuffle EDC's code does not do)",
        {
            **_BATCH_1024,
            **_HYBRID,
            "batch": 100,
            "zeta": 2.0,
            "loss": "mse_gt",
            "ema": 0.99,
            "views": _EDC_CROP,
        },
        "its labellers by name (four; eight on CIFAR-10, five on CIFAR-100 and Tiny-ImageNet): the whole committee"
        " labels here; its RandAugment's numbers are torchvision's defaults, 2 operations of magnitude 9;"
        f" {_RAND_FIRST}; CIFAR-100 and Tiny-ImageNet: momentum .9 (its Tiny-ImageNet's is .875) and no weight decay"
        " on batch norm and biases; ImageNet-1K: a slip in its script makes the rate a line from 1 to 1/2",
        by_data={
            "cifar10": {
                "epochs": 1000,
                "batch": 25,
                "schedule": "multistep",
                "milestones": (0.8, 0.9, 0.95),
                "decay": 0.5,
                "views": {**CROP_08, **_RAND_9},
            },
            "cifar100": {"epochs": 1000, "batch": 50, "schedule": "cos2", "views": {**_EDC_CROP, **_RAND_9}, **_SGD_1},
            "tiny_imagenet": {"views": {**_EDC_CROP, **_RAND_9}, **_SGD_1},
        },
        by_both={"tiny_imagenet": ((1, {"epochs": 1000}),)},
        datasets=_FOUR,
    ),
    _paper(
        "rded",
        "LINs-lab/RDED 3f6453d, argument.py and scripts; RD3 Table 10",
        _RDED_LOOP,
        by_ipc=_rded_batches(10, 2),
        by_data=_RDED_SMALL,
        by_both=dict.fromkeys(TEN_CLASSES, _rded_batches(10, 1)),
        datasets=(*_FOUR, "imagenette", "imagewoof"),
    ),
    _paper(
        "delt",
        "its fork of RDED's validation (f2f81ca)",
        {**_RDED_LOOP, "views": {"shuffle_factor": 1, "crop_scale_min": 0.25, **_RAND_6}},
        "its RandAugment is timm's rand-m6-n2-mstd1.0 (other operations and scales, magnitudes that vary), here"
        f" torchvision's with magnitude 6 of 30; {_RAND_FIRST};"
        " its best is that of every tenth epoch of all, here of the window's; ResNet-101 has half the batch",
        by_ipc=_rded_batches(20, 2),
        by_data={"tiny_imagenet": {"batch": 100}},
        by_both=dict.fromkeys(TEN_CLASSES, _rded_batches(20, 1)),
        datasets=("imagenet1k", "cifar10", "tiny_imagenet", "imagenette"),
    ),
    _paper("cvdd", "Jiacheng8/CV-DD 24097e9, validate and its table of eta", _CVDD, _CVDD_LEFT_OUT, **_CVDD_TABLE),
    _paper(
        "prism",
        "Brian-Moser/prism 6cdc099, validate/train_FKD_10_r18.sh and relabel: batch 50, zeta 2.5, labels as G-VBSM's",
        {
            **_BATCH_1024,
            **_HYBRID,
            "batch": 50,
            "zeta": 2.5,
            "schedule": "cos2",
            "label_mix": "frobenius",
            "loss": "mse_gt",
            "gamma": 0.1,
            "views": {"shuffle_factor": 1, "crop_scale_min": 0.25},
        },
        _HALVES,
        datasets=("imagenet1k",),
    ),
    _paper(
        "pca",
        "Rethinking-Dataset-Compression 91d1ef0 (random images with soft labels)",
        _BATCH_128,
        datasets=("imagenet1k",),
    ),
    _paper(
        "minimax",
        "vimar-gu/MinimaxDiffusion, train.py (hard labels); its figures for ImageNet-1K are RDED's protocol's",
        _RDED_LOOP,
        _HARD_LEFT_OUT,
        by_ipc=_rded_batches(10, 2),
        by_data={data: {**_INSTANCE_HARD, "rates": "rd3", "batch_norm_updates": 1} for data in _HARD_SETS},
        by_both=dict.fromkeys(_HARD_SETS, _HARD_EPOCHS),
        datasets=("imagenet1k", *_HARD_SETS),
    ),
)

HARD_LABELS = (
    Preset(
        name="igd_hard",
        changes=_ADAMW_HARD,
        whole=True,
        by_ipc=_HARD_EPOCHS,
        source="mchen725/DD_IGD 912e868, train.py: Minimax's (paper:minimax) with AdamW; students"
        " convnet6_w128_in, resnetap10_in and resnet18_in",
        left_out=f"{_HARD_LEFT_OUT}; weight decay on batch norm and biases too; it reports each seed's best epoch",
    ),
    Preset(
        name="dc_bench",
        changes={
            **_INSTANCE_HARD,
            "milestones": (0.5,),
            "milestone_rule": "up",
            "decay": 0.1,
            "batch": 256,
            "epochs": 300,
            "views": {**FACTOR_1, "cutmix_alpha": 0.0, "hflip": 0.0, "jitter": 0.0},
        },
        whole=True,
        source="dc_benchmark 2a57711, without augmentation; hard labels, five runs, last epoch",
        left_out="its optimiser starts anew with the second rate, two epochs later, and trains one epoch more",
    ),
)
"""Protocols of hard labels that other papers compare by."""
