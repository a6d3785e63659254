"""Distillation losses with their papers' weights, as data.

Belongs here: those presets and their sources. Does not belong: the losses (losses.py), whole recipes of papers
(paper_presets.py).
"""

from __future__ import annotations

from dd_assets.evaluation.preset import Changes, Preset

_KD_IMAGENET: dict[str, Changes] = {
    "dkd": {"temperature": 1.0},
    "nkd": {"temperature": 1.0},
    "lskd": {"temperature": 2.0},
    "crld": {"temperature": 1.0, "label_storage": "online"},
}
_KD_CE = {"dkd": 1.0, "nkd": 1.0, "lskd": 1.0, "crld": 2.0}
_KD_CIFAR: dict[str, Changes] = {
    "dkd": {"temperature": 4.0, "dkd_beta": 8.0, "dkd_warmup": 20},
    "nkd": {"temperature": 3.0, "nkd_gamma": 3.5},
    "crld": {"temperature": 4.0},
}
_KD_CIFAR_CE = {"lskd": 0.1, "crld": 1.0}
_KD_SOURCE = {
    "dkd": "mdistiller a08d46f, engine/cfg.py",
    "nkd": "yzd-v/cls_KD 1e5d48f, losses/nkd.py and configs/distillers",
    "lskd": "sunshangquan/logit-standardization-KD f6e5aa5, tools/train.py",
    "crld": "haiduo/DeepKD afb5964, configs/imagenet/r34_r18/deepkd_crld.yaml (tuned for DeepKD's terms beside CRLD's)",
}
_SMALL = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
"""Datasets whose images are CIFAR's size or smaller: they take the papers' values for CIFAR."""


def _kd(loss: str, own: bool) -> Preset:
    """A distillation loss with its paper's weights; `own` with its cross-entropy on the base label as well."""
    changes = {"loss": loss, **_KD_IMAGENET[loss]}
    small = dict(_KD_CIFAR.get(loss, {}))
    if own:
        changes |= {"kd_ce": _KD_CE[loss], "kd_target": "base"}
        small |= {"kd_ce": _KD_CIFAR_CE[loss]} if loss in _KD_CIFAR_CE else {}
    return Preset(
        name=f"{'kd_own' if own else 'kd'}:{loss}",
        changes=changes,
        by_data=dict.fromkeys(_SMALL, small) if small else {},
        source=f"{_KD_SOURCE[loss]}; RD3 Table 18 states no setting"
        + ("" if own else "; as RD3's baseline without cross-entropy, y the teacher's argmax"),
    )


LOSSES = tuple(_kd(loss, own) for own in (False, True) for loss in _KD_IMAGENET)
