"""Soft labels in fewer bytes: how logits are stored, and which epochs' labels there are.

Belongs here: logits to columns and back, the order in which labelled epochs are gone through. Does not belong: finding
logits (labels.py), files (units/labels.py).

What is stored decides what a student learns from, so each choice is a field of the protocol. int8 is as good as
lossless: its error, .003 of a logit's spread, gives a KL at T = 20 below 1e-6. So are penultimate features in bytes
beside the teacher's classifier, which take fewer of them where there are many classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dd_assets.errors import InputError
from dd_assets.evaluation.protocol import Protocol, check_top_k
from dd_assets.randomness import permutation
from dd_assets.shapes import Float

LOGITS = "logits"
CODES, LOW, STEP = "logits_u8", "low", "step"
FEATURE_CODES = "features_u8"
TOP_VALUES, TOP_INDEX = "top_values", "top_index"
LEVELS = 255
DROPPED = -60000.0
"""What a logit that was not kept reads as: its probability is 0 in float32 at any temperature below 500."""


class Head(NamedTuple):
    """A linear classifier in float32, stored once beside features."""

    weight: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, " c"]


def encode(logits: Float[np.ndarray, "v c"], codec: str, top_k: int) -> dict[str, np.ndarray]:
    """The columns that stand for fp16 logits (V, C).

    fp16: as they are. int8: a byte each, between the row's `low` and 255 `step` above it, both fp16, so that a row
    takes C + 4 bytes. features: the same, of rows that are penultimate features (V, D) rather than logits.
    top_k > 0: that many of the largest, fp16, and their classes, uint16; ties by class (LPQLD's MR-k keeps the same).
    Raises InputError for k above C.
    """
    if top_k:
        check_top_k(top_k, logits.shape[1])
        order = np.argsort(-logits.astype(np.float32), axis=1, kind="stable")[:, :top_k]
        return {TOP_VALUES: np.take_along_axis(logits, order, axis=1), TOP_INDEX: order.astype(np.uint16)}
    if codec == "fp16":
        return {LOGITS: logits}
    name = FEATURE_CODES if codec == "features" else CODES
    wide = logits.astype(np.float32)
    # Rounded down and up in fp16, so that the row's ends stay within reach.
    low = _towards(wide.min(axis=1), -np.inf)
    step = _towards((wide.max(axis=1) - low.astype(np.float32)) / LEVELS, np.inf)
    scale = np.maximum(step.astype(np.float32), np.finfo(np.float32).tiny)[:, None]
    codes = np.rint((wide - low.astype(np.float32)[:, None]) / scale).clip(0, LEVELS)
    return {name: codes.astype(np.uint8), LOW: low, STEP: step}


def _towards(values: Float[np.ndarray, " v"], end: float) -> np.ndarray:
    """The next fp16 number on that side, or the value itself where fp16 has it."""
    near = values.astype(np.float16)
    off = near.astype(np.float32) > values if end < 0 else near.astype(np.float32) < values
    return np.where(off, np.nextafter(near, np.float16(end)), near)


def check_feature_width(width: int, classes: int) -> None:
    """Raise InputError where features would take as many bytes as fp16 logits, or more."""
    if width >= 2 * classes:
        raise InputError(
            f"label_codec=features: the teacher's {width} features take no fewer bytes than {classes} fp16 logits",
            "use `label_codec: int8`",
        )


def decode(columns: Mapping[str, np.ndarray], classes: int, head: Head | None = None) -> np.ndarray:
    """Logits (V, C) from `encode`'s columns: fp16 as they were stored, float32 otherwise.

    head: the classifier of stored features. Raises InputError for features without it.
    """
    if LOGITS in columns:
        return columns[LOGITS]
    codes = next((columns[name] for name in (CODES, FEATURE_CODES) if name in columns), None)
    if codes is not None:
        low, step = (columns[name].astype(np.float32)[:, None] for name in (LOW, STEP))
        rows = low + step * codes
        if CODES in columns:
            return rows
        if head is None:
            raise InputError("stored features without the classifier that makes logits of them", "recompute the labels")
        return rows @ head.weight.T + head.bias
    found = np.full((len(columns[TOP_INDEX]), classes), DROPPED, dtype=np.float32)
    np.put_along_axis(found, columns[TOP_INDEX].astype(np.int64), columns[TOP_VALUES].astype(np.float32), axis=1)
    return found


def label_columns() -> tuple[str, ...]:
    """Every column that may stand for logits."""
    return (LOGITS, CODES, FEATURE_CODES, LOW, STEP, TOP_VALUES, TOP_INDEX)


def epoch_sources(protocol: Protocol, seed: int) -> np.ndarray:
    """For every epoch of training the labelled epoch whose views and labels it sees, int64 (epochs,).

    The first pass is in order; each further one in an order of its own (LPLD keeps a part of its label files and draws
    from them again until the epochs are full; here every epoch comes equally often).
    """
    stored = protocol.labelled_epochs
    passes = -(-protocol.epochs // stored)
    orders = [np.arange(stored), *(permutation(stored, seed, "label_epochs", turn) for turn in range(1, passes))]
    return np.concatenate(orders)[: protocol.epochs]
