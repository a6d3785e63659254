"""Synthesis on a CPU beside the published loops: RDED's selection from Parquet, SRe2L's iterations, moments.

Belongs here: a class of RDED (300 candidates, 5 crops), an iteration of SRe2L on 100 images, every layer's moments as
G-VBSM and EDC take them. Does not belong: the published loops (baselines.py), a GPU (gpu.py). Run it:

    export DD_DATA_ROOT=/data DD_DATASETS=docs/examples/cifar10_r20.yaml
    python -m benchmarks.synthesis cifar10_r20
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

from benchmarks.baselines import PlainRecovery, PlainSelection
from benchmarks.common import interleaved, report
from benchmarks.gpu import network_of, recover
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.registry import setting
from dd_assets.datasets.setting import Setting
from dd_assets.methods.contract import Facts
from dd_assets.methods.rded.synthesis import select_class
from dd_assets.methods.registry import method
from dd_assets.methods.request import Request
from dd_assets.synthesis.feature_statistics import Observer, batch_moments, cells
from dd_resources.raw_data import RawData

CANDIDATES, IPC = 300, 10


def main() -> None:
    """Time both and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("setting", help="one whose images lie in Parquet files")
    parser.add_argument("--networks", nargs="+", default=["resnet20_cifar", "resnet18"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=3, help="of SRe2L, in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    chosen = setting(given.setting)
    openings = opening(chosen)
    rows = [row for name in given.networks for row in selection(chosen, name, given.rounds, openings)]
    rows += [row for name in given.networks for row in recovery(name, given.rounds, given.iterations)]
    rows += [row for name in given.networks for row in moments_of_layers(name, given.rounds)]
    report("synthesis", rows, given.out)


def opening(chosen: Setting) -> tuple[float, float]:
    """CPU-seconds of reading the training images' file, of this project (decoded, all of them) and plainly (encoded).

    This project's first: it keeps what it has decoded, and the file is then in the system's cache for both.
    """
    root = Path(os.environ.get("DD_DATA_ROOT", ""))
    pq.read_table(root / str(chosen.options["train"]))
    before = time.process_time()
    RawData(str(root)).load(chosen.name)
    middle = time.process_time()
    _encoded(chosen)
    return middle - before, time.process_time() - middle


def _encoded(chosen: Setting) -> list[bytes]:
    table = pq.read_table(Path(os.environ.get("DD_DATA_ROOT", "")) / str(chosen.options["train"]))
    return [item["bytes"] for item in table.column("image").to_pylist()]


def selection(chosen: Setting, network: str, rounds: int, openings: tuple[float, float]) -> list[dict[str, Any]]:
    """CPU-seconds of selecting one class of CANDIDATES images, and of a whole set with its reading.

    openings: CPU-seconds of reading, as `opening` gives them.
    """
    encoded = _encoded(chosen)[:CANDIDATES]
    train, _ = RawData(os.environ.get("DD_DATA_ROOT", "")).load(chosen.name)
    # One class of as many candidates: which they are changes no time.
    made = ImageArrays(train.images[:CANDIDATES], np.zeros(CANDIDATES, dtype=np.int64))
    teacher = network_of(network, chosen.size).eval()
    statistics = (list(chosen.normalisation.mean), list(chosen.normalisation.std))
    plain = PlainSelection(network_of(network, chosen.size), encoded, chosen.size, statistics)
    facts = Facts(
        setting=chosen.name,
        classes=chosen.classes,
        train_counts=(CANDIDATES,) * len(chosen.classes),
        size=chosen.size,
        channels=3,
        normalisation=chosen.normalisation,
        hflip=True,
    )
    requests = {
        f"dd-assets, {precision}": Request(
            facts=facts,
            parameters=replace(method("rded").recipe_for("cifar10").parameters, precision=precision),
            ipc=IPC,
            first=0,
            last=IPC,
            seed=0,
            train=lambda: made,
            teacher=lambda: teacher,
            device="cpu",
        )
        for precision in ("fp32", "bf16")
    }
    arms: dict[str, Callable[[], object]] = {"published loop": lambda: plain.choose(0, IPC)}
    for arm, request in requests.items():
        arms[arm] = lambda request=request: select_class(request, teacher, made, 0, IPC)
    timed = interleaved(arms, rounds)
    classes, (ours, plain_opening) = len(chosen.classes), openings
    whole = {
        arm: {"cpu": classes * found["cpu"] + (plain_opening if arm == "published loop" else ours)}
        for arm, found in timed.items()
    }
    return [
        *_rows(f"RDED, a class, {network}", timed, 1),
        *_rows(f"RDED, {classes} classes and reading them, {network}", whole, 1),
    ]


def recovery(network: str, rounds: int, iterations: int) -> list[dict[str, Any]]:
    """Seconds of an SRe2L iteration on 100 images of 32 px."""
    plain = PlainRecovery(network_of(network, 32), torch.arange(100) % 10, 32)
    frozen = network_of(network, 32).eval().requires_grad_(False)
    timed = interleaved(
        {
            "published loop": lambda: [plain.step() for _ in range(iterations)],
            "dd-assets, fp32": lambda: recover(frozen, 32, iterations, "cpu"),
            "dd-assets, bf16": lambda: recover(frozen, 32, iterations, "cpu", "bf16"),
        },
        rounds,
    )
    return _rows(f"SRe2L iteration, {network}", timed, iterations)


def moments_of_layers(network: str, rounds: int) -> list[dict[str, Any]]:
    """Seconds of a pass of 100 images, with every layer's moments by channel and patch, and back to the pixels."""
    frozen = network_of(network, 32).eval().requires_grad_(False)
    images = torch.randn(100, 3, 32, 32).requires_grad_()

    def published(inputs: torch.Tensor, patch: int | None) -> list[torch.Tensor]:
        found = [*torch.var_mean(inputs, dim=(0, 2, 3), correction=0)]
        if patch:
            found += [each.flatten() for each in torch.var_mean(cells(inputs, patch), dim=(0, 1, 3, 5), correction=0)]
        return found

    def there_and_back(taken: Callable[[torch.Tensor, int | None], list[torch.Tensor]]) -> None:
        images.grad = None
        with Observer(frozen, lambda _, layer, x: taken(x, 4 if isinstance(layer, nn.Conv2d) else None)) as observer:
            loss = frozen(images).square().mean()
            for found in observer.taken.values():
                loss = loss + sum(moment.square().sum() for moment in found or ())
        loss.backward()

    arms = {"published loop": lambda: there_and_back(published), "dd-assets": lambda: there_and_back(batch_moments)}
    return _rows(f"moments, {network}", interleaved(arms, rounds), 1)


def _rows(what: str, timed: dict[str, dict[str, float]], pieces: int) -> list[dict[str, Any]]:
    base = timed["published loop"]["cpu"]
    return [
        {"what": what, "arm": arm, "CPU s": found["cpu"] / pieces, "faster": base / found["cpu"]}
        for arm, found in timed.items()
    ]


if __name__ == "__main__":
    main()
