"""Scoring patches of real images with a teacher, and stitching them.

Belongs here: padding, realism scores, the choice of crops and images, the grid. Does not belong: which images are
candidates and how crops are drawn (the method's synthesis.py).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets.methods.contract import Precision
from dd_assets.models.classifier import Penultimate, classifier_of
from dd_assets.models.pixels import images_together
from dd_assets.shapes import Float, Int

ScoreDtype = Literal["float64", "float32"]


def centre_pad(patches: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "n c {size} {size}"]:
    """Patches (N, C, h, w) in the middle of zeros (N, C, size, size); the odd pixel goes to the bottom and right.

    Zeros in normalised space, that is the mean colour, not black (RDED:synthesize/utils.py).
    """
    top, left = (size - patches.shape[-2]) // 2, (size - patches.shape[-1]) // 2
    bottom, right = size - patches.shape[-2] - top, size - patches.shape[-1] - left
    return F.pad(patches, (left, right, top, bottom))


def cross_entropy_scores(logits: Float[Tensor, "n classes"], label: int, dtype: ScoreDtype) -> Float[Tensor, " n"]:
    """-log softmax_label of each row, logits (N, classes) to (N,) in `dtype`; lower is more realistic.

    A teacher that fits its training set gives a cross-entropy of exactly 0 in float32 to dozens of patches, and the
    choice among them would be decided by their order. In float64 it is computed as log(1 + exp(-margin)) of the
    log-odds margin z_y - logsumexp(z_others), which keeps them apart down to 1e-300.
    """
    if dtype == "float32":
        return -F.log_softmax(logits.float(), dim=1)[:, label]
    wide = logits.double()
    others = wide.clone()
    others[:, label] = -torch.inf
    margin = wide[:, label] - torch.logsumexp(others, dim=1)
    # log1p, because torch's softplus rounds to 0 where exp(-margin) is below the spacing at 1.
    return torch.where(margin > 0, torch.log1p(torch.exp(-margin)), -margin + torch.log1p(torch.exp(margin)))


@torch.no_grad()
def score_patches(
    teacher: nn.Module,
    patches: Float[Tensor, "n c h w"],
    label: int,
    size: int,
    dtype: ScoreDtype,
    batch: int = 0,
    precision: Precision = "fp32",
) -> Float[Tensor, " n"]:
    """Scores (N,) of normalised patches (N, C, h, w), each zero-padded to `size` before the teacher sees it.

    batch: patches per forward pass; 0 is what suits the device. precision: bf16 is mixed precision up to the teacher's
    classifier, which stays in float32: with the 8 bits of a bfloat16 logit dozens of patches would tie.
    """
    device = patches.device.type
    half = precision == "bf16"
    network = Penultimate(teacher) if half else teacher
    scores = []
    for part in patches.split(batch or images_together(device, size)):
        with torch.autocast(device, torch.bfloat16, enabled=half):
            answers = network(centre_pad(part, size))
        logits = classifier_of(teacher)(answers.float()) if half else answers
        scores.append(cross_entropy_scores(logits, label, dtype))
    return torch.cat(scores)


def choose(
    scores: Float[Tensor, "images crops"], count: int
) -> tuple[Int[Tensor, " {count}"], Int[Tensor, " {count}"]]:
    """The best crop of each image, then the best images: scores (images, crops) to image and crop index (count,).

    The order matters: one image gives at most one patch (RDED:synthesize/utils.py). Ascending, ties by index.
    """
    best, crop = scores.min(dim=1)
    image = torch.sort(best, stable=True).indices[:count]
    return image, crop[image]


def stitch(patches: Tensor, factor: int) -> Tensor:
    """Sorted patches (factor² · n, C, h, w) to n grids (n, C, factor·h, factor·w).

    Grid i holds patches i, n + i, 2n + i … in row-major cells, so the most confident patch is always at the top left.
    """
    cells = factor * factor
    count, (channels, height, width) = len(patches) // cells, patches.shape[1:]
    grid = patches.view(factor, factor, count, channels, height, width)
    return grid.permute(2, 3, 0, 4, 1, 5).reshape(count, channels, factor * height, factor * width)
