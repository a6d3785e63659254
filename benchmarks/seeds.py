"""Three seeds of a small student: one after the other, side by side in worker processes, and as one stacked network.

Belongs here: whole trainings on digits at IPC 10 by the project's own loop, and steps of networks stacked by
`torch.func`. Does not belong: the evaluation against published loops (evaluation.py). Needs two idle cores:

    python -m benchmarks.seeds
"""

from __future__ import annotations

import argparse
import copy
import os
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.common import interleaved, report
from dd_assets.datasets.registry import setting
from dd_assets.evaluation.losses import soft_kl
from dd_assets.evaluation.students import train_student
from dd_assets.models.architectures import build_model
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.threads import set_threads

SEEDS, IPC, BATCH = 3, 10, 50


def main() -> None:
    """Time the arms and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--student", default="convnet2_w64")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    given = parser.parse_args()
    rows = [*trainings(given.student, given.epochs, given.rounds), *stacked(given.student, given.rounds)]
    report("seeds", rows, given.out)


def train(student: str, epochs: int, seed: int) -> float:
    """One training with soft labels from a table of noise; its last accuracy."""
    chosen = setting("digits")
    whole, test = RawData().load("digits")
    rows = np.concatenate([whole.of_class(label)[:IPC] for label in range(10)])
    protocol = replace(chosen.protocol, epochs=epochs).for_student(True, len(rows))
    logits = np.random.default_rng(seed).standard_normal((epochs * len(rows), 10)).astype(np.float16)
    score = train_student(
        build_model(student, classes=10, channels=1, size=chosen.size, seed=seed),
        images_u8=whole.images[rows],
        labels=whole.labels[rows],
        protocol=protocol,
        view_seed=seed,
        test=test,
        normalisation=chosen.normalisation,
        logits=logits,
    )
    return score.last_accuracy


def trainings(student: str, epochs: int, rounds: int) -> list[dict[str, Any]]:
    """Wall seconds of three trainings: in turn with one thread, in turn with a thread per core, side by side."""
    cores = len(os.sched_getaffinity(0))
    side_by_side = Compute(device="cpu", workers=cores)
    piece = partial(train, student, epochs)

    def in_turn(threads: int) -> None:
        set_threads(threads)
        for seed in range(SEEDS):
            piece(seed)

    timed = interleaved(
        {
            "in turn, 1 thread": lambda: in_turn(1),
            f"in turn, {cores} threads": lambda: in_turn(cores),
            f"side by side, {cores} workers": lambda: list(side_by_side.map(piece, range(SEEDS))),
        },
        rounds,
    )
    best = min(found["wall"] for arm, found in timed.items() if arm.startswith("in turn"))
    return [
        {"what": f"{SEEDS} trainings, {epochs} epochs", "arm": arm, "s": found["wall"], "faster": best / found["wall"]}
        for arm, found in timed.items()
    ]


def stacked(student: str, rounds: int, steps: int = 20) -> list[dict[str, Any]]:
    """Seconds of steps of three networks in turn, and of the same networks stacked under `vmap`, one thread."""
    set_threads(1)
    networks = [build_model(student, classes=10, channels=1, size=8, seed=seed).train() for seed in range(SEEDS)]
    inputs, wanted = torch.randn(SEEDS, BATCH, 1, 8, 8), torch.randn(SEEDS, BATCH, 10)
    optimisers = [torch.optim.AdamW(network.parameters()) for network in networks]
    skeleton = copy.deepcopy(networks[0]).to("meta")
    states, buffers = stack_module_state(copy.deepcopy(networks))
    states = {name: values.detach().requires_grad_() for name, values in states.items()}
    together = torch.optim.AdamW(states.values())

    def loss(state: dict[str, Tensor], kept: dict[str, Tensor], views: Tensor, target: Tensor) -> Tensor:
        return soft_kl(functional_call(skeleton, (state, kept), (views,)), target, 20.0)

    def in_turn() -> None:
        for network, optimiser, views, target in zip(networks, optimisers, inputs, wanted, strict=True):
            optimiser.zero_grad()
            soft_kl(network(views), target, 20.0).backward()
            optimiser.step()

    def as_one() -> None:
        together.zero_grad()
        vmap(loss)(states, buffers, inputs, wanted).sum().backward()
        together.step()

    arms = {"in turn": in_turn, "stacked": as_one}
    timed = interleaved({name: lambda arm=arm: [arm() for _ in range(steps)] for name, arm in arms.items()}, rounds)
    return [
        {
            "what": f"{steps} steps of {SEEDS}, 1 thread",
            "arm": arm,
            "s": found["wall"],
            "faster": timed["in turn"]["cpu"] / found["cpu"],
        }
        for arm, found in timed.items()
    ]


if __name__ == "__main__":
    main()
