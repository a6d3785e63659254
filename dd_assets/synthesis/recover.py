"""The optimisation loop that SRe2L and its relatives share: images under a frozen teacher, a batch at a time.

Belongs here: Adam on pixels, shared views, active images, curves and resumption. Does not belong: what a method
starts from, its loss and its schedules, which it states in a `Recovery` (methods/*/synthesis.py).

Source: VILA-Lab/SRe2L 8d00cba, SRe2L/recover/data_synthesis.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.methods.contract import Request, SyntheticImages
from dd_assets.models.pixels import normalised, to_uint8, valid_range
from dd_assets.synthesis.bn_statistics import BatchNormMatcher
from dd_assets.synthesis.views import SharedView, apply_shared_view, draw_shared_view

CHECKPOINT_EVERY = 100
"""Iterations between two saved states."""

POINTS = 100
"""The curves have at most about this many points."""


Objective = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(viewed images (n, C, S, S), labels (n,)) to the loss, a scalar, and the figures to record."""


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


def noise(request: Request, batch: Batch, name: str) -> Tensor:
    """N(0, 1) in normalised space, float32 (n, C, S, S), one stream per (index, class), hence free of the batching."""
    shape = (request.facts.channels, request.facts.size, request.facts.size)
    values = [
        randomness.normal(int(np.prod(shape)), request.seed, name, "init", int(index), int(label)).reshape(shape)
        for index, label in zip(batch.indices, batch.labels, strict=True)
    ]
    return torch.from_numpy(np.stack(values))


def starting_from(start: SyntheticImages, request: Request) -> Callable[[Batch], Tensor]:
    """Images of the request, rows in (index, class) order, as the normalised beginning of any batch of them.

    8-bit images survive the way to network input and back exactly, so that no iterations give back `start`.
    """
    classes = len(request.facts.classes)

    def initial(batch: Batch) -> Tensor:
        rows = (batch.indices - request.first) * classes + batch.labels
        return normalised(start.images[rows], request.facts.normalisation, request.device)

    return initial


def start_of(request: Request, real: Callable[[], SyntheticImages] | None = None) -> SyntheticImages | None:
    """The images that `parameters.init` names: None for noise, `real()` for "real", else another method's rows.

    Raises InputError for "real" where the method has no choice of real images of its own (`real` is None).
    """
    init = request.parameters.init
    if init == "noise":
        return None
    if init == "real":
        if real is None:
            raise InputError("this method has no choice of real images of its own", "use init: random")
        return real()
    rows = np.arange((request.last - request.first) * len(request.facts.classes))
    return SyntheticImages(images=request.initial(), labels=rows % len(request.facts.classes))


def beginning(request: Request, name: str, start: SyntheticImages | None) -> Callable[[Batch], Tensor]:
    """Where a batch begins, normalised: rows of `start`, or noise of the method's own stream where that is None."""
    return starting_from(start, request) if start else lambda batch: noise(request, batch, name)


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
        loss, figures = objective(apply_shared_view(images, self.recovery.view(self.batch, at)), labels)
        loss.backward()
        # An inactive image has gradient 0 and moments 0, so that Adam adds exactly 0 to it.
        self.optimiser.step()
        with torch.no_grad():
            torch.maximum(torch.minimum(self.images, self.high), self.low, out=self.images)
        if at % self.every == 0 or at + 1 == self.recovery.iterations:
            self._record(at, [float(figures[name].detach()) for name in self.recovery.figures])
        self.iteration += 1

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
                "lower learning_rate or r_bn",
            )
        self.curve.append([at, *values])

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
        with torch.no_grad():
            self.images.copy_(torch.tensor(saved["images"]))
        self.iteration = int(saved["iteration"])
        self.optimiser.state[self.images] = {
            "step": torch.tensor(float(self.iteration)),
            "exp_avg": torch.tensor(saved["exp_avg"], device=self.device),
            "exp_avg_sq": torch.tensor(saved["exp_avg_sq"], device=self.device),
        }
        self.curve = saved["curve"].tolist()


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
