"""EDC's recovery: category-aware statistics of a committee, from real images, with a flatness term.

Belongs here: patch shuffle, image average, flatness and what EDC asks of the shared loop. Does not belong: the loop and
statistics (dd_assets/synthesis), numbers (recipe.py), ensembled labels (dd_assets/evaluation).

Source: Shao et al., NeurIPS 2024, arXiv 2404.13733; shaoshitong/EDC 80116a7, Branch_*/recover/recover.py, utils.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.methods.edc.recipe import Parameters
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.shapes import Float
from dd_assets.synthesis.committee_matching import CommitteeMatcher, Matching
from dd_assets.synthesis.recover import (
    Batch,
    Moment,
    Objective,
    Recovery,
    beginning,
    class_major_batches,
    recover,
    shared_views,
    start_of,
)
from dd_assets.synthesis.schedules import learning_rate_at


def flatness(
    logits: Float[Tensor, "n classes"], average: Float[Tensor, "n classes"], tau: float, direction: str
) -> Float[Tensor, ""]:
    """How far the teacher's view of the images is from that of their moving average, both softened by `tau`.

    "paper": KL(p ‖ p_average), the mean over images. "code": KL(p_average ‖ p) as the CIFAR and Tiny-ImageNet branches
    compute it behind a flag, the mean over images and classes. `average` is a constant.
    """
    own, other = F.log_softmax(logits / tau, dim=1), F.log_softmax(average.detach() / tau, dim=1)
    if direction == "paper":
        return F.kl_div(other, own, reduction="batchmean", log_target=True)
    return F.kl_div(own, other, reduction="mean", log_target=True)


def shuffled(images: np.ndarray, factor: int, seed: int, first: int, classes: int) -> np.ndarray:
    """Images (rows, H, W, C) with `factor` vertical strips in another order, then horizontal ones, each image its own.

    So that only factor! ² of the arrangements occur, as in RDED. A side that `factor` does not divide leaves its
    remainder in the last strip. Released EDC joins the strips in their old order, which does nothing.
    """
    if factor == 1:
        return images
    made = images.copy()
    for row in range(len(images)):
        index, label = divmod(row, classes)
        for axis in (1, 0):
            order = randomness.permutation(factor, seed, "edc", "shuffle", first + index, label, axis)
            side = made[row].shape[axis]
            ends = [*range(side // factor, side // factor * factor, side // factor), side]
            strips = np.split(np.arange(side), ends[:-1])
            made[row] = np.take(made[row], np.concatenate([strips[place] for place in order]), axis=axis)
    return made


class ImageAverage:
    """A `Memory`: the committee's, and a moving average of the images, seen through the views that they get."""

    def __init__(self, matcher: CommitteeMatcher, beta: float) -> None:
        self.matcher, self.beta = matcher, beta
        self.average = torch.zeros(0)
        self.viewed = torch.zeros(0)

    def start(self, batch: Batch, images: Tensor) -> None:
        """The average begins as the batch's first images."""
        self.matcher.start(batch, images)
        self.average = images.clone()

    def see(self, moment: Moment) -> None:
        """View the average as the images are viewed, then move it towards them."""
        self.matcher.see(moment)
        self.viewed = moment.view(self.average)
        self.average = torch.lerp(moment.images, self.average, self.beta)

    def pack(self) -> dict[str, np.ndarray]:
        """The committee's state and the average."""
        return {**self.matcher.pack(), "images": self.average.cpu().numpy()}

    def unpack(self, saved: Mapping[str, np.ndarray], batch: Batch) -> None:
        """Continue from `pack`'s arrays within `batch`."""
        self.matcher.unpack(saved, batch)
        self.average = torch.tensor(saved["images"], device=self.matcher.turn.device)


def _matching(parameters: Parameters) -> Matching:
    return Matching(
        first_multiplier=parameters.first_multiplier,
        momentum=parameters.momentum,
        ema_init=parameters.ema_init,
        ema_reset=parameters.ema_reset,
        class_weight=parameters.class_weight,
        class_variance=parameters.class_variance,
        patch_classes=parameters.patch_classes,
    )


def _beginning(request: Request) -> SyntheticImages | None:
    """The images that `parameters.init` names, patches shuffled, or None for noise."""
    start = start_of(request)
    if start is None:
        return None
    classes, factor = len(request.facts.classes), request.parameters.patch_shuffle
    return dataclasses.replace(start, images=shuffled(start.images, factor, request.seed, request.first, classes))


def synthesise(request: Request) -> SyntheticImages:
    """Optimise another method's images under CE + r_loss · distance + flatness, members taking turns.

    A shard is the whole set. Curves: iteration, ce, feature_loss and flatness (both without their weights; flatness 0
    where it is off), means over the batches. Resumes from `request.checkpoints` within a batch; iterations 0 gives
    the images begun from. Raises InputError for a part of the set, for init "real" (methods choose real images), for a
    member without layers to match and for a loss that is not finite.
    """
    parameters, total = request.parameters, request.parameters.iterations
    if (request.first, request.last) != (0, request.ipc):
        raise InputError("edc: cannot be computed in parts", "request all IPC indices at once")
    classes, start = len(request.facts.classes), _beginning(request)
    if total == 0 and start is not None:
        return start
    matcher = CommitteeMatcher(request, "edc", _matching(parameters))
    memory = ImageAverage(matcher, parameters.flatness_beta)
    flat = parameters.flatness != "off"

    def loss(images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits, distance = matcher.forward(images)
        ce, flat_loss = F.cross_entropy(logits, labels), images.new_zeros(())
        if flat:
            flat_loss = flatness(logits, matcher.look(memory.viewed), parameters.flatness_tau, parameters.flatness)
        figures = {"ce": ce, "feature_loss": distance, "flatness": flat_loss}
        return ce + parameters.r_loss * distance + parameters.flatness_weight * flat_loss, figures

    @contextmanager
    def objective(batch: Batch) -> Iterator[Objective]:
        with matcher.watching():
            yield loss

    return recover(
        request,
        Recovery(
            name="edc",
            precision=parameters.precision,
            iterations=total,
            batches=class_major_batches(request.ipc, classes, parameters.batch or request.ipc * classes, whole=False),
            initial=beginning(request, "edc", start),
            rate=lambda at: learning_rate_at(at, total, parameters.learning_rate),
            view=shared_views(request, "edc", lambda at: parameters.crop_scale_min),
            objective=objective,
            figures=("ce", "feature_loss", "flatness"),
            weight="r_loss",
            memory=memory if flat else matcher,
        ),
    )
