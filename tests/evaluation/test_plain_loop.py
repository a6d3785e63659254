"""The training loop beside the one that published repositories copy (arm A): nothing got less exact by being faster.

Belongs here: one step by torchvision's view of each picture, torch's default memory format and an unfused AdamW; whole
trainings by benchmarks/baselines.py over several seeds. Does not belong: speed (benchmarks/evaluation.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines import ArmA
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.students import StudentScore, train_student
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.evaluation.views import epoch_geometry
from dd_assets.models.architectures import build_model
from dd_resources.raw_data import RawData
from tests.evaluation.helpers import NORMALISATION, images, normalised, reference_views

SIZE, COUNT = 16, 12
TEMPERATURE = 20.0
NETWORK, SEEDS = "convnet2_w64", 6


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _student(architecture: str = "resnet20_cifar", size: int = SIZE, seed: int = 0) -> nn.Module:
    return build_model(architecture, classes=10, channels=3, size=size, seed=seed)


def _ours(
    student: nn.Module, train: ImageArrays, test: ImageArrays, protocol: Protocol, view_seed: int = 0, **labels: Any
) -> StudentScore:
    return train_student(
        student,
        images_u8=train.images,
        labels=train.labels,
        protocol=protocol,
        view_seed=view_seed,
        test=test,
        normalisation=NORMALISATION,
        **labels,
    )


def test_a_step_gives_the_plain_loops_logits() -> None:
    """Before it to 1e-4; one view drawn otherwise changes them by far more."""
    views = replace(VIEW_PRESETS["rd3"], shuffle_factor=2)
    protocol = Protocol(epochs=1, batch=COUNT, label="soft", label_storage="stored", views=views)
    made = ImageArrays(images(COUNT, SIZE), np.arange(COUNT) % 10)
    wanted = torch.randn(COUNT, 10, generator=torch.Generator().manual_seed(3)) * 5

    plain = _student()
    groups = [
        {"params": [p for p in plain.parameters() if p.ndim > 1], "weight_decay": protocol.weight_decay},
        {"params": [p for p in plain.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=protocol.learning_rate, fused=False, foreach=False)
    seen = normalised(reference_views(made.images, epoch_geometry(views, COUNT, SIZE, COUNT, 0, 0)))
    logits = plain.train()(seen)
    loss = F.kl_div(F.log_softmax(logits / TEMPERATURE, 1), F.softmax(wanted / TEMPERATURE, 1), reduction="batchmean")
    loss.backward()
    optimiser.step()

    fast = _student()
    before: list[Tensor] = []
    hook = fast.register_forward_hook(lambda _, inputs, output: before.append(output.detach()))
    score = _ours(fast, made, made, protocol, logits=wanted.numpy())
    hook.remove()
    assert torch.allclose(before[0], logits, atol=1e-4)
    assert score.loss_curve[0] == pytest.approx(float(loss), rel=1e-4)
    # AdamW's first step is the rate times the gradient's sign, so that where a gradient is nought but for rounding a
    # weight may go the other way: what a step changes is the same to a hundredth.
    with torch.no_grad():
        start, fast_after, plain_after = (student.eval()(seen) for student in (_student(), fast, plain))
    assert (fast_after - plain_after).abs().max() < 0.01 * (plain_after - start).abs().max()
    assert not torch.allclose(before[0].roll(1, 0), logits, atol=1e-2)


@pytest.mark.slow
def test_over_seeds_the_mean_accuracy_is_that_of_arm_a() -> None:
    """Digits in three channels, IPC 10, 60 epochs at one learning rate: means within two standard errors."""
    whole, test = (ImageArrays(np.repeat(part.images, 3, axis=3), part.labels) for part in RawData().load("digits"))
    teacher = _teacher(whole)
    rows = np.concatenate([whole.of_class(label)[:10] for label in range(10)])
    train = ImageArrays(whole.images[rows], whole.labels[rows])
    views = replace(VIEW_PRESETS["rd3"], shuffle_factor=1)
    # A cosine over a million times as many epochs is flat.
    protocol = Protocol(epochs=60, batch=50, label="soft", label_storage="online", views=views, zeta=1e6)
    ours, plain = [], []
    for seed in range(SEEDS):
        score = _ours(_student(NETWORK, 8, seed), train, test, protocol, teacher=teacher, view_seed=seed)
        ours.append(score.last_accuracy)
        torch.manual_seed(seed)
        statistics = (list(NORMALISATION.mean), list(NORMALISATION.std))
        given = ((train.images, train.labels), (test.images, test.labels), statistics)
        arm = ArmA(_student(NETWORK, 8, seed), teacher, *given, batch=50, workers=0)
        for _ in range(protocol.epochs):
            arm.epoch()
        plain.append(arm.score())
    spread = np.sqrt((np.var(ours, ddof=1) + np.var(plain, ddof=1)) / SEEDS)
    assert min(ours) > 0.8, ours
    assert abs(np.mean(ours) - np.mean(plain)) <= 2 * spread, (ours, plain)


def _teacher(whole: ImageArrays) -> nn.Module:
    """A network that knows the digits, by ten epochs over their training split."""
    network = _student(NETWORK, 8, 99)
    inputs = normalised(torch.from_numpy(whole.images).permute(0, 3, 1, 2) / 255)
    truth = torch.from_numpy(whole.labels)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        for batch in torch.randperm(len(truth), generator=generator).split(64):
            optimiser.zero_grad()
            F.cross_entropy(network(inputs[batch]), truth[batch]).backward()
            optimiser.step()
    return network.eval().requires_grad_(False)
