"""From a method's request to its images.

Belongs here: batches, conditions, starts and resumption around the sampling loop. Does not belong: the loop
(sampling.py), guidances (methods/*).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dd_assets.diffusion.classes import prompts
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.repulsion import Repulsion
from dd_assets.diffusion.sampling import Guidance, Start, Trace, sample
from dd_assets.errors import InputError
from dd_assets.methods.request import ClassCentroids, Request, SyntheticImages
from dd_assets.models.pixels import unit_to_uint8
from dd_assets.synthesis.batches import Batch, batches_of, class_major_batches

SAVES = 50
"""Checkpoints of a shard at most."""
Prompts = Callable[[Batch], Sequence[str]]
"""One prompt per row, where a method has its own (a prompt bank)."""


def generate(
    request: Request,
    guidances: Sequence[Guidance] = (),
    *,
    generator: Generator | None = None,
    own_prompts: Prompts | None = None,
) -> SyntheticImages:
    """The images of a request whose parameters extend `Sampling`, rows by (IPC index, class).

    Finished batches are checkpointed, so that a killed shard repeats at most one, or of more than `SAVES` batches one
    part in `SAVES`: each checkpoint holds all that is finished. `generator` takes the place of the
    request's where a caller has it loaded. Curves tell the passes of the network, the guided steps and what each
    guidance recorded. A `repulsion` in the parameters is one more guidance, after those given.
    """
    parameters: Sampling = request.parameters
    generator = generator or request.generator()
    centroids = request.centroids() if parameters.start != "noise" else None
    if parameters.repulsion:
        guidances = [*guidances, Repulsion(parameters.repulsion, parameters.repulsion_until)]
    for guidance in guidances:
        guidance.prepare(generator, generator.schedule(parameters.steps))
    batches = _batches(request)
    every = math.ceil(len(batches) / SAVES)
    trace, done = Trace(guided=[0] * len(guidances)), _restored(request)
    for number, rows in enumerate(batches):
        if number >= len(done):
            latents = sample_rows(generator, rows, parameters, request.seed, guidances, centroids, own_prompts, trace)
            done.append(latents.cpu())
            if number + 1 < len(batches) and (number + 1) % every == 0:
                request.checkpoints.save({f"batch{n}": part.numpy() for n, part in enumerate(done)})
        for guidance in guidances:
            guidance.finished(rows, done[number])
        request.progress(number + 1, len(batches))
    images = np.concatenate([to_images(generator, part) for part in done])
    labels = np.concatenate([rows.labels for rows in batches])
    order = np.lexsort((labels, np.concatenate([rows.indices for rows in batches])))
    curves = {"passes": np.array([float(trace.passes)]), "guided": np.array(trace.guided, dtype=np.float64)}
    for guidance in guidances:
        curves |= guidance.curves()
    return SyntheticImages(images=images[order], labels=labels[order], curves=curves)


def _batches(request: Request) -> list[Batch]:
    """Passes of one IPC index each or, where a class is drawn at once, of whole classes.

    A class of more than `batch` images is drawn in several passes, none larger. Raises InputError where a part of the
    set is asked for that cannot be drawn alone.
    """
    classes, size = len(request.facts.classes), request.parameters.batch
    if not request.parameters.joint:
        return batches_of(request.first, request.last, classes, size, "one_per_class")
    if (request.first, request.last) != (0, request.ipc):
        raise InputError("images of a class that are drawn at once cannot be drawn in parts", "request all IPC indices")
    return class_major_batches(request.ipc, classes, size, groups=math.ceil(request.ipc / size))


def sample_rows(
    generator: Generator,
    rows: Batch,
    parameters: Sampling,
    seed: int,
    guidances: Sequence[Guidance] = (),
    centroids: ClassCentroids | None = None,
    own_prompts: Prompts | None = None,
    trace: Trace | None = None,
) -> Tensor:
    """Latents of one batch as the parameters say: condition, start and sampler."""
    condition, null = conditions(generator, rows, parameters, own_prompts)
    return sample(
        generator,
        rows,
        parameters,
        seed,
        condition=condition,
        null=null,
        guidances=guidances,
        start=None if centroids is None else start_of(parameters, centroids, rows),
        trace=trace,
    )


def conditions(
    generator: Generator, rows: Batch, parameters: Sampling, own_prompts: Prompts | None = None
) -> tuple[Condition, Condition]:
    """The condition of a batch and its null counterpart, by class or by text."""
    asked: Sequence[str] | None = None
    if parameters.condition == "text":
        by_class = prompts(generator.classes, parameters.prompt) if own_prompts is None else ()
        asked = own_prompts(rows) if own_prompts else [by_class[int(label)] for label in rows.labels]
    condition = generator.condition(rows.labels, asked)
    return condition, generator.null_condition(len(rows.labels), parameters.negative_prompt)


def start_of(parameters: Sampling, centroids: ClassCentroids, rows: Batch) -> Start:
    """Centroids, or the real latents nearest to them, of a batch."""
    chosen = centroids.centers if parameters.start == "centroid" else centroids.nearest
    latents = torch.from_numpy(chosen[centroids.rows(rows.indices, rows.labels)])
    return Start(latents=latents, level=parameters.start_level)


@torch.no_grad()
def to_images(generator: Generator, latents: Tensor) -> np.ndarray:
    """uint8 (n, H, W, C) of clean latents, decoded one batch at a time."""
    return unit_to_uint8(generator.decode(latents.to(generator.device)))


def _restored(request: Request) -> list[Tensor]:
    saved = request.checkpoints.load() or {}
    return [torch.tensor(saved[f"batch{number}"]) for number in range(len(saved))]
