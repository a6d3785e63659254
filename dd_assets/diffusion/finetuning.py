"""Fine-tuning a generator with the minimax terms, resumable.

Belongs here: the loop of `FineTuning` over a generator and labelled images. Does not belong: the terms (minimax.py),
the choice of parameters (difffit.py), training from nothing (training.py).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.denoisers import Condition, Denoiser
from dd_assets.diffusion.difffit import Subset, choose
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.minimax import Memories
from dd_assets.diffusion.registry import FineTuning
from dd_assets.diffusion.training import SAVES, Averaged, Batch, draw, pack, unpack
from dd_assets.errors import InputError
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent
from dd_assets.shapes import Float

LOSSES = ("denoiser", "representativeness", "diversity")


@dataclass(frozen=True, eq=False, kw_only=True)
class FineTuned:
    """A fine-tuned transformer with its averaged weights, frozen, and how the training went."""

    transformer: nn.Module
    losses: Mapping[str, np.ndarray]
    """`LOSSES`, unweighted, float64 (iterations,)."""
    trained: int
    """Numbers that were trained."""


def fine_tune(
    base: Generator,
    train: ImageArrays,
    recipe: FineTuning,
    seed: int,
    *,
    hflip: bool,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> FineTuned:
    """Go on training a copy of `base`'s transformer on MSE(ε) and the weighted minimax terms.

    vimar-gu/MinimaxDiffusion 969fc6f, train_dit.py. Terms look at the unclipped clean sample that the predicted ε
    implies. All that is random is keyed by the iteration, so that a training that goes on from a checkpoint ends
    bit-identically. hflip: whether the setting allows mirrored images. Raises InputError for a generator that reads
    text or predicts anything but ε, and where a loss is not finite.
    """
    _refuse(base)
    place = checkpoints or NoCheckpoints()
    transformer: Any = copy.deepcopy(base.denoiser.module).float()
    scales = choose(transformer, recipe.trained)
    denoiser, subset = Denoiser(transformer.train()), Subset(transformer)
    optimiser = torch.optim.AdamW(subset.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    averaged = Averaged(subset, recipe.ema, rising=False)
    memories, losses, first = Memories(recipe.memory), np.zeros((recipe.iterations, len(LOSSES))), 0
    saved = place.load()
    if saved is not None:
        unpack(saved, subset, optimiser, averaged)
        memories.unpack(saved, base.device)
        first = int(saved["iteration"])
        losses[:first] = saved["losses"]
    # Another stream than the base's own training, which may have had this seed.
    seed = randomness.torch_seed(seed, "minimax")
    every = max(1, recipe.iterations // SAVES)
    ids = torch.tensor(base.class_ids, device=base.device)[torch.from_numpy(train.labels).to(base.device)]
    for iteration in range(first, recipe.iterations):
        loss, losses[iteration] = _iteration(base, denoiser, train, ids, recipe, memories, iteration, seed, hflip)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        averaged.update(subset)
        if not math.isfinite(float(losses[iteration].sum())):
            raise InputError(f"fine-tuning: the loss is not finite in iteration {iteration + 1}", "lower its rate")
        progress(iteration + 1, recipe.iterations, loss=losses[iteration, 0])
        if (iteration + 1) % every == 0 and iteration + 1 < recipe.iterations:
            state = {**pack(subset, optimiser, averaged), **memories.pack()}
            place.save({**state, "iteration": np.array(iteration + 1), "losses": losses[: iteration + 1]})
    subset.load_state_dict(averaged.state())
    trained = sum(value.numel() for value in averaged.values.values())
    if scales is not None:
        scales.fold()
    return FineTuned(
        transformer=transformer.eval().requires_grad_(False),
        losses={name: losses[:, column].copy() for column, name in enumerate(LOSSES)},
        trained=trained,
    )


def _refuse(base: Generator) -> None:
    if base.denoiser.reads_text:
        raise InputError("minimax fine-tunes a class-conditional generator, this one reads text", "name a DiT folder")
    kind = base.scheduler.get("prediction_type", "epsilon")
    if kind != "epsilon":
        raise InputError(f"minimax fine-tunes a generator that predicts epsilon, not {kind}", "name another folder")


def _iteration(
    base: Generator,
    denoiser: Denoiser,
    train: ImageArrays,
    ids: Tensor,
    recipe: FineTuning,
    memories: Memories,
    iteration: int,
    seed: int,
    hflip: bool,
) -> tuple[Tensor, np.ndarray]:
    """The loss of one iteration with its graph, and its parts, float64 (3,); the memories have the batch afterwards.

    ids: the base's class of every training image, int64 (N,).
    """
    views = 2 if recipe.hflip and hflip else 1
    batch = draw(iteration, ids, views, base.shape, recipe, denoiser.null, seed)
    rows, mirrored = batch.rows.cpu().numpy(), batch.views.cpu().numpy().astype(bool)
    images = train.images[rows]
    images[mirrored] = images[mirrored][:, :, ::-1]
    clean = base.encode(images)
    error, predicted = denoised(denoiser, clean, batch, base, recipe.precision)
    labels = train.labels[rows]
    close, apart = memories.terms(predicted, labels)
    memories.remember(clean, predicted, labels)
    loss = error + recipe.representativeness * close + recipe.diversity * apart
    return loss, np.array([error.item(), close.item(), apart.item()])


def denoised(
    denoiser: Denoiser, clean: Float[Tensor, "n c h w"], batch: Batch, base: Generator, precision: str = "fp32"
) -> tuple[Tensor, Tensor]:
    """(MSE of ε, the clean latents that the predicted ε implies), the latter unclipped, n x c x h x w."""
    level = torch.from_numpy(base.schedule(1).alpha_bars).float().to(clean.device)[batch.timesteps][:, None, None, None]
    noisy = level.sqrt() * clean + (1 - level).sqrt() * batch.noise
    with torch.autocast(clean.device.type, torch.bfloat16, enabled=precision == "bf16"):
        eps = denoiser(noisy, batch.timesteps, Condition(classes=batch.labels))
    return F.mse_loss(eps, batch.noise), (noisy - (1 - level).sqrt() * eps) / level.sqrt()
