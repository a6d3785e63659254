"""Training a denoiser on ε, resumable, with averaged weights.

Belongs here: the loop of `GeneratorRecipe` over latents that are given. Does not belong: encoding images into latents
(units/generator.py asks the autoencoder), the autoencoder's own training (autoencoder.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.diffusion.captions import Captions
from dd_assets.diffusion.denoisers import Condition, Denoiser
from dd_assets.diffusion.levels import schedule_of
from dd_assets.diffusion.registry import FineTuning, GeneratorRecipe
from dd_assets.errors import InputError
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent
from dd_assets.shapes import Float, Int

NO_LABEL = -1
"""Marks a dropped label where prompts take the place of class ids."""
SAVES = 20
"""Checkpoints per training at most; each repeats at most a twentieth after a kill."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """The random part of one iteration, on the device."""

    rows: Tensor
    """int64 (b,)."""
    labels: Tensor
    """Class ids, the null id where the label is dropped, int64 (b,)."""
    timesteps: Tensor
    noise: Tensor
    views: Tensor
    """Which view of each row, int64 (b,): 0 as it is, 1 mirrored."""


def draw(
    iteration: int,
    labels: Tensor,
    views: int,
    shape: tuple[int, ...],
    recipe: GeneratorRecipe | FineTuning,
    null: int,
    seed: int,
) -> Batch:
    """What iteration `iteration` sees of labels (N,): all from (seed, "generator", stream, iteration).

    Rows follow a permutation per epoch. The label is dropped here, by the null id, once for the whole network.
    """
    count, device = len(labels), labels.device
    positions = np.arange(iteration * recipe.batch, (iteration + 1) * recipe.batch)
    epochs = positions // count
    rows = [_order(count, seed, int(e))[p % count] for e, p in zip(epochs, positions, strict=True)]
    chosen = torch.from_numpy(np.array(rows)).to(device)

    def uniform(stream: str) -> Tensor:
        return torch.from_numpy(randomness.uniform(recipe.batch, seed, "generator", stream, iteration)).to(device)

    noise = randomness.normal(recipe.batch * math.prod(shape), seed, "generator", "noise", iteration)
    timesteps = randomness.integers(1000, recipe.batch, seed, "generator", "timestep", iteration)
    dropped = uniform("drop") < recipe.label_drop
    return Batch(
        rows=chosen,
        labels=torch.where(dropped, null, labels[chosen]),
        timesteps=torch.from_numpy(timesteps).to(device),
        noise=torch.from_numpy(noise).view(recipe.batch, *shape).to(device),
        views=(uniform("flip") * views).long(),
    )


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The rows of an epoch in their order, int64 (count,), read-only; kept, since a batch may lie in two epochs."""
    order = randomness.permutation(count, seed, "generator", "order", epoch)
    order.flags.writeable = False
    return order


def rate_at(iteration: int, recipe: GeneratorRecipe) -> float:
    """The learning rate of a zero-based iteration: ramp, constant, linear fall over the last `cooldown` share."""
    rising = min(1.0, (iteration + 1) / max(recipe.warmup, 1))
    fall = recipe.cooldown * recipe.iterations
    falling = min(1.0, (recipe.iterations - iteration) / fall) if fall else 1.0
    return recipe.learning_rate * rising * falling


class Averaged:
    """An exponential moving average of a network's parameters; the decay rises with the steps at first, or not."""

    def __init__(self, model: nn.Module, decay: float, rising: bool = True) -> None:
        self.decay, self.steps, self.rising = decay, 0, rising
        self.values = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """One step: average = d average + (1 - d) weights, d = decay or, rising, at most (1 + steps) / (10 + steps)."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.rising else self.decay
        for name, value in model.named_parameters():
            self.values[name].lerp_(value.detach(), 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """The averaged parameters on the CPU; a DiT has no buffers that are kept."""
        return {name: value.cpu().clone() for name, value in self.values.items()}


def pack(model: nn.Module, optimiser: torch.optim.Optimizer, averaged: Averaged | None) -> dict[str, np.ndarray]:
    """Weights, optimiser moments and averages as named arrays, all that `unpack` needs to go on identically."""
    packed = {f"model/{name}": value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    for index, parameter in enumerate(p for group in optimiser.param_groups for p in group["params"]):
        for key, value in optimiser.state[parameter].items():
            packed[f"optimiser/{index}/{key}"] = value.detach().cpu().numpy()
    if averaged is not None:
        packed["averaged_steps"] = np.array(averaged.steps)
        packed |= {f"averaged/{name}": value.cpu().numpy() for name, value in averaged.values.items()}
    return packed


def unpack(
    saved: Mapping[str, np.ndarray], model: nn.Module, optimiser: torch.optim.Optimizer, averaged: Averaged | None
) -> None:
    """Restore what `pack` gave, in place."""
    prefix = "model/"
    # Copies, because a checkpoint may hand out read-only memory.
    model.load_state_dict({k.removeprefix(prefix): torch.tensor(v) for k, v in saved.items() if k.startswith(prefix)})
    for index, parameter in enumerate(p for group in optimiser.param_groups for p in group["params"]):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            found = saved.get(f"optimiser/{index}/{key}")
            if found is not None:
                # AdamW keeps its step count on the CPU.
                device = "cpu" if key == "step" else parameter.device
                optimiser.state[parameter][key] = torch.tensor(found, device=device)
    if averaged is not None:
        averaged.steps = int(saved["averaged_steps"])
        for name, value in averaged.values.items():
            value.copy_(torch.tensor(saved[f"averaged/{name}"]))


def train_denoiser(
    model: nn.Module,
    latents: Float[Tensor, "v n c h w"],
    labels: Int[Tensor, " n"],
    recipe: GeneratorRecipe,
    scheduler: Mapping[str, object],
    seed: int,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
    captions: Captions | None = None,
) -> tuple[dict[str, Tensor], np.ndarray]:
    """Train `model` in place on MSE(ε); returns the averaged weights (CPU) and the losses, float64 (iterations,).

    latents: scaled, on the device of the training, as they are and, with two views, of the mirrored images (an
    autoencoder need not commute with mirroring); labels: class ids; captions: the condition of a model that reads
    prompts. Everything random is keyed by the iteration, so
    that a training that goes on from a checkpoint ends bit-identically. Raises InputError if the loss is not finite.
    """
    checkpoints = checkpoints or NoCheckpoints()
    device = latents.device
    model.to(device).train()
    denoiser = Denoiser(model)
    null = denoiser.null if captions is None else NO_LABEL
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    averaged, losses, first = Averaged(model, recipe.ema), np.zeros(recipe.iterations), 0
    saved = checkpoints.load()
    if saved is not None:
        unpack(saved, model, optimiser, averaged)
        first = int(saved["iteration"])
        losses[:first] = saved["losses"]
    alpha_bars = torch.from_numpy(schedule_of(scheduler, 1).alpha_bars).float().to(device)
    every = max(1, recipe.iterations // SAVES)
    for iteration in range(first, recipe.iterations):
        batch = draw(iteration, labels, len(latents), tuple(latents.shape[2:]), recipe, null, seed)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(iteration, recipe)
        condition = Condition(classes=batch.labels)
        if captions is not None:
            condition = captions.condition(batch.views, batch.rows, batch.labels == null, iteration, seed)
        loss = step_loss(denoiser, latents, batch, condition, alpha_bars, recipe)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        optimiser.step()
        averaged.update(model)
        losses[iteration] = loss.item()
        if not math.isfinite(losses[iteration]):
            raise InputError(
                f"generator training: the loss is {losses[iteration]} in iteration {iteration + 1}",
                "lower the learning rate",
            )
        progress(iteration + 1, recipe.iterations, loss=losses[iteration])
        if (iteration + 1) % every == 0 and iteration + 1 < recipe.iterations:
            state = pack(model, optimiser, averaged)
            checkpoints.save({**state, "iteration": np.array(iteration + 1), "losses": losses[: iteration + 1]})
    return averaged.state(), losses


def step_loss(
    denoiser: Denoiser,
    latents: Tensor,
    batch: Batch,
    condition: Condition,
    alpha_bars: Tensor,
    recipe: GeneratorRecipe,
) -> Tensor:
    """MSE between ε and its prediction from sqrt(ᾱ) z + sqrt(1 - ᾱ) ε (Ho et al. 2020, equation 14)."""
    clean = latents[batch.views, batch.rows]
    level = alpha_bars[batch.timesteps][:, None, None, None]
    noisy = level.sqrt() * clean + (1 - level).sqrt() * batch.noise
    with torch.autocast(latents.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        predicted = denoiser(noisy, batch.timesteps, condition)
    return F.mse_loss(predicted, batch.noise)
