"""DDPS's selection: the patch that its label explains best, clustered within the class, stitched.

Belongs here: candidates, patches, the choice among clusters, the columns that say where each patch came from. Does not
belong: the diffusion loss (diffusion/loss_difference.py), windows and grids (synthesis/), numbers and refusals
(recipe.py).

Source: arXiv 2412.09959, from its text alone; no code was published.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.centroids import cluster
from dd_assets.diffusion.classes import prompts
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.loss_difference import draw_timesteps, loss_difference
from dd_assets.errors import InputError
from dd_assets.methods.ddps.recipe import Parameters, refuse
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.models.pixels import unit_to_uint8
from dd_assets.shapes import Float, Int
from dd_assets.synthesis.attention_patches import best_window
from dd_assets.synthesis.origins import Origins, index_major, origin_columns
from dd_assets.synthesis.patches import stitch
from dd_assets.synthesis.views import resized_crop


def best_patches(maps: Float[Tensor, "n h w"], side: int, size: int) -> tuple[Int[Tensor, "n 4"], Float[Tensor, " n"]]:
    """The square of `side` pixels with the largest mean, as top, left, height, width, and that mean.

    Maps may be coarser than the image of `size` pixels (latents); each of their cells is spread over the pixels that
    it stands for before windows are compared, so that boxes are in pixels.
    """
    pixels = F.interpolate(maps[:, None], size=(size, size), mode="nearest-exact")[:, 0]
    top, left, total = best_window(pixels, side)
    sides = torch.full_like(top, side)
    return torch.stack([top, left, sides, sides], dim=1), total / side**2


def choose(features: np.ndarray, scores: np.ndarray, count: int, start: int) -> np.ndarray:
    """Positions of the best-scored member of each of `count` k-means clusters, highest score first, int64 (count,).

    features (n, D), scores (n,). The patches with the highest scores look alike; clusters keep them apart. Where
    clusters are empty (fewer different patches than clusters) the best of the rest take their places.
    """
    centres, _ = cluster(features, count, start)
    nearest = np.stack([((features - centre) ** 2).sum(axis=1) for centre in centres]).argmin(axis=0)
    ranked = np.argsort(-scores, kind="stable")
    first = np.unique(nearest[ranked], return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(scores)), first)[: count - len(first)]
    return ranked[np.sort(np.concatenate([first, rest]))]


def patch_features(generator: Generator, images: Tensor, boxes: np.ndarray, size: int) -> np.ndarray:
    """Latents of the patches, each resized to a whole image, float32 (n, D)."""
    with torch.no_grad():
        parts = [
            generator.encode_unit(resized_crop(image[None], tuple(map(int, box)), size)).flatten(1).cpu()  # type: ignore[arg-type]
            for image, box in zip(images, boxes, strict=True)
        ]
    return torch.cat(parts).numpy()


def class_conditions(
    generator: Generator, parameters: Parameters, label: int, count: int
) -> tuple[Condition, Condition]:
    """The class (or its prompt) and the condition that asks for nothing, each `count` times."""
    text = parameters.condition == "text"
    asked = [prompts(generator.classes, parameters.prompt)[label]] * count if text else None
    return generator.condition(np.full(count, label), asked), generator.null_condition(count)


def select_class(
    request: Request, generator: Generator, train: ImageArrays, label: int, timesteps: list[int], count: int
) -> Origins:
    """The `count` patches of one class: one per cluster, the best explained of each."""
    parameters, size = request.parameters, request.facts.size
    members = train.of_class(label)
    order = randomness.permutation(len(members), request.seed, "ddps", "candidates", label)
    rows = members[order[: parameters.mipc]]
    latents = generator.encode(train.images[rows])
    condition, null = class_conditions(generator, parameters, label, len(rows))
    maps = loss_difference(generator, latents, rows, condition, null, timesteps, request.seed, parameters.batch)
    boxes, scores = best_patches(maps, parameters.window_pixels(size), size)
    images = _unit(request, train, rows)
    features = patch_features(generator, images, boxes.numpy(), size)
    start = int(randomness.integers(2**31, 1, request.seed, "ddps", "cluster", label)[0])
    chosen = choose(features, scores.numpy(), count, start)
    return Origins(
        rows=rows[chosen],
        boxes=boxes.numpy()[chosen].astype(np.int32),
        scores=scores.numpy()[chosen],
    )


def stitched(request: Request, train: ImageArrays, selection: Origins) -> np.ndarray:
    """The distilled images of a class, uint8 (IPC, H, W, C): cell k of image i is rank k · IPC + i."""
    side = request.facts.size // request.parameters.factor
    images = _unit(request, train, selection.rows)
    cells = [
        resized_crop(image[None], tuple(map(int, box)), side)  # type: ignore[arg-type]
        for image, box in zip(images, selection.boxes, strict=True)
    ]
    return unit_to_uint8(stitch(torch.cat(cells), request.parameters.factor))


def synthesise(request: Request) -> SyntheticImages:
    """Select and stitch; columns source_index, crop and score, with suffix _k for cell k if there are several.

    A shard is the whole set, because there are as many clusters as patches. Finished classes are checkpointed. Raises
    InputError with the text of `refuse` where the data at hand has too few candidates.
    """
    parameters, facts = request.parameters, request.facts
    reason = refuse(parameters, facts, request.ipc)
    if reason:
        raise InputError(f"ddps: {reason}", "lower the IPC or the factor, or raise mipc")
    if (request.first, request.last) != (0, request.ipc):
        raise InputError("ddps: cannot be computed in parts", "request all IPC indices at once")
    train, generator, cells = request.train(), request.generator(), parameters.factor**2
    timesteps = draw_timesteps(generator, parameters.level_low, parameters.level_high, parameters.pairs, request.seed)
    selections = _restored(request)
    for label in range(len(selections), len(facts.classes)):
        selections.append(select_class(request, generator, train, label, timesteps, request.ipc * cells))
        if label + 1 < len(facts.classes):
            request.checkpoints.save(_packed(selections))
        request.progress(label + 1, len(facts.classes), score=float(selections[-1].scores.mean()))
    return SyntheticImages(
        images=index_major([stitched(request, train, selection) for selection in selections]),
        labels=np.tile(np.arange(len(facts.classes), dtype=np.int64), request.ipc),
        columns=origin_columns(selections, cells),
    )


def _unit(request: Request, train: ImageArrays, rows: np.ndarray) -> Tensor:
    return torch.from_numpy(train.images[rows]).to(request.device).permute(0, 3, 1, 2).float() / 255


def _packed(selections: list[Origins]) -> dict[str, np.ndarray]:
    return {f"{name}{n}": value for n, item in enumerate(selections) for name, value in vars(item).items()}


def _restored(request: Request) -> list[Origins]:
    saved = request.checkpoints.load() or {}
    names = ("rows", "boxes", "scores")
    return [Origins(*(np.array(saved[f"{name}{n}"]) for name in names)) for n in range(len(saved) // len(names))]
