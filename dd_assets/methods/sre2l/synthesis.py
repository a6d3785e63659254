"""SRe2L's recover stage.

Belongs here: the optimisation loop, its batches and its resumption. Does not belong: BN distances and views
(dd_assets/synthesis), numbers (recipe.py), relabelling and evaluation (dd_assets/evaluation).

Source: VILA-Lab/SRe2L 8d00cba, SRe2L/recover/data_synthesis.py and *small_dataset/recover_cifar.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.methods.contract import Request, SyntheticImages
from dd_assets.models.pixels import to_uint8, valid_range
from dd_assets.synthesis.bn_statistics import BatchNormMatcher
from dd_assets.synthesis.views import apply_shared_view, draw_shared_view

CHECKPOINT_EVERY = 100
"""Iterations between two saved states."""

POINTS = 100
"""The curves have at most about this many points."""


def learning_rate_at(iteration: int, iterations: int, base: float) -> float:
    """Half a cosine read before the step: exactly `base` at iteration 0, still above 0 at the last one."""
    return base * 0.5 * (1 + math.cos(math.pi * iteration / iterations))


@dataclass(frozen=True)
class Batch:
    """Images optimised together: IPC index and class of each, int64 (n,)."""

    indices: np.ndarray
    labels: np.ndarray


def batches_of(first: int, last: int, classes: int, size: int, layout: str) -> list[Batch]:
    """The batches of IPC indices `first` to `last` - 1, in row order (index, class).

    "one_per_class": chunks of `size` classes of one index, as the original. "whole_set": chunks of `size` rows of the
    whole set, so that ten classes may fill a batch of one hundred; the batch statistics then mix several images of a
    class, and image k depends on how many images there are.
    """
    indices, labels = np.divmod(np.arange(first * classes, last * classes), classes)
    span = classes if layout == "one_per_class" else len(labels)
    starts = [group + offset for group in range(0, len(labels), span) for offset in range(0, span, size)]
    ends = [min(start + size, (start // span + 1) * span) for start in starts]
    return [Batch(indices[start:end], labels[start:end]) for start, end in zip(starts, ends, strict=True)]


def initial_images(request: Request, batch: Batch) -> Tensor:
    """N(0, 1) in normalised space, float32 (n, C, S, S), one stream per (index, class), hence free of the batching."""
    shape = (request.facts.channels, request.facts.size, request.facts.size)
    values = [
        randomness.normal(int(np.prod(shape)), request.seed, "sre2l", "init", int(index), int(label)).reshape(shape)
        for index, label in zip(batch.indices, batch.labels, strict=True)
    ]
    return torch.from_numpy(np.stack(values))


class _Recovery:
    """One batch under optimisation: images, Adam's moments and the loss curves, saved and restored as arrays."""

    def __init__(self, request: Request, teacher: nn.Module, batch: Batch) -> None:
        self.request, self.teacher, self.batch = request, teacher, batch
        self.parameters = request.parameters
        self.every = max(1, self.parameters.iterations // POINTS)
        self.images = initial_images(request, batch).to(request.device).requires_grad_()
        self.labels = torch.from_numpy(batch.labels).to(request.device)
        self.optimiser = torch.optim.Adam([self.images], lr=self.parameters.learning_rate, betas=(0.5, 0.9), eps=1e-8)
        self.low, self.high = valid_range(request.facts.normalisation, request.device)
        self.iteration = 0
        self.curve: list[list[float]] = []

    def step(self, matcher: BatchNormMatcher) -> None:
        """One iteration: shared view, CE + r_bn · BN distance, Adam step, clamp to valid pixels."""
        parameters, at = self.parameters, self.iteration
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(at, parameters.iterations, parameters.learning_rate)
        view = draw_shared_view(
            self.request.facts.size,
            self.request.seed,
            *("sre2l", "view", int(self.batch.indices[0]), int(self.batch.labels[0]), at),
            crop_scale=(parameters.crop_scale_min, 1.0) if parameters.crop else None,
            hflip=parameters.hflip and self.request.facts.hflip,
            jitter=parameters.jitter,
            symmetric=parameters.jitter_symmetric,
        )
        self.optimiser.zero_grad(set_to_none=True)
        ce = F.cross_entropy(self.teacher(apply_shared_view(self.images, view)), self.labels)
        bn = matcher.loss()
        (ce + parameters.r_bn * bn).backward()
        self.optimiser.step()
        with torch.no_grad():
            torch.maximum(torch.minimum(self.images, self.high), self.low, out=self.images)
        if at % self.every == 0 or at + 1 == parameters.iterations:
            self._record(at, float(ce.detach()), float(bn.detach()))
        self.iteration += 1

    def _record(self, at: int, ce: float, bn: float) -> None:
        if not math.isfinite(ce + bn):
            raise InputError(
                f"sre2l: the loss is not finite at iteration {at} (ce {ce}, bn {bn})", "lower learning_rate or r_bn"
            )
        self.curve.append([at, ce, bn])

    def pack(self) -> dict[str, np.ndarray]:
        """Everything a later process needs to go on bit-identically."""
        moments = self.optimiser.state[self.images]
        return {
            "images": self.images.detach().cpu().numpy(),
            "exp_avg": moments["exp_avg"].cpu().numpy(),
            "exp_avg_sq": moments["exp_avg_sq"].cpu().numpy(),
            "iteration": np.array(self.iteration),
            "curve": np.array(self.curve),
        }

    def unpack(self, saved: dict[str, np.ndarray]) -> None:
        """Continue from `pack`'s arrays."""
        device = self.request.device
        with torch.no_grad():
            self.images.copy_(torch.tensor(saved["images"]))
        self.iteration = int(saved["iteration"])
        self.optimiser.state[self.images] = {
            "step": torch.tensor(float(self.iteration)),
            "exp_avg": torch.tensor(saved["exp_avg"], device=device),
            "exp_avg_sq": torch.tensor(saved["exp_avg_sq"], device=device),
        }
        self.curve = saved["curve"].tolist()


def synthesise(request: Request) -> SyntheticImages:
    """Optimise noise until the teacher recognises it and its BN statistics agree; the last iterate is kept.

    Curves: iteration, ce and bn_loss (un-weighted), means over the shard's batches. Resumes from
    `request.checkpoints` within a batch. Raises InputError for a teacher without batch norm, a loss that is not
    finite, and layout "whole_set" asked for a part of the set.
    """
    parameters, facts = request.parameters, request.facts
    if not parameters.per_index and (request.first, request.last) != (0, request.ipc):
        raise InputError("sre2l: layout 'whole_set' cannot be computed in parts", "request all IPC indices at once")
    batches = batches_of(request.first, request.last, len(facts.classes), parameters.batch, parameters.batch_layout)
    teacher = request.teacher()
    saved = request.checkpoints.load() or {}
    finished = [saved["finished"]] if "finished" in saved else []
    curves = [saved["curves"]] if "curves" in saved else []
    for number in range(int(saved.get("batch", 0)), len(batches)):
        recovery = _Recovery(request, teacher, batches[number])
        if int(saved.get("batch", -1)) == number and "images" in saved:
            recovery.unpack(saved)
        done = {"batch": np.array(number)}
        if finished:
            done |= {"finished": np.concatenate(finished), "curves": np.concatenate(curves)}
        _run(recovery, request, number, len(batches), done)
        finished.append(to_uint8(recovery.images, facts.normalisation))
        curves.append(np.array(recovery.curve)[None])
    iteration, ce, bn_loss = np.concatenate(curves).mean(axis=0).T
    return SyntheticImages(
        images=np.concatenate(finished),
        labels=np.concatenate([batch.labels for batch in batches]),
        curves={"iteration": iteration, "ce": ce, "bn_loss": bn_loss},
    )


def _run(recovery: _Recovery, request: Request, number: int, batches: int, done: dict[str, np.ndarray]) -> None:
    """All remaining iterations of one batch, saving the state every CHECKPOINT_EVERY of them."""
    iterations = request.parameters.iterations
    with BatchNormMatcher(recovery.teacher, request.parameters.first_bn_multiplier) as matcher:
        while recovery.iteration < iterations:
            recovery.step(matcher)
            if recovery.iteration % CHECKPOINT_EVERY == 0 or recovery.iteration == iterations:
                _, ce, bn = recovery.curve[-1]
                request.checkpoints.save({**done, **recovery.pack()})
                request.progress(number * iterations + recovery.iteration, batches * iterations, ce=ce, bn_loss=bn)
