"""The optimisation loop that SRe2L and its relatives share: images under a frozen teacher, a batch at a time.

Belongs here: Adam on pixels, shared views, active images, curves and resumption. Does not belong: which images share
a batch and how they begin (batches.py, beginnings.py), a method's loss and schedules, which it states in a `Recovery`
(methods/*/synthesis.py).

Source: VILA-Lab/SRe2L 8d00cba, SRe2L/recover/data_synthesis.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets.errors import InputError
from dd_assets.methods.contract import Precision
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.models.pixels import to_uint8, valid_range
from dd_assets.synthesis.batches import Batch, batches_of, class_major_batches, requested_batches
from dd_assets.synthesis.beginnings import beginning, noise, start_of, starting_from
from dd_assets.synthesis.bn_statistics import BatchNormMatcher
from dd_assets.synthesis.shifts import shifted
from dd_assets.synthesis.views import SharedView, apply_shared_view, draw_shared_view

__all__ = [
    "Batch",
    "Memory",
    "Moment",
    "Objective",
    "Recovery",
    "batches_of",
    "beginning",
    "ce_and_bn",
    "class_major_batches",
    "noise",
    "recover",
    "requested_batches",
    "shared_views",
    "start_of",
    "starting_from",
]

CHECKPOINT_EVERY = 100
"""Iterations between two saved states."""

POINTS = 100
"""The curves have at most about this many points."""


Objective = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(viewed images (n, C, S, S), labels (n,)) to the loss, a scalar, and the figures to record."""
MEMORY = "memory/"
"""Prefix of a method's own arrays in a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What an iteration is about, beyond the viewed images and labels that the loss gets."""

    at: int
    """The iteration within the batch."""
    batch: Batch
    images: Tensor
    """All images of the batch before the step, detached (n, C, S, S)."""
    view: Callable[[Tensor], Tensor]
    """The iteration's view, for other images of the same shape."""


class Memory(Protocol):
    """What a method carries from one iteration to the next beside the images and Adam's moments."""

    def start(self, batch: Batch, images: Tensor) -> None:
        """A batch begins with these images, detached (n, C, S, S); not called where it goes on from a checkpoint."""
        ...

    def see(self, moment: Moment) -> None:
        """The loss of this iteration is about to be computed."""
        ...

    def pack(self) -> Mapping[str, np.ndarray]:
        """Everything a later process needs to go on bit-identically."""
        ...

    def unpack(self, saved: Mapping[str, np.ndarray], batch: Batch) -> None:
        """Continue from `pack`'s arrays within `batch`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What one method asks of the loop."""

    name: str
    """The method, for refusals."""
    iterations: int
    """0 leaves the initial images as they are."""
    batches: Sequence[Batch]
    initial: Callable[[Batch], Tensor]
    """Where a batch starts, normalised float32 (n, C, S, S)."""
    rate: Callable[[int], float]
    """Step size by iteration."""
    view: Callable[[Batch, int], SharedView]
    """The view by batch and iteration; one for all images of the batch."""
    objective: Callable[[Batch], AbstractContextManager[Objective]]
    """The loss of a batch, valid within the context."""
    active: Callable[[Batch, int], np.ndarray | None] = field(default=lambda batch, at: None)
    """Which images the loss sees at an iteration, bool (n,); None for all. The others do not move."""
    figures: tuple[str, ...] = ("ce", "bn_loss")
    """Names of the objective's figures, in the order of the curves."""
    weight: str = "r_bn"
    """The parameter that weighs the distance of statistics, for refusals."""
    shift: Callable[[Batch, int], tuple[int, int]] = field(default=lambda batch, at: (0, 0))
    """A shift down and right in pixels before the view, by batch and iteration; zeros come in from the border."""
    memory: Memory | None = None
    """The method's own state, common to all batches."""
    precision: Precision = "fp32"
    """bf16 is mixed precision: the networks' convolutions and products in bfloat16, everything else in float32."""


def shared_views(request: Request, name: str, floor: Callable[[int], float]) -> Callable[[Batch, int], SharedView]:
    """Views by batch and iteration under the parameters' crop, hflip and jitter; `floor` gives the crop's lower bound.

    Mirrors are drawn only where the facts say that a mirrored image keeps its class.
    """
    parameters, facts = request.parameters, request.facts

    def view(batch: Batch, at: int) -> SharedView:
        return draw_shared_view(
            facts.size,
            request.seed,
            *(name, "view", *batch.key, at),
            crop_scale=(floor(at), 1.0) if parameters.crop else None,
            hflip=parameters.hflip and facts.hflip,
            jitter=parameters.jitter,
            symmetric=parameters.jitter_symmetric,
        )

    return view


@contextmanager
def ce_and_bn(
    teacher: nn.Module, r_bn: float, first_multiplier: float, variance_weight: float = 1.0
) -> Iterator[Objective]:
    """CE + r_bn · BN distance of one teacher; figures ce and bn_loss, the latter without its weight.

    Raises InputError for a teacher without batch norm.
    """
    with BatchNormMatcher(teacher, first_multiplier, variance_weight) as matcher:

        def objective(images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            ce = F.cross_entropy(teacher(images), labels)
            bn = matcher.loss()
            return ce + r_bn * bn, {"ce": ce, "bn_loss": bn}

        yield objective


class _Running:
    """One batch under optimisation: images, Adam's moments and the curves, saved and restored as arrays."""

    def __init__(self, request: Request, recovery: Recovery, batch: Batch) -> None:
        self.recovery, self.batch, self.device = recovery, batch, request.device
        self.every = max(1, recovery.iterations // POINTS)
        self.half = recovery.precision == "bf16"
        self.images = recovery.initial(batch).to(request.device).requires_grad_()
        self.labels = torch.from_numpy(batch.labels).to(request.device)
        # The rate is set before every step.
        self.optimiser = torch.optim.Adam([self.images], lr=0.0, betas=(0.5, 0.9), eps=1e-8)
        self.low, self.high = valid_range(request.facts.normalisation, request.device)
        self.iteration = 0
        self.curve: list[list[float]] = []

    def step(self, objective: Objective) -> None:
        """One iteration: shared view of the active images, loss, Adam step, clamp to valid pixels."""
        at = self.iteration
        for group in self.optimiser.param_groups:
            group["lr"] = self.recovery.rate(at)
        images, labels = self._active(at)
        self.optimiser.zero_grad(set_to_none=True)
        view = self._view(at)
        if self.recovery.memory:
            self.recovery.memory.see(Moment(at=at, batch=self.batch, images=self.images.detach(), view=view))
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.half):
            loss, figures = objective(view(images), labels)
        loss.backward()
        # An inactive image has gradient 0 and moments 0, so that Adam adds exactly 0 to it.
        self.optimiser.step()
        with torch.no_grad():
            torch.maximum(torch.minimum(self.images, self.high), self.low, out=self.images)
        if at % self.every == 0 or at + 1 == self.recovery.iterations:
            self._record(at, [float(figures[name].detach()) for name in self.recovery.figures])
        self.iteration += 1

    def _view(self, at: int) -> Callable[[Tensor], Tensor]:
        down, right = self.recovery.shift(self.batch, at)
        shared = self.recovery.view(self.batch, at)

        def view(images: Tensor) -> Tensor:
            return apply_shared_view(shifted(images, down, right), shared)

        return view

    def _active(self, at: int) -> tuple[Tensor, Tensor]:
        mask = self.recovery.active(self.batch, at)
        if mask is None:
            return self.images, self.labels
        rows = torch.from_numpy(np.flatnonzero(mask)).to(self.device)
        return self.images[rows], self.labels[rows]

    def _record(self, at: int, values: list[float]) -> None:
        if not all(map(math.isfinite, values)):
            stated = ", ".join(f"{name} {value}" for name, value in zip(self.recovery.figures, values, strict=True))
            raise InputError(
                f"{self.recovery.name}: the loss is not finite at iteration {at} ({stated})",
                f"lower learning_rate or {self.recovery.weight}",
            )
        self.curve.append([at, *values])

    def pack(self) -> dict[str, np.ndarray]:
        """Everything a later process needs to go on bit-identically."""
        moments = self.optimiser.state[self.images]
        memory = self.recovery.memory.pack() if self.recovery.memory else {}
        return {
            **{f"{MEMORY}{name}": values for name, values in memory.items()},
            "images": self.images.detach().cpu().numpy(),
            "exp_avg": moments["exp_avg"].cpu().numpy(),
            "exp_avg_sq": moments["exp_avg_sq"].cpu().numpy(),
            "iteration": np.array(self.iteration),
            "curve": np.array(self.curve),
        }

    def unpack(self, saved: dict[str, np.ndarray]) -> None:
        """Continue from `pack`'s arrays."""
        with torch.no_grad():
            self.images.copy_(torch.tensor(saved["images"]))
        self.iteration = int(saved["iteration"])
        self.optimiser.state[self.images] = {
            "step": torch.tensor(float(self.iteration)),
            "exp_avg": torch.tensor(saved["exp_avg"], device=self.device),
            "exp_avg_sq": torch.tensor(saved["exp_avg_sq"], device=self.device),
        }
        self.curve = saved["curve"].tolist()
        if self.recovery.memory:
            own = {name.removeprefix(MEMORY): values for name, values in saved.items() if name.startswith(MEMORY)}
            self.recovery.memory.unpack(own, self.batch)


def recover(request: Request, recovery: Recovery) -> SyntheticImages:
    """Optimise every batch and keep the last iterate; rows ordered by (IPC index, class) whatever the batching.

    Curves: iteration and the recovery's figures, means over the batches. Resumes from `request.checkpoints` within a
    batch. Raises InputError for a loss that is not finite.
    """
    saved = request.checkpoints.load() or {}
    finished = [saved["finished"]] if "finished" in saved else []
    curves = [saved["curves"]] if "curves" in saved else []
    for number in range(int(saved.get("batch", 0)), len(recovery.batches)):
        running = _Running(request, recovery, recovery.batches[number])
        if int(saved.get("batch", -1)) == number and "images" in saved:
            running.unpack(saved)
        elif recovery.memory:
            recovery.memory.start(running.batch, running.images.detach())
        done = {"batch": np.array(number)}
        if finished:
            done |= {"finished": np.concatenate(finished), "curves": np.concatenate(curves)}
        _run(running, request, number, done)
        finished.append(to_uint8(running.images, request.facts.normalisation))
        curves.append(np.array(running.curve)[None])
    labels = np.concatenate([batch.labels for batch in recovery.batches])
    order = np.lexsort((labels, np.concatenate([batch.indices for batch in recovery.batches])))
    points = np.concatenate(curves).mean(axis=0).T if recovery.iterations else []
    names = ("iteration", *recovery.figures) if recovery.iterations else ()
    return SyntheticImages(
        images=np.concatenate(finished)[order],
        labels=labels[order],
        curves=dict(zip(names, points, strict=True)),
    )


def _run(running: _Running, request: Request, number: int, done: dict[str, np.ndarray]) -> None:
    """All remaining iterations of one batch, saving the state every CHECKPOINT_EVERY of them."""
    recovery, total = running.recovery, running.recovery.iterations
    if running.iteration >= total:
        return
    with recovery.objective(running.batch) as objective:
        while running.iteration < total:
            running.step(objective)
            if running.iteration % CHECKPOINT_EVERY == 0 or running.iteration == total:
                request.checkpoints.save({**done, **running.pack()})
                figures = dict(zip(recovery.figures, running.curve[-1][1:], strict=True))
                request.progress(number * total + running.iteration, len(recovery.batches) * total, **figures)
