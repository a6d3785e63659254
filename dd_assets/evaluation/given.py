"""What one student training is given, and refusing what cannot work.

Belongs here: the description of a training and its checks. Does not belong: the loop (students.py).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.errors import InputError
from dd_assets.evaluation.labellers import Labeller
from dd_assets.evaluation.protocol import Protocol, check_parts
from dd_assets.evaluation.views import check_views
from dd_assets.progress import Checkpoints, Progress


@dataclass(frozen=True, kw_only=True)
class Training:
    """What one student is trained on and how; `train_student` checks that the parts fit."""

    images_u8: np.ndarray
    """uint8 (N, S, S, C)."""
    labels: np.ndarray
    """int64 (N,)."""
    protocol: Protocol
    view_seed: int
    test: ImageArrays
    normalisation: Normalisation
    logits: np.ndarray | None
    """fp16 (epochs * N, classes), rows as in `labels.label_geometry`; for stored soft labels."""
    weights: np.ndarray | None
    """(N,), what each image's loss counts, not negative; scaled to mean 1 here. None: all alike."""
    labeller: Labeller | None
    """For online soft labels."""
    device: str
    progress: Progress
    checkpoints: Checkpoints

    @property
    def batch(self) -> int:
        """The protocol's batch, or |S| if that is smaller."""
        return min(self.protocol.batch, len(self.images_u8))


def check(training: Training, model: nn.Module) -> None:
    """Raise InputError for inputs that cannot work, before any training."""
    images, protocol = training.images_u8, training.protocol
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise InputError(f"training images {images.dtype} {images.shape}", "uint8 (N, S, S, C) expected")
    if training.labels.shape != (len(images),):
        raise InputError(f"{len(images)} images with labels of shape {training.labels.shape}")
    if training.test.images.shape[1:] != images.shape[1:] or not len(training.test):
        raise InputError(f"test images {training.test.images.shape} do not match training images {images.shape}")
    check_views(protocol.views, len(images), images.shape[1], training.batch)
    soft = protocol.label == "soft"
    if soft:
        check_parts(protocol.labelling, len(images), training.batch)
    if soft and protocol.label_storage == "online" and training.labeller is None:
        raise InputError("online soft labels need the teacher")
    if soft and protocol.label_storage == "stored":
        rows = protocol.labelled_epochs * len(images)
        if training.logits is None or training.logits.ndim != 2 or len(training.logits) != rows:
            shape = None if training.logits is None else training.logits.shape
            raise InputError(f"stored logits have shape {shape}", f"{rows} rows expected (labelled epochs x images)")
    _check_weights(training.weights, len(images))
    if 1 in (training.batch, len(images) % training.batch):
        _probe_single(model, images)


def _check_weights(weights: np.ndarray | None, images: int) -> None:
    if weights is None:
        return
    usable = weights.shape == (images,) and np.isfinite(weights).all() and (weights >= 0).all() and weights.any()
    if not usable:
        raise InputError(
            f"sample weights of shape {weights.shape} for {images} images", "give finite numbers >= 0, not all zero"
        )


def _probe_single(model: nn.Module, images: np.ndarray) -> None:
    """Some batches hold a single view; refuse a network whose batch norm would then see one value per channel."""
    probe = copy.deepcopy(model).cpu().train()
    try:
        probe(torch.zeros(1, images.shape[3], *images.shape[1:3]))
    except ValueError as error:
        raise InputError(
            "a batch of one view cannot train this network (batch norm over a single value)",
            "use another number of images, batch or student",
        ) from error
