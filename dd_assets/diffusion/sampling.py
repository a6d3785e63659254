"""The one sampling loop, and what a guidance is.

Belongs here: DDIM and ancestral steps, classifier-free guidance, starts at a signal level, the `Guidance` contract.
Does not belong: any method's guidance (methods/*), from requests to images (generate.py).

A guidance is called once per step in its window, with gradients on, and returns corrections: `eps` is added to the
classifier-free ε (so it moves both the predicted clean sample and the direction back), `mean` to the mean of x_{t-1}
(after the step, before its noise). All guidances of a step see the same uncorrected ε and their corrections add up, so
that their order does not matter. Outside its window or at strength 0 a guidance costs nothing and changes no bit.

Every image has its own noise streams, keyed by draw, IPC index and class and by nothing else: neither the batch, nor
the shard, nor the method. Guided and plain sampling of one draw therefore begin from the same noise. A pass never
mixes IPC indices, so shards of single indices give the bits of the whole set, unless the parameters ask for a class
at once (`Sampling.joint`); another `batch` gives the same noise and, up to the rounding of matrix products (2e-5 with
AVX-512), the same latents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dd_assets import randomness
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.levels import Schedule
from dd_assets.errors import InputError
from dd_assets.shapes import Float
from dd_assets.synthesis.batches import Batch


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """What a guidance sees of one step of one batch."""

    x: Float[Tensor, "n c h w"]
    """x_t, scaled latents or pixels in [-1, 1]; no gradient is attached."""
    eps: Float[Tensor, "n c h w"]
    """Classifier-free ε of x_t, before any correction; no gradient is attached."""
    position: int
    """Of `schedule.timesteps`, 0 is the noisiest."""
    schedule: Schedule
    rows: Batch
    """IPC index and dataset label of each row, int64 (n,)."""
    generator: Generator
    condition: Condition
    null: Condition
    scale: float
    """The classifier-free scale."""
    seed: int

    @property
    def timestep(self) -> int:
        """t, 0 to 999."""
        return int(self.schedule.timesteps[self.position])

    @property
    def index(self) -> int:
        """The spaced index of the original repositories, counted down to 0."""
        return len(self.schedule.timesteps) - 1 - self.position

    @property
    def alpha_bar(self) -> float:
        """ᾱ_t."""
        return self.schedule.level(self.position)

    @property
    def alpha_bar_next(self) -> float:
        """ᾱ of the sample that this step produces."""
        return self.schedule.level(self.position + 1)

    def noise(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Classifier-free ε of any x at this t, differentiable in x: a further pass through the network."""
        return self.generator.guided_noise(x, self.timestep, self.condition, self.null, self.scale)

    def clean(self, x: Tensor | None = None, eps: Tensor | None = None) -> Float[Tensor, "n c h w"]:
        """The clean sample (x - sqrt(1 - ᾱ) ε) / sqrt(ᾱ) that an ε implies, unclipped; by default this step's."""
        return clean_of(self.x if x is None else x, self.eps if eps is None else eps, self.alpha_bar)

    def normals(self, stream: str, count: int | None = None) -> Float[Tensor, "n ..."]:
        """N(0, 1) for a guidance, one stream per row and step: shape of x, or (n, count)."""
        shape = self.x.shape[1:] if count is None else (count,)
        return normals(self.rows, shape, self.seed, stream, self.timestep).to(self.x.device)


@dataclass(frozen=True, eq=False, kw_only=True)
class Correction:
    """What a guidance adds; None leaves that part as it is."""

    eps: Tensor | None = None
    mean: Tensor | None = None


class Guidance:
    """The base of a method's guidance: a window of signal levels, a strength, and `correct`."""

    def __init__(self, strength: float, low: float = 0.0, high: float = 1.0) -> None:
        """Active where low <= ᾱ_t <= high and strength is not 0."""
        self.strength, self.low, self.high = strength, low, high

    def prepare(self, generator: Generator, schedule: Schedule) -> None:
        """Called once before the first batch of a request."""

    def correct(self, step: Step) -> Correction:
        """The correction of one step; gradients are on, and what is returned is detached."""
        raise NotImplementedError

    def finished(self, rows: Batch, latents: Float[Tensor, "n c h w"]) -> None:
        """Called with the clean latents of every finished batch, in order, also of those read from a checkpoint."""

    def curves(self) -> Mapping[str, np.ndarray]:
        """Figures of its own along the steps, float64 (points,), for SyntheticImages.curves."""
        return {}

    def active(self, alpha_bar: float) -> bool:
        """Whether it acts at this signal level."""
        return self.strength != 0 and self.low <= alpha_bar <= self.high


@dataclass(frozen=True, eq=False, kw_only=True)
class Start:
    """Where a batch begins instead of noise: clean scaled latents, to be noised to a signal level, or x_t there."""

    latents: Float[Tensor, "n c h w"]
    level: float
    noised: bool = False
    """Whether they are x_t already."""


@dataclass(eq=False)
class Trace:
    """Figures of a sampling: calls of the network and of each guidance."""

    passes: int = 0
    guided: list[int] = field(default_factory=list)


def clean_of(x: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """(x - sqrt(1 - ᾱ) ε) / sqrt(ᾱ)."""
    return (x - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)


def noised(clean: Tensor, noise: Tensor, alpha_bar: float) -> Tensor:
    """sqrt(ᾱ) z + sqrt(1 - ᾱ) ε."""
    return math.sqrt(alpha_bar) * clean + math.sqrt(1 - alpha_bar) * noise


def normals(rows: Batch, shape: Sequence[int], seed: int, *stream: randomness.Stream) -> Tensor:
    """N(0, 1) float32 (n, *shape), a stream of its own for every (IPC index, class)."""
    drawn = [
        randomness.normal(math.prod(shape), seed, "diffusion", *stream, int(index), int(label))
        for index, label in zip(rows.indices, rows.labels, strict=True)
    ]
    return torch.from_numpy(np.stack(drawn)).view(len(drawn), *shape)


def backward(
    x: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_next: float, eta: float, clip: bool
) -> tuple[Tensor, float]:
    """Mean and standard deviation of the next sample.

    Song et al. 2021 (DDIM), equation 12; eta 1 is the ancestral step of Ho et al. 2020 with the smaller variance. With
    `clip` the clean sample is clipped to [-1, 1] and ε becomes what that implies, so that both stay consistent (for
    eta 1 exactly DDPM's posterior mean of the clipped sample).
    """
    clean = clean_of(x, eps, alpha_bar)
    if clip:
        clean = clean.clamp(-1, 1)
        eps = (x - math.sqrt(alpha_bar) * clean) / math.sqrt(1 - alpha_bar)
    ratio = alpha_bar / alpha_bar_next
    deviation = eta * math.sqrt(max(0.0, (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - ratio)))
    direction = math.sqrt(max(0.0, 1 - alpha_bar_next - deviation**2))
    return math.sqrt(alpha_bar_next) * clean + direction * eps, deviation


@torch.no_grad()
def sample(
    generator: Generator,
    rows: Batch,
    sampling: Sampling,
    seed: int,
    *,
    condition: Condition,
    null: Condition,
    guidances: Sequence[Guidance] = (),
    start: Start | None = None,
    trace: Trace | None = None,
) -> Float[Tensor, "n c h w"]:
    """Clean scaled latents (or pixels in [-1, 1]) of a batch, on the generator's device.

    Raises InputError where they are not finite, which a guidance that is too strong can bring about.
    """
    schedule = generator.schedule(sampling.steps)
    eta = 1.0 if sampling.sampler == "ddpm" else sampling.eta
    trace = trace or Trace()
    trace.guided = trace.guided or [0] * len(guidances)
    noise = normals(rows, generator.shape, seed, "start").to(generator.device)
    first, x = 0, noise
    if start is not None:
        first = schedule.position_of(start.level)
        x = start.latents.to(generator.device)
        x = x if start.noised else noised(x, noise, schedule.level(first))
    for position in range(first, len(schedule.timesteps)):
        level, after = schedule.level(position), schedule.level(position + 1)
        timestep = int(schedule.timesteps[position])
        eps = generator.guided_noise(x, timestep, condition, null, sampling.guidance_scale)
        trace.passes += 1
        step = Step(
            x=x,
            eps=eps,
            position=position,
            schedule=schedule,
            rows=rows,
            generator=generator,
            condition=condition,
            null=null,
            scale=sampling.guidance_scale,
            seed=seed,
        )
        corrections = _corrections(step, guidances, trace)
        for correction in corrections:
            eps = eps if correction.eps is None else eps + correction.eps.detach()
        x, deviation = backward(x, eps, level, after, eta, generator.clips)
        for correction in corrections:
            x = x if correction.mean is None else x + correction.mean.detach()
        if deviation:
            x = x + deviation * normals(rows, generator.shape, seed, "step", timestep).to(x.device)
    if not bool(torch.isfinite(x).all()):
        raise InputError("sampling ended in values that are not finite", "lower the guidance's strength")
    return x


def _corrections(step: Step, guidances: Sequence[Guidance], trace: Trace) -> list[Correction]:
    found = []
    for number, guidance in enumerate(guidances):
        if guidance.active(step.alpha_bar):
            with torch.enable_grad():
                found.append(guidance.correct(step))
            trace.guided[number] += 1
    return found
