"""Published accuracies, to stand beside measured ones.

Belongs here: look-up in `published.csv` under this project's names, and the mapping between the two sets of names.
Does not belong: measured results, and judging whether a difference matters.

Source: RD3, "Rectified Decoupled Dataset Distillation" (its tables 1-3, 5-7 and 11-18), 1,037 figures copied from the
paper's text, in percent as printed; `std` is empty where the paper gives none. Column `note` was added here: it quotes
the other value wherever the paper prints two for the same cell. Table 5's rows restate table 16, because its own body
is unreadable in the text at hand; table 4 is not recoverable.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dd_assets.datasets.setting import Setting
from dd_assets.planning.digests import text_digest

PAPER_DATASETS = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "tiny_imagenet": "TinyImageNet",
    "imagenette": "ImageNette",
    "imagewoof": "ImageWoof",
    "imagenet1k": "ImageNet-1K",
}
"""Settings whose data and resolution are the paper's; `imagenette_128` is another resolution and is not among them."""

RD3_SIZES = {
    "cifar10": 32,
    "cifar100": 32,
    "tiny_imagenet": 64,
    "imagenette": 224,
    "imagewoof": 224,
    "imagenet1k": 224,
}
"""Pixels per side at which RD3 evaluates each dataset."""

PAPER_METHODS = {
    "random": "Random",
    "sre2l": "SRe2L",
    "cda": "CDA",
    "gvbsm": "G-VBSM",
    "dwa": "DWA",
    "edc": "EDC",
    "rded": "RDED",
    "minimax": "Minimax",
    "d4m": "D4M",
}

PAPER_STUDENTS = {
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "mobilenet_v2": "MobileNet-V2",
    "efficientnet_b0": "EfficientNet-B0",
    "swin_v2_t": "Swin-V2-T",
    "vit_b_16": "ViT-B-16",
}
"""Students the paper trains; anything smaller has no published value and must not borrow one."""

PAPER_LOSSES = {"soft": "KL", "hard": "CE"}

HEADLINE_TABLES = (1, 7, 15, 11, 3, 14)
"""Tables under the one protocol, first match wins: methods, random images, hard labels, then other students."""

Key = tuple[str, str, int, str, str]


class Published(NamedTuple):
    """One published accuracy."""

    mean: float
    """Top-1 as a fraction in [0, 1]."""
    std: float | None
    """As printed behind the ±, as a fraction; the paper does not say over what."""
    table: int


def published(dataset: str, method: str, ipc: int, student: str, label: str) -> Published | None:
    """RD3's accuracy for a cell in this project's names, or None where the paper has none under its protocol.

    label: 'soft' (KL against one teacher) or 'hard' (one-hot, CE).
    """
    row = _row(dataset, method, ipc, student, label)
    return None if row is None else _figure(row)


def note(dataset: str, method: str, ipc: int, student: str, label: str) -> str:
    """Where the paper contradicts itself about the cell `published` returns, in words; empty if it does not."""
    row = _row(dataset, method, ipc, student, label)
    return row["note"] if row else ""


def rd3_setting(chosen: Setting) -> bool:
    """Whether a setting has RD3's data, resolution and teacher, so that its figures may stand beside the paper's."""
    return chosen.teacher.architecture == "resnet18" and chosen.size == RD3_SIZES.get(chosen.data)


def published_in(
    table: int, dataset: str, method: str, ipc: int, student: str, named: Mapping[str, str]
) -> Published | None:
    """The figure of one table of the paper for a cell in this project's names, or None.

    named: columns label, loss and, where a table has several rows per cell, setting.
    """
    try:
        cell = (PAPER_DATASETS[dataset], PAPER_METHODS[method], str(ipc), PAPER_STUDENTS[student])
    except KeyError:
        return None
    for row in _rows():
        same = int(row["table"]) == table and (row["dataset"], row["method"], row["ipc"], row["student"]) == cell
        if same and all(row[column] == value for column, value in named.items()):
            return _figure(row)
    return None


def _figure(row: Mapping[str, str]) -> Published:
    # Dividing the printed decimal keeps 16.2 % at the float nearest to 0.162.
    std = round(float(row["std"]) / 100, 6) if row["std"] else None
    return Published(mean=round(float(row["mean"]) / 100, 6), std=std, table=int(row["table"]))


def all_rows() -> tuple[dict[str, str], ...]:
    """Every row of the file as printed: table, dataset, method, ipc, student, label, loss, setting, mean, std, note."""
    return _rows()


def _row(dataset: str, method: str, ipc: int, student: str, label: str) -> dict[str, str] | None:
    try:
        key = (PAPER_DATASETS[dataset], PAPER_METHODS[method], ipc, PAPER_STUDENTS[student], label)
    except KeyError:
        return None
    return _headline().get(key)


@cache
def _headline() -> dict[Key, dict[str, str]]:
    chosen: dict[Key, dict[str, str]] = {}
    for table in HEADLINE_TABLES:
        for row in _rows():
            if int(row["table"]) == table and row["loss"] == PAPER_LOSSES.get(row["label"]):
                key = (row["dataset"], row["method"], int(row["ipc"]), row["student"], row["label"])
                chosen.setdefault(key, row)
    return chosen


@cache
def figures_digest() -> str:
    """Digest of all printed figures, which tables that show them depend on."""
    return text_digest(_rows())


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with Path(__file__).with_name("published.csv").open(newline="", encoding="utf-8") as stream:
        return tuple(csv.DictReader(stream))
