"""What it costs to give freed memory back to the system at every step, and to fetch it again.

Belongs here: training steps of ResNet-20 (batch 50) and SRe2L-like iterations (10 images) in processes that keep what
they free, as dd_resources/threads.py asks, and in ones that do not. Does not belong: how much memory work needs.
Run it:

    python -m benchmarks.kept_memory
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.common import report
from benchmarks.gpu import network_of
from dd_assets.synthesis.recover import ce_and_bn
from dd_resources.threads import set_threads

ARMS = ("given back", "kept")


def main() -> None:
    """Time the arms in processes of their own, in turn, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--arm", choices=ARMS, help="time this one in this process (what the others are started with)")
    parser.add_argument("--out")
    given = parser.parse_args()
    if given.arm:
        if given.arm == "kept":
            set_threads(1)
        torch.set_num_threads(1)
        for what, step in (("training step", training_step()), ("SRe2L iteration, 10 images", iteration())):
            print(what, *cost(step, given.steps), sep="\t")
        return
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for _ in range(given.rounds):
        for arm in ARMS:
            command = [sys.executable, "-m", "benchmarks.kept_memory", "--arm", arm, "--steps", str(given.steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            for line in done.stdout.splitlines():
                what, *values = line.split("\t")
                found.setdefault((what, arm), []).append((float(values[0]), float(values[1]), float(values[2])))
    rows: list[dict[str, Any]] = []
    for (what, arm), values in sorted(found.items()):
        cpu, system, pages = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append({"what": what, "freed memory is": arm, "CPU ms": cpu, "of it system": system, "pages": pages})
    report("kept_memory", rows, given.out)


def cost(step: Any, steps: int) -> tuple[float, float, float]:
    """CPU milliseconds, those of the system and pages fetched, per step."""
    for _ in range(5):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(steps):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    cpu = after.ru_utime - before.ru_utime + system
    return 1e3 * cpu / steps, 1e3 * system / steps, (after.ru_minflt - before.ru_minflt) / steps


def training_step() -> Any:
    """A step of AdamW on 50 images of 32 px, channels last."""
    network = network_of("resnet20_cifar", 32).train().to(memory_format=torch.channels_last)
    images = torch.randn(50, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.arange(50) % 10
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def iteration() -> Any:
    """Cross-entropy and BN distance of 10 images, back to their pixels."""
    network = network_of("resnet20_cifar", 32).eval().requires_grad_(False)
    images = torch.randn(10, 3, 32, 32).requires_grad_()

    def step() -> None:
        images.grad = None
        with ce_and_bn(network, 0.01, 10.0) as objective:
            objective(images, torch.arange(10))[0].backward()  # type: ignore[no-untyped-call]

    return step


if __name__ == "__main__":
    main()
