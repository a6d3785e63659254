"""Pieces of work on 1, 2 and 4 Ray workers of one machine, against the same pieces one after the other in this process.

Belongs here: the cost and the gain of `Compute.map` on a cluster. Does not belong: what real pieces compute: these are
training steps of a small network on noise, all of one length, so that only the spreading is seen.

    python -m benchmarks.ray_scaling --workers 1 2 4 --out FILE
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import report
from dd_resources.cluster import Request
from dd_resources.compute import Compute
from tests.ray_nodes import RayNode, inherited

BATCH, SIZE, CLASSES = 64, 8, 10


def main() -> None:
    """Start a cluster per number of workers, time the pieces on it, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--pieces", type=int, default=8)
    parser.add_argument("--steps", type=int, default=150, help="training steps of a piece")
    parser.add_argument("--out")
    given = parser.parse_args()
    alone = _timed(Compute(device="cpu", workers=1), given.pieces, given.steps)
    rows = [measure(workers, given.pieces, given.steps, alone) for workers in given.workers]
    report("ray_scaling", rows, given.out)


def piece(steps: int) -> float:
    """CPU-seconds of so many training steps."""
    import torch
    from torch import nn

    from dd_assets.models.architectures import build_model

    started = time.process_time()
    model = build_model("convnet2_w64", classes=CLASSES, channels=1, size=SIZE, seed=0)
    images, labels = torch.zeros(BATCH, 1, SIZE, SIZE), torch.arange(BATCH) % CLASSES
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()
    return time.process_time() - started


def measure(workers: int, pieces: int, steps: int, alone: float) -> dict[str, Any]:
    """Wall seconds on a new cluster of one node with so many CPUs, first with cold workers and then with warm ones."""
    import ray

    # Not below the project: the paths of a session's sockets may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="dd-ray-", dir="/tmp"))
    head = RayNode(folder, "127.0.0.2", {**inherited(), "PYTHONPATH": os.pathsep.join(_path())}, cpus=workers)
    try:
        head.start()
        os.environ["RAY_ADDRESS"] = head.gcs
        compute = Compute(request=Request())
        cold = _timed(compute, pieces, steps)
        warm = _timed(compute, pieces, steps)
    finally:
        ray.shutdown()
        os.environ.pop("RAY_ADDRESS", None)
        head.kill()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "workers": workers,
        "cores": len(os.sched_getaffinity(0)),
        "pieces": pieces,
        "alone_s": alone,
        "cold_s": cold,
        "warm_s": warm,
        "speedup": alone / warm,
        "share_of_ideal": alone / warm / workers,
    }


def _timed(compute: Compute, pieces: int, steps: int) -> float:
    started = time.perf_counter()
    assert len(list(compute.map(piece, [steps] * pieces))) == pieces
    return time.perf_counter() - started


def _path() -> list[str]:
    return [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH", "")])]


if __name__ == "__main__":
    main()
