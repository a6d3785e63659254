"""The digits data and a teacher trained on them, shared by the tests.

Belongs here: one cached split and one cached short training. Does not belong: assertions.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.methods.contract import Facts
from dd_assets.models.architectures import build_model
from dd_assets.models.registry import TeacherRecipe
from dd_assets.models.training import TeacherResult, train_teacher

NORMALISATION = Normalisation(mean=(0.3054,), std=(0.3760,))
# Nets this small are slower on two threads than on one.
torch.set_num_threads(1)

RECIPE = TeacherRecipe(epochs=4, batch=64, learning_rate=0.1, pad_crop=1, hflip=False)


@cache
def digits() -> tuple[ImageArrays, ImageArrays]:
    """The 8x8 digits as uint8 (n, 8, 8, 1), split 80 to 20 with equal class shares."""
    data = load_digits()
    images = np.round(data.images * 255 / 16).astype(np.uint8)[..., None]
    labels = data.target.astype(np.int64)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return ImageArrays(images[train], labels[train]), ImageArrays(images[test], labels[test])


def facts() -> Facts:
    """What a method may know of the digits."""
    train, _ = digits()
    counts = tuple(int(count) for count in np.bincount(train.labels, minlength=10))
    return Facts(
        setting="digits",
        classes=tuple(str(digit) for digit in range(10)),
        train_counts=counts,
        size=8,
        channels=1,
        normalisation=NORMALISATION,
        hflip=False,
    )


@cache
def trained() -> TeacherResult:
    """A teacher of four epochs, about two seconds."""
    model = build_model("convnet2_w64", classes=10, channels=1, size=8, seed=0)
    return train_teacher(model, *digits(), RECIPE, NORMALISATION, seed=0)


def teacher() -> torch.nn.Module:
    """A frozen copy of the trained teacher in evaluation mode."""
    model = build_model("convnet2_w64", classes=10, channels=1, size=8, seed=0)
    model.load_state_dict(trained().state)
    return model.eval().requires_grad_(False)
