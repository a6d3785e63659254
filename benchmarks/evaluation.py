"""The whole evaluation of an image set: soft labels, 400 epochs, eight scorings of the test split.

Belongs here: this project's loop beside the two baselines on CIFAR-10, IPC 10. Does not belong: the baselines.

Epochs and a scoring are timed and added up to a whole evaluation: 400 epochs, 8 scorings of 10,000 images. The same
networks, batch and number of views in every arm. Each arm has a process of its own, since this project's asks glibc to
keep freed memory (dd_resources/threads.py) and the loops it is compared with do not; processes take turns. Run it:

    export DD_DATA_ROOT=/data DD_DATASETS=docs/examples/cifar10_r20.yaml
    python -m benchmarks.evaluation cifar10_r20 resnet20_cifar

`--only "dd-assets, bf16" --only "dd-assets, bf16_products"` leaves the others out.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

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
from dd_resources.threads import set_threads

Precision = Literal["fp32", "bf16", "bf16_products"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "bf16_products")
EPOCHS, SCORINGS = 400, 8
BATCH, IPC = 50, 10
WORKERS = (0, 1, 2, 4)
ARMS = (*(f"A, {count} workers" for count in WORKERS), "B", *(f"dd-assets, {name}" for name in PRECISIONS))


def main() -> None:
    """Time the arms in processes of their own, in turn, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("setting")
    parser.add_argument("student")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8, help="epochs that are timed in a round, after two others")
    parser.add_argument("--test-images", type=int, default=1000, help="test images that are timed in a round")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", action="append", choices=ARMS, help="time this arm and no other; may be repeated")
    parser.add_argument("--arm", choices=ARMS, help="time this one in this process (what the others are started with)")
    parser.add_argument("--operators", action="store_true", help="instead: which operators this project's time goes to")
    parser.add_argument("--out")
    given = parser.parse_args()
    if given.operators:
        set_threads(given.threads)
        rows = [row for name in PRECISIONS for row in operators(setting(given.setting), given.student, name)]
        report(f"operators of an evaluation, {given.setting} {given.student}", rows, given.out, given.device)
        return
    if given.arm:
        (set_threads if given.arm.startswith("dd-assets") else torch.set_num_threads)(given.threads)
        print(*timed(setting(given.setting), given.student, given.arm, given.epochs, given.test_images, given.device))
        return
    found: dict[str, list[tuple[float, float]]] = {arm: [] for arm in given.only or ARMS}
    for _, arm in itertools.product(range(given.rounds), found):
        command = [sys.executable, "-m", "benchmarks.evaluation", *sys.argv[1:], "--arm", arm]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        epoch, scoring = map(float, done.stdout.split())
        found[arm].append((epoch, scoring))
    torch.set_num_threads(given.threads)
    report(f"evaluation {given.setting} {given.student}", rows_of(found), given.out, given.device)


def operators(chosen: Setting, student: str, precision: Precision, shown: int = 9) -> list[dict[str, Any]]:
    """Shares of an evaluation's own CPU time by operator: epochs and scorings as many of each as in a whole one."""
    epochs, tests = 4, 10_000
    networks = (_network(chosen, student, 0), _network(chosen, chosen.teacher.architecture, 1))
    made, part, _ = _data(chosen, tests * SCORINGS * epochs // EPOCHS)
    arm = _Ours(chosen, networks, made, part, "cpu", precision)
    arm.several(1)
    arm.score()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        arm.several(epochs)
        arm.score()
    events = seen.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    found = sorted(((100 * event.self_cpu_time_total / whole, event.key) for event in events), reverse=True)
    rows = [{"precision": precision, "operator": name, "share %": share} for share, name in found[:shown]]
    rest = sum(share for share, _ in found[shown:])
    return [*rows, {"precision": precision, "operator": "all others", "share %": rest}]


def rows_of(found: Mapping[str, Sequence[tuple[float, float]]]) -> list[dict[str, Any]]:
    """One row per arm: seconds of an epoch, of scoring the test split, of a whole evaluation and its ratios."""
    made: list[dict[str, Any]] = []
    for arm, values in found.items():
        epoch, scoring = (statistics.median(column) for column in zip(*values, strict=True))
        whole = EPOCHS * epoch + SCORINGS * scoring
        made.append({"arm": arm, "epoch_s": epoch, "scoring_s": scoring, "whole_s": whole})
    for kind in ("A", "B"):
        best = min((row["whole_s"] for row in made if row["arm"].startswith(kind)), default=None)
        for row in made if best else ():
            row[f"faster_than_{kind}"] = best / row["whole_s"]
    return made


def timed(chosen: Setting, student: str, name: str, epochs: int, tests: int, device: str) -> tuple[float, float]:
    """Seconds of an epoch, labels included, and of scoring the whole test split, of one arm."""
    made, part, every = _data(chosen, tests)
    normalisation = (list(chosen.normalisation.mean), list(chosen.normalisation.std))
    networks = (_network(chosen, student, 0), _network(chosen, chosen.teacher.architecture, 1))
    given = ((made.images, made.labels), (part.images, part.labels), normalisation)
    arm: Any
    if name.startswith("A"):
        arm = ArmA(*networks, *given, batch=BATCH, workers=int(name.split()[1]), device=device)
    elif name == "B":
        arm = ArmB(*networks, *given, batch=BATCH, device=device)
    else:
        precision = next(each for each in PRECISIONS if name == f"dd-assets, {each}")
        arm = _Ours(chosen, networks, made, part, device, precision)
    several = arm.several if isinstance(arm, _Ours) else lambda count: [arm.epoch() for _ in range(count)]
    several(2)
    arm.score()
    trained = interleaved({name: lambda: several(epochs)}, 1, device, warm=0)[name]["wall"]
    scored = interleaved({name: arm.score}, 1, device, warm=0)[name]["wall"]
    return trained / epochs, scored * every / tests


def _data(chosen: Setting, tests: int) -> tuple[ImageArrays, ImageArrays, int]:
    """IPC training images of each class, so many test images, and how many there are of these."""
    train, test = RawData(os.environ.get("DD_DATA_ROOT", "")).load(chosen.name)
    rows = np.concatenate([train.of_class(label)[:IPC] for label in range(len(chosen.classes))])
    part = ImageArrays(test.images[:tests], test.labels[:tests])
    return ImageArrays(train.images[rows], train.labels[rows]), part, len(test)


class _Ours:
    """This project's loop on the same work, labels included."""

    def __init__(
        self,
        chosen: Setting,
        networks: tuple[nn.Module, nn.Module],
        made: ImageArrays,
        test: ImageArrays,
        device: str,
        precision: Precision,
    ) -> None:
        self.chosen, self.made, self.test, self.device = chosen, made, test, device
        self.student, self.teacher = networks[0], networks[1].eval()
        self.protocol = replace(
            chosen.protocol,
            batch=BATCH,
            label="soft",
            label_storage="stored",
            views=VIEW_PRESETS["rd3"],
            precision=precision,
        )
        self.tests = prepare_test(test.images).to(device)
        self.truth = torch.from_numpy(test.labels).to(device)

    def several(self, epochs: int) -> None:
        """Labels and training of so many epochs; of the scoring at their end only one image is left."""
        logits = compute_logits(
            self.teacher,
            self.made.images,
            self.protocol.views,
            self.chosen.normalisation,
            batch=BATCH,
            epochs=epochs,
            seed=0,
            device=self.device,
            precision=self.protocol.precision,
        )
        train_student(
            self.student,
            images_u8=self.made.images,
            labels=self.made.labels,
            protocol=replace(self.protocol, epochs=epochs),
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
