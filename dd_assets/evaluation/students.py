"""Training one student under the protocol and scoring it.

Belongs here: the training loop, when it evaluates, resume. Does not belong: building or initialising the student,
what a training is given (given.py), views (views.py), labels (labels.py, labellers.py), the optimiser's rules
(optimiser.py), time measurement.

Source: RD3 Tables 8 and 9 and section 4.4; LINs-lab/RDED 3f6453d, validation/main.py. Its second forward per step, made
there for a printed accuracy, is not made; what it does to batch norm is `Protocol.batch_norm_updates`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.evaluation.accuracy import evaluate, prepare_test
from dd_assets.evaluation.given import Training, check
from dd_assets.evaluation.kd_terms import Truth, kd_loss
from dd_assets.evaluation.label_codecs import epoch_sources
from dd_assets.evaluation.labellers import Labeller, labeller_of, micro_batches
from dd_assets.evaluation.losses import hard_cutmix, mse_gt, soft_kl
from dd_assets.evaluation.optimiser import Average, learning_rate, prepare_moments, student_optimiser
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.strong_views import strong_views
from dd_assets.evaluation.views import SPAN_PIXELS, ViewSchedule, epoch_spans, render, span_geometry
from dd_assets.models.small_maps import choose_products
from dd_assets.progress import Checkpoints, NoCheckpoints, Progress, silent
from dd_assets.randomness import permutation, words


@dataclass(frozen=True, kw_only=True)
class StudentScore:
    """The result of one student training; accuracies are top-1 in [0, 1]."""

    last_accuracy: float
    best_accuracy: float
    """Best over the evaluated epochs (chosen on the test set, so not the headline)."""
    evaluated_epochs: list[int]
    accuracy_curve: np.ndarray
    """float64, one per evaluated epoch."""
    loss_curve: np.ndarray
    """float64 (epochs,), mean over the epoch's views."""
    train_accuracy_curve: np.ndarray
    """float64 (epochs,), share of views whose prediction is the base image's label, from the training forward."""
    correct: np.ndarray
    """bool, one per test image, after the last epoch."""
    early_epochs: list[int]
    """Epochs before the window after which a sample of the test images was looked at."""
    early_curve: np.ndarray
    """float64, the sample's accuracy after each of them."""
    steps: int


class _Run:
    """One training in progress: what lives on the device, and what a checkpoint holds."""

    def __init__(self, model: nn.Module, training: Training) -> None:
        protocol, device = training.protocol, torch.device(training.device)
        self.training, self.device, self.half = training, device, protocol.precision != "fp32"
        self.model = model.to(device).to(memory_format=torch.channels_last)
        choose_products(self.model, protocol.precision)
        self.images = torch.from_numpy(np.ascontiguousarray(training.images_u8)).to(device)
        self.labels = torch.from_numpy(training.labels).long().to(device)
        self.test_images = prepare_test(training.test.images).to(device)
        self.test_labels = torch.from_numpy(training.test.labels).long().to(device)
        self.weights = None if training.weights is None else _mean_one(training.weights).to(device)
        if training.labeller is not None:
            training.labeller.prepare(device, protocol.precision)
        repeat_updates(self.model, protocol.batch_norm_updates)
        self.optimiser = student_optimiser(self.model, protocol)
        self.average = Average(self.model, protocol.ema)
        self.sources = epoch_sources(protocol, training.view_seed)
        self.layer_seeds = words(protocol.epochs, training.view_seed, "layers")
        self.epoch = 0
        self.evaluated, self.early = protocol.evaluated_epochs(), protocol.curve_epochs()
        self.sample = torch.from_numpy(curve_sample(len(self.test_labels), protocol.curve_images)).to(device)
        self.early_accuracy = np.full(len(self.early), np.nan)
        self.loss = torch.zeros(protocol.epochs, device=device)
        self.hits = torch.zeros(protocol.epochs, device=device)
        self.accuracy = np.full(len(self.evaluated), np.nan)
        self.correct = np.zeros(len(self.test_labels), dtype=bool)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor a checkpoint holds, by name; the optimiser's moments once they exist."""
        yield from ((f"model/{name}", tensor) for name, tensor in self.model.state_dict().items())
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        for index, parameter in enumerate(parameters):
            for name, tensor in self.optimiser.state.get(parameter, {}).items():
                yield f"optimiser/{index}/{name}", tensor
        yield from ((f"average/{name}", tensor) for name, tensor in self.average.tensors.items())
        yield "curve/loss", self.loss
        yield "curve/hits", self.hits

    def save(self) -> None:
        """Write a checkpoint after `self.epoch` complete epochs."""
        state = {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._tensors()}
        state["curve/accuracy"], state["epoch"] = self.accuracy.copy(), np.array(self.epoch)
        state |= {"curve/early": self.early_accuracy.copy()} if self.early else {}
        self.training.checkpoints.save(state)

    def restore(self) -> None:
        """Continue from the checkpoint, if there is one. Tensors keep their memory format, so bits stay the same."""
        state = self.training.checkpoints.load()
        if state is None:
            return
        prepare_moments(self.optimiser, self.training.protocol, self.device)
        with torch.no_grad():
            for name, tensor in self._tensors():
                tensor.copy_(torch.from_numpy(np.asarray(state[name])))
        self.accuracy, self.epoch = np.array(state["curve/accuracy"]), int(state["epoch"])
        if self.early:
            self.early_accuracy = np.array(state["curve/early"])

    def targets(self, span: range) -> Tensor | None:
        """Stored logits of the span on the device, float32 (V, classes); None for hard or online labels."""
        table, protocol = self.training.logits, self.training.protocol
        if table is None or protocol.label != "soft" or protocol.label_storage != "stored":
            return None
        count = len(self.images)
        rows = np.concatenate([table[source * count : (source + 1) * count] for source in self.sources[list(span)]])
        return torch.from_numpy(rows).to(self.device).float()

    def seed_layers(self, epoch: int) -> None:
        """Seed what dropout and its like draw from (`torch.manual_seed` would format a stack trace on each call)."""
        seed = int(self.layer_seeds[epoch] >> np.uint64(1))
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def online(self, inputs: Tensor, schedule: ViewSchedule, batch: int) -> Tensor | None:
        """The labellers' logits on one batch, where labels are soft and not stored."""
        training, protocol = self.training, self.training.protocol
        if protocol.label != "soft" or training.labeller is None:
            return None
        rows, precision = len(inputs), protocol.precision
        return training.labeller(inputs, schedule, batch, rows=rows, precision=precision, seed=training.view_seed)

    def parts(self, views: int) -> list[slice]:
        """The rows of a batch that go through the student together: all, or the labellers' own parts."""
        protocol = self.training.protocol
        parted = protocol.label == "soft" and protocol.label_batch_norm == "batch"
        ends = np.cumsum([0, *micro_batches(views, protocol.label_micro_batch if parted else 0)])
        return [slice(int(first), int(last)) for first, last in itertools.pairwise(ends)]

    def strong(self, inputs: Tensor, schedule: ViewSchedule, batch: int) -> tuple[Tensor, Tensor] | None:
        """The strong views of a batch and the labellers' logits on them, for crld alone."""
        training, protocol = self.training, self.training.protocol
        if protocol.label != "soft" or protocol.loss != "crld":
            return None
        epoch, index = int(schedule.batch_epoch[batch]), int(schedule.batch_index[batch])
        changed = strong_views(inputs, training.normalisation, training.view_seed, epoch, index)
        target = self.online(changed, schedule, batch)
        assert target is not None, "crld has online labels"
        return changed, target

    def step(
        self, inputs: Tensor, target: Tensor | None, truth: Truth, strong: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """One optimiser step on one batch; base and pasted of `truth` are rows of the images, int64 (B,).

        Gradients of a batch in parts add up to those of its mean loss; loss and hits accumulate on the device.
        """
        self.optimiser.zero_grad(set_to_none=True)
        for rows in self.parts(len(inputs)):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                logits = self.model(inputs[rows])
                further = None if strong is None else (self.model(strong[0]), strong[1])
            part = Truth(base=truth.base[rows], pasted=truth.pasted[rows], lam=truth.lam)
            loss = self.loss_of(logits, None if target is None else target[rows], part, further)
            (loss if len(logits) == len(inputs) else loss * (len(logits) / len(inputs))).backward()
            self.loss[self.epoch].add_(loss.detach(), alpha=len(logits))
            self.hits[self.epoch].add_((logits.detach().argmax(dim=1) == self.labels[part.base]).sum())
        self.optimiser.step()
        self.average.update()

    def loss_of(
        self, logits: Tensor, target: Tensor | None, truth: Truth, strong: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """The protocol's loss, mean over the rows; each image's share of it times that image's weight.

        strong: the student's and the labellers' logits on the strong views.
        """
        protocol, weights = self.training.protocol, self.weights
        own = None if weights is None else weights[truth.base]
        base, pasted = self.labels[truth.base], self.labels[truth.pasted]
        if target is None:
            both = None if weights is None or own is None else (own, weights[truth.pasted])
            return hard_cutmix(logits, base, pasted, truth.lam, protocol.hard_form, both)
        if protocol.loss == "kl":
            return soft_kl(logits, target, protocol.temperature, own)
        if protocol.loss == "mse_gt":
            return mse_gt(logits, target, base, protocol.gamma, own)
        students: tuple[Tensor, ...] = (logits,) if strong is None else (logits, strong[0])
        teachers: tuple[Tensor, ...] = (target,) if strong is None else (target, strong[1])
        labels = Truth(base=base, pasted=pasted, lam=truth.lam, weights=own)
        return kd_loss(protocol, students, teachers, labels, self.epoch)

    def span(self, span: range) -> None:
        """Train the epochs of `span` that are not done yet; views are rendered together where they are small."""
        training, protocol = self.training, self.training.protocol
        count, size = self.images.shape[:2]
        sources = self.sources[list(span)].tolist()
        schedule = span_geometry(protocol.views, count, size, training.batch, training.view_seed, sources)
        batches = len(schedule.n) // len(span)
        small = len(schedule) * size**2 <= SPAN_PIXELS
        rendered = render(self.images, schedule, training.normalisation) if small else None
        logits, starts = self.targets(span), schedule.starts()
        partner = np.repeat(starts[:-1], schedule.n) + schedule.mix_slot
        base, pasted = (
            torch.from_numpy(ids.astype(np.int64)).to(self.device)
            for ids in (schedule.image_id, schedule.image_id[partner])
        )
        for epoch in range(max(span[0], self.epoch), span.stop):
            self.model.train()
            self.seed_layers(epoch)
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(protocol, epoch)
            first = (epoch - span[0]) * batches
            for batch in range(first, first + batches):
                rows = slice(starts[batch], starts[batch + 1])
                if rendered is None:
                    inputs = render(self.images, schedule, training.normalisation, batch)
                else:
                    inputs = rendered[rows]
                target = self.online(inputs, schedule, batch) if logits is None else logits[rows]
                truth = Truth(base=base[rows], pasted=pasted[rows], lam=float(schedule.lam[batch]))
                self.step(inputs, target, truth, self.strong(inputs, schedule, batch))
            self.finish_epoch()

    def finish_epoch(self) -> None:
        """Evaluate where the protocol says so, report about 50 times, checkpoint about 10 times."""
        training, epochs = self.training, self.training.protocol.epochs
        if self.epoch in self.evaluated:
            self.correct = self.tested(self.test_images, self.test_labels)
            self.accuracy[self.evaluated.index(self.epoch)] = self.correct.mean()
        elif self.epoch in self.early:
            hits = self.tested(self.test_images[self.sample], self.test_labels[self.sample])
            self.early_accuracy[self.early.index(self.epoch)] = hits.mean()
        done = self.epoch + 1
        if done % math.ceil(epochs / 50) == 0 or done == epochs:
            training.progress(done, epochs, loss=float(self.loss[self.epoch]) / len(self.images))
        self.epoch = done
        if done % math.ceil(epochs / 10) == 0 and done < epochs:
            self.save()

    def tested(self, images: Tensor, labels: Tensor) -> np.ndarray:
        """Whether the student, or its moving average, is right about each of these prepared test images, bool."""
        training = self.training
        with self.average.applied():
            hits = evaluate(self.model, images, labels, training.normalisation, training.protocol.precision)
        return hits.cpu().numpy()


def curve_sample(count: int, wanted: int) -> np.ndarray:
    """Rows of the test images that curves are drawn with, int64 ascending; all of them if there are no more."""
    return np.sort(permutation(count, 0, "curve")[:wanted])


def repeat_updates(model: nn.Module, updates: int) -> None:
    """Let every batch move the running statistics `updates` times: the same batch, hence one update in closed form."""
    if updates == 1:
        return
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
            module.momentum = 1 - (1 - module.momentum) ** updates


def _mean_one(weights: np.ndarray) -> Tensor:
    """Weights scaled to a mean of 1, float32 (N,)."""
    return torch.from_numpy(weights.astype(np.float64) / weights.astype(np.float64).mean()).float()


def train_student(
    model: nn.Module,
    *,
    images_u8: np.ndarray,
    labels: np.ndarray,
    protocol: Protocol,
    view_seed: int,
    test: ImageArrays,
    normalisation: Normalisation,
    logits: np.ndarray | None = None,
    teacher: nn.Module | Labeller | None = None,
    weights: np.ndarray | None = None,
    device: str = "cpu",
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> StudentScore:
    """Train `model` (initialised by the caller, changed in place) and score it; arguments as in `Training`.

    One forward per step (two for crld), all sums on the device. With a checkpoint the training goes on after its epoch
    and ends with the same bits as an undisturbed one. Layers that draw random numbers
    (dropout) are seeded per epoch from the stream 'layers'; torch's global generator is restored at the end.
    Raises InputError where shapes, labels, views or a batch of one cannot work.
    """
    training = Training(
        images_u8=images_u8,
        labels=labels,
        protocol=protocol,
        view_seed=view_seed,
        test=test,
        normalisation=normalisation,
        logits=logits,
        labeller=None if teacher is None else labeller_of(teacher),
        weights=weights,
        device=device,
        progress=progress,
        checkpoints=checkpoints or NoCheckpoints(),
    )
    check(training, model)
    run = _Run(model, training)
    run.restore()
    count, size = images_u8.shape[:2]
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        for span in epoch_spans(count, size, protocol.epochs):
            if span.stop > run.epoch:
                run.span(span)
    return StudentScore(
        last_accuracy=float(run.accuracy[-1]),
        best_accuracy=float(run.accuracy.max()),
        evaluated_epochs=run.evaluated,
        accuracy_curve=run.accuracy,
        loss_curve=run.loss.double().cpu().numpy() / count,
        train_accuracy_curve=run.hits.double().cpu().numpy() / count,
        correct=run.correct,
        early_epochs=run.early,
        early_curve=run.early_accuracy,
        steps=protocol.epochs * -(-count // training.batch),
    )
