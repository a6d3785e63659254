"""From a method's request to its images.

Belongs here: batches, conditions, resumption and the order of the stages around the sampling loop. Does not belong:
the loop (sampling.py), guidances (methods/*), what a stage computes (starts.py, searching.py, candidates.py,
mosaics.py, refinement.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from dd_assets.diffusion.candidates import kept, probabilities
from dd_assets.diffusion.classes import prompts
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.mosaics import mosaics
from dd_assets.diffusion.refinement import refined
from dd_assets.diffusion.repulsion import Repulsion
from dd_assets.diffusion.sampling import Guidance, Start, Trace, sample
from dd_assets.diffusion.searching import best_of_grid
from dd_assets.diffusion.starts import starts_of
from dd_assets.errors import InputError
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.models.pixels import unit_to_uint8
from dd_assets.synthesis.batches import Batch, batches_of, class_major_batches

SAVES = 50
"""Checkpoints of a shard at most."""
Prompts = Callable[[Batch], Sequence[str]]
"""One prompt per row, where a method has its own (a prompt bank)."""


@dataclass(frozen=True, kw_only=True)
class Generated(SyntheticImages):
    """Images, and what each was drawn as: of several candidates an image's index is not its rank."""

    rows: Batch
    """IPC index and class under which each image was drawn; of a mosaic, its top left cell."""


def generate(
    request: Request,
    guidances: Sequence[Guidance] = (),
    *,
    generator: Generator | None = None,
    own_prompts: Prompts | None = None,
) -> Generated:
    """The images of a request whose parameters extend `Sampling`, rows by (IPC index, class).

    Finished batches are checkpointed, so that a killed shard repeats at most one, or of more than `SAVES` batches one
    part in `SAVES`: each checkpoint holds all that is finished. `generator` takes the place of the
    request's where a caller has it loaded. Curves tell the passes of the network, the guided steps and what each
    guidance recorded. A `repulsion` in the parameters is one more guidance, after those given; the choice among
    `candidates` and then `refine`, or a `mosaic`, follow the sampling.
    """
    parameters: Sampling = request.parameters
    generator = generator or request.generator()
    if parameters.repulsion:
        guidances = [*guidances, Repulsion(parameters.repulsion, parameters.repulsion_until)]
    for guidance in guidances:
        guidance.prepare(generator, generator.schedule(parameters.steps))
    drawing = _Drawing(request, generator, guidances, own_prompts)
    batches, done = _batches(request), _restored(request, "batch")
    every = math.ceil(len(batches) / SAVES)
    for number, rows in enumerate(batches):
        if number >= len(done):
            done.append(drawing.draw(rows).cpu())
            if number + 1 < len(batches) and (number + 1) % every == 0:
                request.checkpoints.save(_named("batch", done))
        for guidance in guidances:
            guidance.finished(rows, done[number])
        request.progress(number + 1, len(batches))
    images = np.concatenate([to_images(generator, part) for part in done])
    rows = Batch(np.concatenate([own.indices for own in batches]), np.concatenate([own.labels for own in batches]))
    columns: dict[str, np.ndarray] = {}
    if parameters.mosaic:
        images, rows, columns = drawing.mosaics(images, rows)
    else:
        order = drawing.order(images, rows)
        images, rows = images[order], Batch(rows.indices[order], rows.labels[order])
    if parameters.refine:
        images = _refined_images(drawing, torch.cat(done)[torch.from_numpy(order)], rows, _named("batch", done))
    curves = drawing.curves()
    for guidance in guidances:
        curves |= guidance.curves()
    return Generated(images=images, labels=rows.labels, columns=columns, curves=curves, rows=rows)


class _Drawing:
    """One request's sampling: from rows to clean latents, and to those that are kept of them."""

    def __init__(
        self, request: Request, generator: Generator, guidances: Sequence[Guidance], own_prompts: Prompts | None
    ) -> None:
        self.request, self.generator, self.guidances, self.own_prompts = request, generator, guidances, own_prompts
        self.parameters: Sampling = request.parameters
        self.starts = starts_of(request)
        self.teacher: nn.Module | None = request.teacher() if self.parameters.asks_teacher else None
        self.trace = Trace(guided=[0] * len(guidances))
        self.found: dict[str, list[float]] = {}
        """Figures of the search, by class and pass of it, and of the refinement, by step."""

    def draw(self, rows: Batch) -> Tensor:
        """Clean latents of a batch; with a search those of each class under the scale and level found for it.

        Classes are then drawn one after another, so that another `batch` changes neither what is found nor a bit.
        """
        if not self.parameters.searches:
            return self._sampled(rows, self.parameters, self.starts(rows), self.guidances, self.trace)
        parts = [np.flatnonzero(rows.labels == label) for label in np.unique(rows.labels)]
        drawn = torch.cat([self._after_search(Batch(rows.indices[part], rows.labels[part])) for part in parts])
        return drawn[torch.from_numpy(np.argsort(np.concatenate(parts)))]

    def _after_search(self, rows: Batch) -> Tensor:
        """Clean latents of images of one class."""
        start = self.starts(rows)
        assert start is not None
        return self._sampled(rows, self._searched(rows, start), start, self.guidances, self.trace)

    def order(self, images: np.ndarray, rows: Batch) -> np.ndarray:
        """Row numbers by (index, class); of several candidates of those that the teacher keeps, by (rank, class)."""
        if self.parameters.candidates == 1:
            return np.lexsort((rows.labels, rows.indices))
        return kept(self._judged(images), rows.indices, rows.labels, self.request.ipc, self.parameters.keep)

    def mosaics(self, images: np.ndarray, rows: Batch) -> tuple[np.ndarray, Batch, dict[str, np.ndarray]]:
        """Mosaics of crops of all that was drawn, as `mosaics.mosaics`."""
        request = self.request
        assert self.teacher is not None
        return mosaics(
            self.teacher,
            images,
            rows,
            ipc=request.ipc,
            factor=self.parameters.mosaic,
            normalisation=request.facts.normalisation,
            seed=request.seed,
            device=self.generator.device,
        )

    def refine(self, latents: Tensor, rows: Batch) -> Tensor:
        """A batch's latents nearer to what the denoiser expects."""
        condition, null = conditions(self.generator, rows, self.parameters, self.own_prompts)
        asked = condition if self.parameters.refine_condition == "class" else null
        made, errors = refined(self.generator, latents, rows, self.parameters, self.request.seed, asked)
        self.found["refinement_error"] = errors.tolist()
        return made

    def curves(self) -> dict[str, np.ndarray]:
        """Passes, guided steps, the search's choices and the last batch's refinement."""
        counted = {"passes": [float(self.trace.passes)], "guided": self.trace.guided}
        return {name: np.array(values, dtype=np.float64) for name, values in {**counted, **self.found}.items()}

    def _sampled(
        self, rows: Batch, how: Sampling, start: Start | None, guidances: Sequence[Guidance], trace: Trace | None
    ) -> Tensor:
        start = start if start is None or start.noised else replace(start, level=how.start_level)
        return sample_rows(self.generator, rows, how, self.request.seed, guidances, start, self.own_prompts, trace)

    def _repulsion(self, how: Sampling) -> list[Guidance]:
        """The repulsion of a search's own, shorter schedule."""
        if not how.repulsion:
            return []
        guide = Repulsion(how.repulsion, how.repulsion_until)
        guide.prepare(self.generator, self.generator.schedule(how.steps))
        return [guide]

    def _searched(self, rows: Batch, start: Start) -> Sampling:
        real = self._judged(to_images(self.generator, start.latents))

        def judged(how: Sampling) -> np.ndarray:
            guides = self._repulsion(how) if how.search_for == "confidence" else ()
            return self._judged(to_images(self.generator, self._sampled(rows, how, start, guides, None)))

        how, best = best_of_grid(self.parameters, int(rows.labels[0]), real, judged)
        figures = {"scale": how.guidance_scale, "level": how.start_level, how.search_for: best}
        for name, value in figures.items():
            self.found.setdefault(f"search_{name}", []).append(value)
        return how

    def _judged(self, images: np.ndarray) -> np.ndarray:
        facts = self.request.facts
        assert self.teacher is not None
        return probabilities(self.teacher, images, facts.normalisation, self.parameters.batch, self.generator.device)


def _batches(request: Request) -> list[Batch]:
    """Passes of one IPC index each or, where a class is drawn at once, of whole classes.

    A class of more than `batch` images is drawn in several passes, none larger. Candidates are further indices.
    Raises InputError where a part of the set is asked for that cannot be drawn alone.
    """
    classes, size = len(request.facts.classes), request.parameters.batch
    if not request.parameters.joint:
        return batches_of(request.first, request.last, classes, size, "one_per_class")
    if (request.first, request.last) != (0, request.ipc):
        raise InputError("images of a class that are drawn at once cannot be drawn in parts", "request all IPC indices")
    drawn = request.ipc * request.parameters.candidates
    return class_major_batches(drawn, classes, size, groups=math.ceil(drawn / size))


def _refined_images(drawing: _Drawing, latents: Tensor, rows: Batch, drawn: Mapping[str, np.ndarray]) -> np.ndarray:
    """Images of latents after their refinement, batch by batch; finished ones are checkpointed beside `drawn`."""
    request, size = drawing.request, drawing.parameters.batch
    done = _restored(request, "refined")
    starts = range(0, len(latents), size)
    every = math.ceil(len(starts) / SAVES)
    for number, start in enumerate(starts):
        if number >= len(done):
            part = slice(start, start + size)
            done.append(drawing.refine(latents[part], Batch(rows.indices[part], rows.labels[part])).cpu())
            if number + 1 < len(starts) and (number + 1) % every == 0:
                request.checkpoints.save({**drawn, **_named("refined", done)})
        request.progress(number + 1, len(starts))
    return np.concatenate([to_images(drawing.generator, part) for part in done])


def sample_rows(
    generator: Generator,
    rows: Batch,
    parameters: Sampling,
    seed: int,
    guidances: Sequence[Guidance] = (),
    start: Start | None = None,
    own_prompts: Prompts | None = None,
    trace: Trace | None = None,
) -> Tensor:
    """Latents of one batch as the parameters say: condition and sampler; from noise where there is no start."""
    condition, null = conditions(generator, rows, parameters, own_prompts)
    return sample(
        generator,
        rows,
        parameters,
        seed,
        condition=condition,
        null=null,
        guidances=guidances,
        start=start,
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


@torch.no_grad()
def to_images(generator: Generator, latents: Tensor) -> np.ndarray:
    """uint8 (n, H, W, C) of clean latents, decoded one batch at a time."""
    return unit_to_uint8(generator.decode(latents.to(generator.device)))


def _named(name: str, parts: Sequence[Tensor]) -> dict[str, np.ndarray]:
    return {f"{name}{number}": part.numpy() for number, part in enumerate(parts)}


def _restored(request: Request, name: str) -> list[Tensor]:
    saved = request.checkpoints.load() or {}
    count = sum(key.startswith(name) for key in saved)
    return [torch.tensor(saved[f"{name}{number}"]) for number in range(count)]
