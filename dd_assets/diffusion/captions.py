"""Captions of training images, from what can be measured in them.

Belongs here: the measured axes, which words stand out, the captions of a training set and their embeddings. Does not
belong: the words themselves (wording.py), encoders (text.py).

No captions come with the small datasets, so that words beyond the class would mean nothing to a generator. Here each
image is compared with the others of its class on a few axes, and the axis on which it stands out most gives the word:
"leaning right", "bright". A prompt with that word then has something to ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generator import TextEncoder
from dd_assets.diffusion.wording import COLOUR, CONTENT, STYLE, compose, words
from dd_assets.shapes import Float, Int, UInt8


def measure(images: UInt8[np.ndarray, "n h w c"]) -> dict[str, np.ndarray]:
    """Each axis of an image, float64 (n,): larger is the second word of its pair.

    Slant is minus the covariance of column and row under the image's light (rows count downwards), spread the standard
    deviation of the column under it, tone the mean level, contrast the standard deviation of levels, warmth red minus
    blue (0 for one channel).
    """
    levels = images.astype(np.float64) / 255
    light = levels.mean(axis=3)
    total = light.sum(axis=(1, 2)) + 1e-9
    rows, columns = (np.arange(side) for side in light.shape[1:])

    def mean(values: np.ndarray) -> np.ndarray:
        return (light * values).sum(axis=(1, 2)) / total

    middle_row, middle_column = mean(rows[:, None]), mean(columns[None, :])
    off_row = rows[None, :, None] - middle_row[:, None, None]
    off_column = columns[None, None, :] - middle_column[:, None, None]
    return {
        "slant": -mean(off_row * off_column),
        "spread": np.sqrt(mean(off_column**2)),
        "tone": light.mean(axis=(1, 2)),
        "contrast": light.std(axis=(1, 2)),
        "warmth": levels[..., 0].mean(axis=(1, 2)) - levels[..., -1].mean(axis=(1, 2)),
    }


def outstanding(
    axes: Mapping[str, np.ndarray], labels: np.ndarray, vocabulary: Mapping[str, tuple[str, str]]
) -> np.ndarray:
    """The word of the axis on which each image is farthest from the middle rank of its class, str (n,)."""
    middle = np.zeros((len(vocabulary), len(labels)))
    for row, axis in enumerate(vocabulary):
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            ranks = np.argsort(np.argsort(axes[axis][own], kind="stable"), kind="stable")
            middle[row, own] = (ranks + 0.5) / len(own) - 0.5
    farthest = np.abs(middle).argmax(axis=0)
    pairs = np.array(list(vocabulary.values()))
    high = (middle[farthest, np.arange(len(labels))] > 0).astype(int)
    return pairs[farthest, high]


def captions_of(train: ImageArrays, classes: Sequence[str], defined: Sequence[str]) -> np.ndarray:
    """Eight captions of each image, str (n, 8): with and without the definition, the content and the style.

    All of them are trained, so that a prompt may leave out what it does not ask for.
    """
    axes = measure(train.images)
    styles = {**STYLE, **(COLOUR if train.images.shape[-1] == 3 else {})}
    content, style = (outstanding(axes, train.labels, vocabulary) for vocabulary in (CONTENT, styles))
    made = []
    for label, shape, look in zip(train.labels, content, style, strict=True):
        subjects = (words(classes[label]), compose(words(classes[label]), defined[label]))
        made.append([compose(subject, c, s) for subject in subjects for c in ("", shape) for s in ("", look)])
    return np.array(made)


@dataclass(frozen=True, eq=False, kw_only=True)
class Captions:
    """The captions of a training set, embedded."""

    table: Float[Tensor, "m 1 d"]
    """Embeddings of the different captions; the last is that of the empty prompt, which stands for no label."""
    ids: Int[Tensor, "v n k"]
    """Of each view and image: which of them are its own."""

    def condition(self, views: Tensor, rows: Tensor, dropped: Tensor, iteration: int, seed: int) -> Condition:
        """One caption per row, drawn from (seed, "generator", "caption", iteration), or none where it is dropped."""
        drawn = randomness.integers(self.ids.shape[2], len(rows), seed, "generator", "caption", iteration)
        found = self.ids[views, rows, torch.from_numpy(drawn).to(rows.device)]
        return Condition(text=self.table[torch.where(dropped, len(self.table) - 1, found)])


def embedded(
    train: ImageArrays, views: int, classes: Sequence[str], defined: Sequence[str], encoder: TextEncoder
) -> Captions:
    """The captions of images as they are and, with two views, mirrored: what leans left then leans right."""
    mirrored = ImageArrays(np.ascontiguousarray(train.images[:, :, ::-1]), train.labels)
    made = np.stack([captions_of(part, classes, defined) for part in (train, mirrored)[:views]])
    different, ids = np.unique(made, return_inverse=True)
    table = encoder([*map(str, different), ""])
    return Captions(table=table, ids=torch.from_numpy(ids.reshape(made.shape)).to(table.device))
