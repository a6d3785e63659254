"""A small unit kind that counts its steps in a file, and a process that computes such units with a real engine.

Belongs here: what planning tests inject in place of trainings. Run it: `python -m tests.planning.counting '<json>'`
with the fields of `Job`; lines of the engine go to standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Engine, Work
from dd_assets.planning.unit import Product, Unit
from dd_assets.units import kinds
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a counting process does."""

    store: str
    log: str
    """File that receives one line per step: process, step."""
    steps: int = 20
    pause: float = 0.05
    every: int = 5
    """Steps between checkpoints."""
    seed: int = 0
    leases: bool = True
    lease_seconds: float = 2.0
    start_file: str = ""
    """Wait until this file exists, so that processes begin together."""


def unit(seed: int = 0, **parameters: Any) -> Unit:
    """A counting unit; log, pause and interval do not decide the result but lie in the parameters for brevity."""
    return Unit(name="counting", version=1, parameters=parameters, inputs={}, seed=seed, label=f"counting {seed}")


def job_unit(job: Job) -> Unit:
    """The unit of a job."""
    return unit(job.seed, log=job.log, steps=job.steps, pause=job.pause, every=job.every)


def compute(unit: Unit, work: Work) -> Product:
    """Add up the squares of the steps, slowly, with checkpoints."""
    given = unit.parameters
    state = work.checkpoints.load() or {"step": np.array(0), "total": np.array(0)}
    step, total = int(state["step"]), int(state["total"])
    while step < given["steps"]:
        with open(given["log"], "a", encoding="ascii") as log:
            log.write(f"{os.getpid()} {step}\n")
        total += step * step
        step += 1
        time.sleep(given["pause"])
        if step % given["every"] == 0:
            # numpy's numbers, as computations hand them over.
            work.progress(np.int64(step), given["steps"], mean=np.float32(total / step))
            work.checkpoints.save({"step": np.array(step), "total": np.array(total)})
    content = ContentHasher("counting").value("total", total).value("seed", unit.seed).hexdigest()
    return Product(content=content, payloads={"total": b"%d" % total}, summary={"total": total})


def table() -> dict[str, kinds.Kind]:
    """The injected list of kinds."""
    own = kinds.Kind(version=1, compute=f"{__name__}:compute", code=__name__, exclusive=True)
    return {"counting": own}


def steps_logged(log: Path) -> list[tuple[int, int]]:
    """(process, step) of every step that was begun."""
    if not log.exists():
        return []
    return [(int(process), int(step)) for process, step in (line.split() for line in log.read_text().splitlines())]


def start(job: Job) -> subprocess.Popen[str]:
    """A process that does the job."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.planning.counting", json.dumps(asdict(job))],
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def main(job: Job) -> None:
    """Compute the job's unit; the last line says how the result came about."""
    import tests.planning.counting as importable

    kinds.kinds = importable.table
    if job.start_file:
        print("ready", flush=True)
    while job.start_file and not Path(job.start_file).exists():
        time.sleep(0.005)
    engine = Engine(
        ArtefactStore(job.store),
        RawData(),
        Compute(device="cpu"),
        announce=lambda line: print(line, flush=True),
        leases=job.leases,
        lease_seconds=job.lease_seconds,
    )
    (manifest,) = engine.run([job_unit(job)])
    print(f"computed {len(engine.tally.computed)} content {manifest.content}", flush=True)


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
