"""Matching a committee's statistics of the real images, one member per iteration.

Belongs here: whose turn it is, the moving averages of the statistics and the distance to their targets, all of it
saved and restored. Does not belong: how moments are taken (feature_statistics.py, real_statistics.py), further losses
and weights (methods/gvbsm, methods/edc).

Source: shaoshitong/G_VBSM_Dataset_Condensation 8dbdeec and shaoshitong/EDC 80116a7, Branch_*/recover/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.methods.request import Request
from dd_assets.shapes import Float, Int
from dd_assets.synthesis.batches import Batch
from dd_assets.synthesis.feature_statistics import Observer, batch_moments, moments_of
from dd_assets.synthesis.real_statistics import PATCH_SIZE
from dd_assets.synthesis.recover import Moment

EmaInit = Literal["first", "zero"]
ClassVariance = Literal["per_image", "pooled"]
PatchClasses = Literal["named", "swapped"]
SWAPPED = {"patch_mean": "patch_var", "patch_var": "patch_mean"}


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How the distance is taken."""

    first_multiplier: float
    """Weight of the first layer's distances, the others count once."""
    momentum: float
    """Share of the moving average that each visit of a member keeps."""
    ema_init: EmaInit
    """A moving average begins with the first value, or with 0 as released."""
    ema_reset: bool
    """Whether each batch begins with no average; as released they go on from the batch before."""
    drop: float = 0.0
    """Probability with which an iteration leaves a convolution out."""
    class_weight: float = 0.0
    """Share of the distance to the statistics of the batch's classes; the rest is to those of the whole set."""
    class_variance: ClassVariance = "per_image"
    """A class's variance: the mean of its images' own, or that of all its pixels together."""
    patch_classes: PatchClasses = "named"
    """swapped: a class's patch means and variances each stand for the other."""


def segment_norms(values: Float[Tensor, " k"], lengths: Int[Tensor, " parts"]) -> Float[Tensor, " parts"]:
    """Euclidean norms of consecutive parts of a vector; the gradient where a norm is 0 is 0."""
    squares = torch.segment_reduce(values * values, "sum", lengths=lengths, unsafe=True)
    positive = squares > 0
    return torch.where(positive, squares, 1).sqrt() * positive


class _Member:
    """One network: the targets as one long vector over layers and moments, the moving average, the hooks."""

    def __init__(self, model: nn.Module, statistics: Mapping[str, np.ndarray], matching: Matching, device: str) -> None:
        self.model, self.statistics, self.matching, self.device = model, statistics, matching, device
        patch = int(statistics[PATCH_SIZE][0])
        self.observer = Observer(
            model, lambda name, layer, x: batch_moments(x, patch if isinstance(layer, nn.Conv2d) else None)
        )
        parts = {
            name: [_of_whole_set(statistics, name, layer, moment) for moment in moments_of(layer)]
            for name, layer in self.observer.layers.items()
        }
        sizes = {name: [len(part) for part in of_layer] for name, of_layer in parts.items()}
        weights = [matching.first_multiplier if at == 0 else 1.0 for at, of in enumerate(sizes.values()) for _ in of]
        self.target = self._vector([part for of_layer in parts.values() for part in of_layer])
        self.lengths = torch.tensor([size for of_layer in sizes.values() for size in of_layer], device=device)
        self.weights = torch.tensor(weights, device=device)
        self.layer_sizes = [sum(of_layer) for of_layer in sizes.values()]
        self.convolutions = np.array([isinstance(layer, nn.Conv2d) for layer in self.observer.layers.values()])
        self.class_target = torch.zeros_like(self.target)
        self.average = torch.zeros_like(self.target)
        self.seen = torch.zeros_like(self.target, dtype=torch.bool)
        self.forget()

    def _vector(self, parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(self.device)

    def forget(self) -> None:
        """Begin without a moving average, or with one of zeros as `ema_init` says."""
        self.average = torch.zeros_like(self.target)
        self.seen = torch.full_like(self.seen, self.matching.ema_init == "zero")

    def prepare(self, labels: np.ndarray) -> None:
        """Class targets for a batch with these labels: the mean over its images of their classes' moments."""
        if self.matching.class_weight == 0:
            return
        parts = []
        for name, layer in self.observer.layers.items():
            for moment in moments_of(layer):
                swapped = self.matching.patch_classes == "swapped"
                value = self.statistics[f"{name}/class_{SWAPPED.get(moment, moment) if swapped else moment}"][labels]
                if moment.endswith("var") and self.matching.class_variance == "pooled":
                    value = value + self.statistics[f"{name}/class_{moment.removesuffix('var')}spread"][labels]
                parts.append(value.mean(axis=0))
        self.class_target = self._vector(parts)

    def forward(self, images: Tensor, kept: np.ndarray) -> tuple[Tensor, Tensor]:
        """Logits (n, classes) and the weighted distance, a scalar; `kept`: bool (layers,), which of them count."""
        self.observer.wanted = kept.tolist()
        logits = self.model(images)
        value = self._averaged(kept)
        distance = (1 - self.matching.class_weight) * self._distance(value, self.target, kept)
        if self.matching.class_weight:
            distance = distance + self.matching.class_weight * self._distance(value, self.class_target, kept)
        return logits, distance

    def _averaged(self, kept: np.ndarray) -> Tensor:
        """The moving average after this batch's moments, with the gradient of those moments alone, undiminished."""
        at, parts = 0, []
        for (name, _), size, keep in zip(self.observer.layers.items(), self.layer_sizes, kept, strict=True):
            parts += self._taken(name) if keep else [self.average[at : at + size]]
            at += size
        current = torch.cat(parts)
        with torch.no_grad():
            now = current.detach()
            blended = torch.lerp(now, self.average, self.matching.momentum)
            updated = torch.where(self.seen, blended, now)
            if kept.all():
                self.average, self.seen = updated, torch.ones_like(self.seen)
            else:
                counted = self._spread(kept)
                self.average, self.seen = torch.where(counted, updated, self.average), self.seen | counted
        return self.average + (current - current.detach())

    def _taken(self, name: str) -> list[Tensor]:
        taken = self.observer.taken.pop(name, None)
        if taken is None:
            raise InputError(f"layer {name!r} takes no part in the model's forward pass", "use another teacher")
        return list(taken)

    def _spread(self, of_layers: np.ndarray) -> Tensor:
        """A flag per layer as one per number of the vector."""
        return torch.from_numpy(np.repeat(of_layers, self.layer_sizes)).to(self.device)

    def _distance(self, value: Tensor, target: Tensor, kept: np.ndarray) -> Tensor:
        apart = target - value
        if not kept.all():
            apart = apart * self._spread(kept)
        return (segment_norms(apart, self.lengths) * self.weights).sum()


def _of_whole_set(statistics: Mapping[str, np.ndarray], name: str, layer: nn.Module, moment: str) -> np.ndarray:
    """A moment of the real set: measured for convolutions, the running one for batch norm."""
    if isinstance(layer, nn.Conv2d):
        return statistics[f"{name}/{moment}"]
    running = getattr(layer, f"running_{moment}")
    if running is None:
        raise InputError("a batch norm layer of a teacher tracks no running statistics", "use another teacher")
    return running.cpu().numpy()


class CommitteeMatcher:
    """A `Memory` of the shared loop: members take turns by a counter that runs on from batch to batch."""

    def __init__(self, request: Request, name: str, matching: Matching) -> None:
        """Load the request's committee and its statistics; raises InputError for a member without layers to match."""
        self.seed, self.name, self.matching = request.seed, name, matching
        self.members = {
            key: _Member(model, request.statistics(key), matching, request.device)
            for key, model in request.committee().items()
        }
        self.counter = 0
        self.turn = next(iter(self.members.values()))
        self.kept = self._kept()

    def start(self, batch: Batch, images: Tensor) -> None:
        """Targets for the batch's classes; the averages begin anew if `ema_reset`."""
        for member in self.members.values():
            member.prepare(batch.labels)
            if self.matching.ema_reset:
                member.forget()

    def see(self, moment: Moment) -> None:
        """The next member's turn, and which of its layers count."""
        self.turn = list(self.members.values())[self.counter % len(self.members)]
        self.kept = self._kept()
        self.counter += 1

    def _kept(self) -> np.ndarray:
        flags = self.turn.convolutions
        if self.matching.drop == 0:
            return np.ones(len(flags), dtype=bool)
        draws = randomness.uniform(len(flags), self.seed, self.name, "drop", self.counter)
        return ~flags | (draws <= 1 - self.matching.drop)

    @contextmanager
    def watching(self) -> Iterator[CommitteeMatcher]:
        """Hooks on every member for as long as the context lasts."""
        with ExitStack() as stack:
            for member in self.members.values():
                stack.enter_context(member.observer)
            yield self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, classes) of the member whose turn it is, and the distance of its statistics, a scalar."""
        return self.turn.forward(images, self.kept)

    @torch.no_grad()
    def look(self, images: Tensor) -> Tensor:
        """Logits of the same member for other images, (n, classes), leaving its statistics as they are."""
        self.turn.observer.paused = True
        try:
            return self.turn.model(images)
        finally:
            self.turn.observer.paused = False

    def pack(self) -> dict[str, np.ndarray]:
        """Counter and moving averages."""
        packed = {"counter": np.array(self.counter)}
        for key, member in self.members.items():
            packed |= {f"{key}/average": member.average.cpu().numpy(), f"{key}/seen": member.seen.cpu().numpy()}
        return packed

    def unpack(self, saved: Mapping[str, np.ndarray], batch: Batch) -> None:
        """Continue from `pack`'s arrays within `batch`."""
        self.counter = int(saved["counter"])
        for key, member in self.members.items():
            member.prepare(batch.labels)
            member.average = torch.tensor(saved[f"{key}/average"], device=member.device)
            member.seen = torch.tensor(saved[f"{key}/seen"], device=member.device)
