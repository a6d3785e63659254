"""The whole evaluation of an image set: soft labels, 400 epochs, eight scorings of the test split.

Belongs here: this project's loop beside the two baselines on CIFAR-10, IPC 10. Does not belong: the baselines.

An epoch and a scoring are timed, interleaved over the arms, and added up to a whole evaluation: 400 epochs, 8 scorings
of 10,000 images. The same networks, batch and number of views in every arm. Run it:

    export DD_DATA_ROOT=/data DD_DATASETS=docs/examples/cifar10_r20.yaml
    python -m benchmarks.evaluation cifar10_r20 resnet20_cifar
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from benchmarks.baselines import ArmA, ArmB
from benchmarks.common import interleaved, report
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.registry import setting
from dd_assets.datasets.setting import Setting
from dd_assets.evaluation.accuracy import evaluate, prepare_test
from dd_assets.evaluation.labels import compute_logits
from dd_assets.evaluation.students import train_student
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.models.architectures import build_model
from dd_resources.raw_data import RawData

EPOCHS, SCORINGS = 400, 8
BATCH, IPC = 50, 10


def main() -> None:
    """Time the arms and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("setting")
    parser.add_argument("student")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="epochs that are timed in a round")
    parser.add_argument("--test-images", type=int, default=1000, help="test images that are timed in a round")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", default="0,2", help="loader workers of arm A that are tried; the best counts")
    parser.add_argument("--out")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = measure(
        setting(given.setting),
        given.student,
        rounds=given.rounds,
        epochs=given.epochs,
        tests=given.test_images,
        device=given.device,
        workers=[int(text) for text in given.workers.split(",")],
    )
    report(f"evaluation {given.setting} {given.student}", rows, given.out, given.device)


def measure(
    chosen: Setting, student: str, *, rounds: int, epochs: int, tests: int, device: str, workers: list[int]
) -> list[dict[str, Any]]:
    """One row per arm: seconds of an epoch, of scoring the test split, of a whole evaluation, and the ratios."""
    train, test = RawData(os.environ.get("DD_DATA_ROOT", "")).load(chosen.name)
    rows = np.concatenate([train.of_class(label)[:IPC] for label in range(len(chosen.classes))])
    images, labels = train.images[rows], train.labels[rows]
    part = ImageArrays(test.images[:tests], test.labels[:tests])
    statistics = (list(chosen.normalisation.mean), list(chosen.normalisation.std))
    given = ((images, labels), (part.images, part.labels), statistics)
    arms: dict[str, Any] = {
        f"A, {count} workers": ArmA(
            _network(chosen, student, 0),
            _network(chosen, chosen.teacher.architecture, 1),
            *given,
            batch=BATCH,
            workers=count,
            device=device,
        )
        for count in workers
    }
    arms["B"] = ArmB(
        _network(chosen, student, 0),
        _network(chosen, chosen.teacher.architecture, 1),
        *given,
        batch=BATCH,
        device=device,
    )
    for precision in ("fp32", "bf16"):
        arms[f"dd-assets, {precision}"] = _Ours(chosen, student, images, labels, part, device, precision)
    trained = interleaved(
        {name: lambda arm=arm: [arm.epoch() for _ in range(epochs)] for name, arm in arms.items()}, rounds, device
    )
    scored = interleaved({name: arm.score for name, arm in arms.items()}, rounds, device)
    made: list[dict[str, Any]] = []
    for name in arms:
        epoch, scoring = trained[name]["wall"] / epochs, scored[name]["wall"] * len(test) / tests
        made.append(
            {"arm": name, "epoch_s": epoch, "scoring_s": scoring, "whole_s": EPOCHS * epoch + SCORINGS * scoring}
        )
    best = min(row["whole_s"] for row in made if row["arm"].startswith("A"))
    tuned = next(row["whole_s"] for row in made if row["arm"] == "B")
    return [{**row, "faster_than_A": best / row["whole_s"], "faster_than_B": tuned / row["whole_s"]} for row in made]


class _Ours:
    """This project's loop on the same work; an epoch holds its share of the label table."""

    def __init__(
        self,
        chosen: Setting,
        student: str,
        images: np.ndarray,
        labels: np.ndarray,
        test: ImageArrays,
        device: str,
        precision: Literal["fp32", "bf16"],
    ) -> None:
        self.chosen, self.images, self.labels, self.test, self.device = chosen, images, labels, test, device
        self.student = _network(chosen, student, 0)
        self.teacher = _network(chosen, chosen.teacher.architecture, 1).eval()
        self.protocol = replace(
            chosen.protocol,
            epochs=1,
            batch=BATCH,
            label="soft",
            label_storage="stored",
            views=VIEW_PRESETS["rd3"],
            precision=precision,
        )
        self.tests = prepare_test(test.images).to(device)
        self.truth = torch.from_numpy(test.labels).to(device)

    def epoch(self) -> None:
        """Labels and training of one epoch; of the scoring at its end only one image is left."""
        logits = compute_logits(
            self.teacher,
            self.images,
            self.protocol.views,
            self.chosen.normalisation,
            batch=BATCH,
            epochs=1,
            seed=0,
            device=self.device,
            precision=self.protocol.precision,
        )
        train_student(
            self.student,
            images_u8=self.images,
            labels=self.labels,
            protocol=self.protocol,
            view_seed=0,
            test=ImageArrays(self.test.images[:1], self.test.labels[:1]),
            normalisation=self.chosen.normalisation,
            logits=logits,
            device=self.device,
        )

    def score(self) -> None:
        """Top-1 on the test images."""
        self.student.to(self.device)
        hits = evaluate(self.student, self.tests, self.truth, self.chosen.normalisation, self.protocol.precision)
        float(hits.float().mean())


def _network(chosen: Setting, architecture: str, seed: int) -> nn.Module:
    return build_model(architecture, classes=len(chosen.classes), channels=chosen.channels, size=chosen.size, seed=seed)


if __name__ == "__main__":
    main()
