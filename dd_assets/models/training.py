"""Teacher training and accuracy.

Belongs here: the SGD loop of `TeacherRecipe` with data resident on the device, and top-1. Does not belong: student
training on distilled images (evaluation/students.py) and checkpoints as files (checkpoint.py).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.errors import InputError
from dd_assets.models.pixels import normalised
from dd_assets.models.registry import TeacherRecipe
from dd_assets.models.small_maps import choose_products
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent

EVALUATIONS = 10
"""The test accuracy is measured at most this often during a training, and after the last epoch in any case: 10,000
images in fp32 after every epoch are a good part of a short training in bf16."""


@dataclass(frozen=True, kw_only=True)
class TeacherResult:
    """A trained teacher: always the last epoch's weights, never the best on the test split."""

    state: dict[str, Tensor]
    """The state dict on the CPU."""
    test_accuracy: float
    """Top-1 on the test split, in [0, 1]."""
    history: dict[str, np.ndarray]
    """train_loss (epochs,), test_accuracy (points,) and test_epoch (points,), the latter counted from 1."""


@torch.no_grad()
def top1(
    model: nn.Module, images: ImageArrays, normalisation: Normalisation, device: str, batch: int = 500
) -> tuple[float, np.ndarray]:
    """Top-1 in [0, 1] and the correctness of each image, bool (N,), in evaluation mode; the mode is restored."""
    was_training = model.training
    model.eval()
    correct = np.zeros(len(images), dtype=bool)
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        logits = model(normalised(images.images[rows], normalisation, device))
        correct[rows] = logits.argmax(dim=1).cpu().numpy() == images.labels[rows]
    model.train(was_training)
    return float(correct.mean()), correct


def learning_rate_at(step: int, steps: int, warmup_steps: int, peak: float, schedule: str = "cosine") -> float:
    """The rate for a zero-based step: a linear ramp that ends at `peak`, then a cosine towards 0 (never reached).

    schedule "constant": `peak` after the ramp.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))


class _TrainingViews:
    """The training images on the device as padded uint8, cropped and mirrored per image and epoch by indexing."""

    def __init__(self, train: ImageArrays, recipe: TeacherRecipe, normalisation: Normalisation, device: str) -> None:
        pad = recipe.pad_crop
        padded = np.pad(train.images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        self.images = torch.from_numpy(padded).to(device)
        self.size = train.images.shape[1:3]
        self.count, self.recipe, self.normalisation, self.device = len(train), recipe, normalisation, device

    def start_epoch(self, seed: int, epoch: int) -> None:
        """Draw this epoch's crop offsets and mirror flags, one per training image."""
        places = 2 * self.recipe.pad_crop + 1
        offsets = randomness.integers(places, 2 * self.count, seed, "teacher", "crop", epoch)
        flips = randomness.uniform(self.count, seed, "teacher", "flip", epoch) < 0.5
        self.offsets = torch.from_numpy(offsets.reshape(self.count, 2)).to(self.device)
        self.flips = torch.from_numpy(flips & self.recipe.hflip).to(self.device)

    def batch(self, rows: Tensor) -> Tensor:
        """Normalised views of these rows, float32 (len(rows), C, H, W)."""
        height, width = self.size
        top, left = self.offsets[rows].unbind(dim=1)
        columns = torch.arange(width, device=self.device).expand(len(rows), width)
        columns = torch.where(self.flips[rows, None], columns.flip(1), columns) + left[:, None]
        lines = top[:, None] + torch.arange(height, device=self.device)
        crops = self.images[rows[:, None, None], lines[:, :, None], columns[:, None, :]]
        return normalised(crops, self.normalisation, self.device)


def _epoch_batches(count: int, batch: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The epoch's rows in batches; a last batch of a single image is left out (batch norm needs two values)."""
    order = randomness.permutation(count, seed, "teacher", "order", epoch)
    return [rows for start in range(0, count, batch) if len(rows := order[start : start + batch]) > 1]


def _pack(model: nn.Module, optimiser: torch.optim.SGD, history: dict[str, list[float]]) -> dict[str, np.ndarray]:
    packed = {f"model/{name}": value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    for index, parameter in enumerate(model.parameters()):
        momentum = optimiser.state[parameter].get("momentum_buffer")
        if momentum is not None:
            packed[f"momentum/{index}"] = momentum.cpu().numpy()
    return packed | {f"history/{name}": np.array(values) for name, values in history.items()}


def _unpack(
    saved: dict[str, np.ndarray], model: nn.Module, optimiser: torch.optim.SGD, history: dict[str, list[float]]
) -> int:
    """Restore everything `_pack` saved; returns the number of finished epochs."""
    prefix = "model/"
    # Copies, because a checkpoint may hand out read-only memory.
    state = {key.removeprefix(prefix): torch.tensor(value) for key, value in saved.items() if key.startswith(prefix)}
    model.load_state_dict(state)
    for index, parameter in enumerate(model.parameters()):
        if f"momentum/{index}" in saved:
            # In the parameter's own memory format, as an undisturbed training has it.
            momentum = torch.empty_like(parameter).copy_(torch.tensor(saved[f"momentum/{index}"]))
            optimiser.state[parameter]["momentum_buffer"] = momentum
    for name, values in history.items():
        values.extend(saved[f"history/{name}"].tolist())
    return len(history["train_loss"])


@contextlib.contextmanager
def _seeded_layers(seed: int, epoch: int, device: str) -> Iterator[None]:
    """Seed what dropout and its like draw from; torch's global generators are restored afterwards."""
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        drawn = randomness.torch_seed(seed, "teacher", "layers", epoch)
        torch.default_generator.manual_seed(drawn)
        if device.startswith("cuda"):
            torch.cuda.manual_seed(drawn)
        yield


def train_teacher(
    model: nn.Module,
    train: ImageArrays,
    test: ImageArrays,
    recipe: TeacherRecipe,
    normalisation: Normalisation,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> TeacherResult:
    """Train `model` in place by `recipe` (SGD, rate per step, crop and mirror) and keep the last epoch.

    Order, crops and mirrors come from (seed, "teacher", stream, epoch). After every epoch the whole state goes to
    `checkpoints`, so that a training that goes on from there ends bit-identically to an undisturbed one.
    Raises InputError naming the epoch if the training loss is not finite.
    """
    checkpoints = checkpoints or NoCheckpoints()
    model.to(device)
    if recipe.precision != "fp32":
        # 8 % of a ResNet-18's step on a CPU with avx512_bf16 (docs/results/rd3_cifar10.md).
        model.to(memory_format=torch.channels_last)
    choose_products(model, recipe.precision)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    history: dict[str, list[float]] = {"train_loss": [], "test_accuracy": [], "test_epoch": []}
    saved = checkpoints.load()
    first = _unpack(saved, model, optimiser, history) if saved is not None else 0
    views = _TrainingViews(train, recipe, normalisation, device)
    labels = torch.from_numpy(train.labels).to(device)
    evaluate_every = math.ceil(recipe.epochs / EVALUATIONS)
    for epoch in range(first, recipe.epochs):
        views.start_epoch(seed, epoch)
        batches = _epoch_batches(len(train), recipe.batch, seed, epoch)
        with _seeded_layers(seed, epoch, device):
            loss = _train_epoch(model, optimiser, views, labels, batches, epoch, recipe)
        if not math.isfinite(loss):
            raise InputError(f"teacher training: the loss is {loss} in epoch {epoch + 1}", "lower the learning rate")
        history["train_loss"].append(loss)
        if (epoch + 1) % evaluate_every == 0 or epoch + 1 == recipe.epochs:
            history["test_accuracy"].append(top1(model, test, normalisation, device)[0])
            history["test_epoch"].append(epoch + 1)
        measured = {"test_accuracy": history["test_accuracy"][-1]} if history["test_accuracy"] else {}
        progress(epoch + 1, recipe.epochs, loss=loss, **measured)
        checkpoints.save(_pack(model, optimiser, history))
    state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    curves = {name: np.array(values) for name, values in history.items()}
    return TeacherResult(state=state, test_accuracy=history["test_accuracy"][-1], history=curves)


def _train_epoch(
    model: nn.Module,
    optimiser: torch.optim.SGD,
    views: _TrainingViews,
    labels: Tensor,
    batches: list[np.ndarray],
    epoch: int,
    recipe: TeacherRecipe,
) -> float:
    """One epoch of SGD; returns the mean loss over its images."""
    model.train()
    total = torch.zeros((), device=labels.device)
    half = recipe.precision != "fp32"
    for index, batch in enumerate(batches):
        rate = learning_rate_at(
            epoch * len(batches) + index,
            recipe.epochs * len(batches),
            recipe.warmup_epochs * len(batches),
            recipe.learning_rate,
            recipe.schedule,
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        rows = torch.from_numpy(batch).to(labels.device)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(labels.device.type, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(views.batch(rows)), labels[rows], label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimiser.step()
        total += loss.detach() * len(batch)
    return float(total) / sum(map(len, batches))
