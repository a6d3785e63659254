"""A generator from labelled images: autoencoder, latents, denoiser, in this order and resumable.

Belongs here: the whole of a training. Does not belong: either loop (autoencoder.py, training.py), storage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.autoencoder import train_autoencoder
from dd_assets.diffusion.building import build_autoencoder, build_transformer, build_unet, scheduler_config
from dd_assets.diffusion.captions import embedded
from dd_assets.diffusion.denoisers import Denoiser
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.registry import GeneratorRecipe, latent_shape
from dd_assets.diffusion.text import HashedText, SentenceText
from dd_assets.diffusion.training import train_denoiser
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent

PSNR_IMAGES = 500
"""Training images, from the first, on which the autoencoder's reconstruction is measured."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Named:
    """What the prompts of a generator are made of and who reads them."""

    classes: tuple[str, ...]
    """Of the training images, by label."""
    definitions: tuple[str, ...]
    """One per class, '' where there is none."""
    encoder: HashedText | SentenceText


@dataclass(frozen=True, eq=False, kw_only=True)
class Produced:
    """A trained generator's parts, in evaluation mode; the transformer has the averaged weights."""

    transformer: nn.Module
    autoencoder: nn.Module | None
    scheduler: Mapping[str, Any]
    losses: Mapping[str, np.ndarray]
    """'denoiser' and, with an autoencoder, 'autoencoder', float64 (iterations,)."""
    psnr: float
    """Of reconstructions, in dB; infinite values do not occur, 0 without an autoencoder."""


class _After:
    """Checkpoints of the second training that also keep what the first one left."""

    def __init__(self, place: Checkpoints, kept: Mapping[str, np.ndarray]) -> None:
        self.place, self.kept = place, {f"done/{name}": value for name, value in kept.items()}

    def load(self) -> dict[str, np.ndarray] | None:
        """The second training's state, or None while there is only the first's."""
        saved = self.place.load()
        return saved if saved is not None and "iteration" in saved else None

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the checkpoint."""
        self.place.save({**state, **self.kept})


class _Before:
    """Checkpoints of the first training, which know that the second had begun."""

    def __init__(self, place: Checkpoints) -> None:
        self.place, self.save = place, place.save

    def load(self) -> dict[str, np.ndarray] | None:
        """The first training's state, or None."""
        saved = self.place.load()
        return saved if saved is not None and "autoencoder_iteration" in saved else None


def train_generator(
    train: ImageArrays,
    recipe: GeneratorRecipe,
    *,
    classes: int,
    size: int,
    channels: int,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
    named: Named | None = None,
) -> Produced:
    """Train by `recipe` on images brought to (size, size, channels); goes on bit-identically from a checkpoint.

    `named` says what the prompts of a recipe that reads text are made of.
    Raises InputError where sides do not divide or a loss is not finite.
    """
    place = checkpoints or NoCheckpoints()
    images = brought_to(train.images, size, channels)
    shape = latent_shape(recipe, size, channels)
    autoencoder: Any = None
    losses: dict[str, np.ndarray] = {}
    if recipe.space == "latents":
        autoencoder, losses["autoencoder"] = _autoencoder(images, recipe, size, channels, seed, device, progress, place)
    if named is None:
        transformer = build_transformer(recipe, shape, classes, seed)
    else:
        transformer = build_unet(recipe, shape, named.encoder.width, seed)
    scheduler = scheduler_config(recipe)
    generator = Generator(
        denoiser=Denoiser(transformer),
        autoencoder=autoencoder,
        scheduler=scheduler,
        classes=tuple(map(str, range(classes))),
        class_ids=tuple(range(classes)),
        size=size,
        channels=channels,
        device=device,
    )
    kept = {} if autoencoder is None else _arrays(autoencoder, losses["autoencoder"])
    latents = _latents(generator, images, recipe)
    captions = None
    if named is not None:
        seen = ImageArrays(images, train.labels)
        captions = embedded(seen, len(latents), named.classes, named.definitions, named.encoder)
    averaged, losses["denoiser"] = train_denoiser(
        transformer,
        latents,
        torch.from_numpy(train.labels).to(device),
        recipe,
        scheduler,
        seed,
        progress,
        _After(place, kept),
        captions,
    )
    transformer.load_state_dict(averaged)
    transformer.eval().requires_grad_(False)
    return Produced(
        transformer=transformer,
        autoencoder=autoencoder,
        scheduler=scheduler,
        losses=losses,
        psnr=0.0 if autoencoder is None else _psnr(generator, images[:PSNR_IMAGES]),
    )


def brought_to(images: np.ndarray, size: int, channels: int) -> np.ndarray:
    """uint8 images (N, size, size, channels): box-filtered, grey by luma, or as they are where they fit."""
    if images.shape[1:] == (size, size, channels):
        return images
    made = []
    for pixels in images:
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        picture = picture.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.BOX)
        made.append(np.asarray(picture, dtype=np.uint8).reshape(size, size, channels))
    return np.stack(made)


def _autoencoder(
    images: np.ndarray,
    recipe: GeneratorRecipe,
    size: int,
    channels: int,
    seed: int,
    device: str,
    progress: Progress,
    place: Checkpoints,
) -> tuple[Any, np.ndarray]:
    """The trained autoencoder: from the denoiser's checkpoint where there is one, else trained (on)."""
    model = build_autoencoder(recipe, size, channels, seed).to(device)
    saved = place.load() or {}
    prefix = "done/"
    done = {key.removeprefix(prefix): torch.tensor(v) for key, v in saved.items() if key.startswith(prefix)}
    if done:
        model.register_to_config(scaling_factor=float(done.pop("scaling_factor")))
        losses = done.pop("losses").numpy()
        model.load_state_dict(done)
    else:
        losses = train_autoencoder(model, images, recipe, seed, device, progress, _Before(place))
    return model.eval().requires_grad_(False), losses


def _arrays(model: Any, losses: np.ndarray) -> dict[str, np.ndarray]:
    own = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    return {**own, "scaling_factor": np.array(model.config["scaling_factor"]), "losses": losses}


def _latents(generator: Generator, images: np.ndarray, recipe: GeneratorRecipe) -> Tensor:
    """(views, N, c, h, w): of the images and, where the recipe mirrors, of the mirrored ones."""
    views = [images, images[:, :, ::-1]] if recipe.hflip else [images]
    return torch.stack([generator.encode(view) for view in views])


def _psnr(generator: Generator, images: np.ndarray) -> float:
    with torch.no_grad():
        restored = generator.decode(generator.encode(images)).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    error = float(((restored - images / 255.0) ** 2).mean())
    return 10 * math.log10(1 / max(error, 1e-12))
