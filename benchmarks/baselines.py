"""Two baseline arms: how published repositories train and score a student, in our own words.

Belongs here: arm A, the loop that they all copy, and arm B, the same loop tuned by hand; the plain loops of SRe2L and
RDED. Does not belong: this project's own loops (dd_assets/evaluation, dd_assets/synthesis).

Arm A: one PIL image at a time through torchvision transforms in a DataLoader whose workers start anew every epoch;
CutMix on the batch; eager fp32 in torch's default memory format; the student runs a second time on the mixed batch,
without gradients but in training mode, for the printed accuracy; loss and accuracy are read with `.item()` at every
step. (LINs-lab/RDED 3f6453d, validation/main.py, and the loops that descend from it.)
Arm B: images stay as a uint8 tensor, torchvision's v2 transforms act on whole batches, no second forward, channels
last.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

TEMPERATURE = 20.0


class _Pictures(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: v2.Transform) -> None:
        self.pictures = [Image.fromarray(image) for image in images]
        self.labels, self.transform = labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pictures[index]), int(self.labels[index])


def _mixed(inputs: Tensor) -> Tensor:
    """CutMix with one box for the batch."""
    size = inputs.shape[-1]
    half = int(size * (1 - float(torch.rand(()))) ** 0.5) // 2
    row, column = (int(torch.randint(size, ())) for _ in range(2))
    rows, columns = slice(max(0, row - half), row + half), slice(max(0, column - half), column + half)
    out = inputs.clone()
    out[..., rows, columns] = inputs[torch.randperm(len(inputs))][..., rows, columns]
    return out


def _optimiser(student: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.01)


def _loss(logits: Tensor, wanted: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(logits / TEMPERATURE, 1), F.softmax(wanted / TEMPERATURE, 1), reduction="batchmean")


class ArmA:
    """The copied loop; `epoch` trains, `test` scores."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        train: tuple[np.ndarray, np.ndarray],
        test: tuple[np.ndarray, np.ndarray],
        statistics: tuple[list[float], list[float]],
        *,
        batch: int,
        workers: int,
        device: str = "cpu",
    ) -> None:
        size = train[0].shape[1]
        last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*statistics)]
        seen = v2.Compose(
            [v2.RandomResizedCrop(size, scale=(0.5, 1), antialias=True), v2.RandomHorizontalFlip(), *last]
        )
        self.student, self.teacher, self.device = student.to(device), teacher.to(device).eval(), device
        self.optimiser = _optimiser(self.student)
        self.train = DataLoader(_Pictures(*train, seen), batch, shuffle=True, num_workers=workers)
        self.test = DataLoader(_Pictures(*test, v2.Compose(last)), 256, num_workers=workers)

    def epoch(self) -> float:
        """One epoch over the distilled images."""
        self.student.train()
        seen = 0.0
        for inputs, labels in self.train:
            mixed, truth = _mixed(inputs.to(self.device)), labels.to(self.device)
            with torch.no_grad():
                wanted = self.teacher(mixed)
            loss = _loss(self.student(mixed), wanted)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            with torch.no_grad():
                shown = self.student(mixed)
            seen += loss.item() + (shown.argmax(1) == truth).float().mean().item()
        return seen

    @torch.no_grad()
    def score(self) -> float:
        """Top-1 on the test images."""
        self.student.eval()
        hits = 0
        for inputs, labels in self.test:
            hits += int((self.student(inputs.to(self.device)).argmax(1) == labels.to(self.device)).sum().item())
        return hits / len(self.test.dataset)  # type: ignore[arg-type]


class ArmB:
    """The same work with resident images and transforms on batches."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        train: tuple[np.ndarray, np.ndarray],
        test: tuple[np.ndarray, np.ndarray],
        statistics: tuple[list[float], list[float]],
        *,
        batch: int,
        device: str = "cpu",
    ) -> None:
        size = train[0].shape[1]
        last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(*statistics)]
        self.seen = v2.Compose(
            [v2.RandomResizedCrop(size, scale=(0.5, 1), antialias=True), v2.RandomHorizontalFlip(), *last]
        )
        self.plain = v2.Compose(last)
        self.student = student.to(device).to(memory_format=torch.channels_last)
        self.teacher = teacher.to(device).to(memory_format=torch.channels_last).eval()
        self.optimiser, self.batch = _optimiser(self.student), batch
        self.images, self.tests = (
            torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device) for images in (train[0], test[0])
        )
        self.labels = torch.from_numpy(test[1]).to(device)

    def _batches(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.images), device=self.images.device)
        for rows in order.split(self.batch):
            yield self.seen(self.images[rows]).contiguous(memory_format=torch.channels_last)

    def epoch(self) -> Tensor:
        """One epoch over the distilled images."""
        self.student.train()
        total = torch.zeros((), device=self.images.device)
        for inputs in self._batches():
            mixed = _mixed(inputs)
            with torch.no_grad():
                wanted = self.teacher(mixed)
            loss = _loss(self.student(mixed), wanted)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            total += loss.detach()
        return total

    @torch.no_grad()
    def score(self) -> float:
        """Top-1 on the test images."""
        self.student.eval()
        hits = [
            (self.student(self.plain(part).contiguous(memory_format=torch.channels_last)).argmax(1) == truth).sum()
            for part, truth in zip(self.tests.split(256), self.labels.split(256), strict=True)
        ]
        return float(torch.stack(hits).sum()) / len(self.labels)


class PlainRecovery:
    """SRe2L's loop as its repository has it: hooks that pass over every activation again, eager, default format."""

    def __init__(self, teacher: nn.Module, labels: Tensor, size: int, device: str = "cpu") -> None:
        self.teacher = teacher.to(device).eval().requires_grad_(False)
        self.labels = labels.to(device)
        self.images = torch.randn(len(labels), 3, size, size, device=device).requires_grad_()
        self.optimiser = torch.optim.Adam([self.images], lr=0.25, betas=(0.5, 0.9))
        self.distances: list[Tensor] = []
        for module in self.teacher.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(self._hook)

    def _hook(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        seen = inputs[0]
        mean = seen.mean([0, 2, 3])
        variance = seen.permute(1, 0, 2, 3).contiguous().view(seen.shape[1], -1).var(1, unbiased=False)
        assert module.running_mean is not None
        assert module.running_var is not None
        self.distances.append(torch.norm(module.running_var - variance, 2) + torch.norm(module.running_mean - mean, 2))

    def step(self) -> float:
        """One iteration, its loss read as the original prints it."""
        self.distances.clear()
        shift = [int(torch.randint(-4, 5, ())) for _ in range(2)]
        logits = self.teacher(torch.roll(self.images, shift, (2, 3)))
        scales = [10.0] + [1.0] * (len(self.distances) - 1)
        matched = sum(scale * distance for scale, distance in zip(scales, self.distances, strict=True))
        loss = F.cross_entropy(logits, self.labels) + 0.01 * matched
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()


class PlainSelection:
    """RDED's selection of one class as its repository has it: each picture decoded and cropped alone, in a DataLoader.

    The crops of all candidates with the same number go through the teacher together (LINs-lab/RDED 3f6453d,
    synthesize/main.py).
    """

    def __init__(
        self, teacher: nn.Module, encoded: list[bytes], size: int, statistics: tuple[list[float], list[float]]
    ) -> None:
        self.teacher, self.encoded, self.size = teacher.eval(), encoded, size
        crop = v2.RandomResizedCrop(size, scale=(0.08, 1), ratio=(1, 1), antialias=True)
        first = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
        last = v2.Normalize(*statistics)
        self.seen = lambda picture: torch.stack([last(crop(first(picture))) for _ in range(5)])

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> Tensor:
        return self.seen(Image.open(io.BytesIO(self.encoded[index])).convert("RGB"))

    @torch.no_grad()
    def choose(self, label: int, count: int, workers: int = 0) -> Tensor:
        """The `count` best patches of the class."""
        loader = DataLoader(self, batch_size=len(self.encoded), num_workers=workers)  # type: ignore[arg-type]
        patches = next(iter(loader))
        wanted = torch.full((len(patches),), label)
        scores = torch.stack(
            [F.cross_entropy(self.teacher(patches[:, crop]), wanted, reduction="none") for crop in range(5)], dim=1
        )
        best, crop = scores.min(dim=1)
        rows = best.argsort()[:count]
        return patches[rows, crop[rows]]
