"""What Dagster's own work costs, and what this project adds to it: definitions, the start of a run, a reused step.

Belongs here: CPU-seconds of fresh processes, bare Dagster and this project in turns. Does not belong: plan and sync of
many partitions (graph.py), many runs at once (load.py). A run has three steps, a method's images, labels and score; all
of it is stored before, so that a step has nothing to compute. The first run makes a few digits results: a minute.

    python -m benchmarks.overhead
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

METHOD, PARTITION = "random", "digits|1"
STEPS = tuple(f"{METHOD}/{noun}" for noun in ("synthetic_images", "soft_labels", "score_convnet2_w64"))
ARMS = ("Dagster", "dd-assets")
PARTS = ("definitions", "a job of them", "first run", "a later run's step")


def main() -> None:
    """Time both arms in turns, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    parser.add_argument("--arm", choices=ARMS, help="time this one in this process (what the others are started with)")
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(timed(given.arm)))
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DD_STORE": f"{folder}/store", "DAGSTER_HOME": f"{folder}/home"}
        environment.pop("DD_DATASETS", None)
        Path(folder, "home").mkdir()
        command = ["-m", "dd_assets", "sync", "--select", f'key:"{STEPS[-1]}"', "--partition", PARTITION]
        subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True)
        found: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
        for _ in range(given.rounds):
            for arm in ARMS:
                command = ["-m", "benchmarks.overhead", "--arm", arm]
                done = subprocess.run(
                    [sys.executable, *command], env=environment, check=True, capture_output=True, text=True
                )
                found[arm].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {arm: [statistics.median(column) for column in zip(*rows, strict=True)] for arm, rows in found.items()}
    from benchmarks.common import report

    report("overhead", rows_of(medians), given.out)


def rows_of(medians: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A row per part: CPU-seconds of both arms, and their difference."""
    return [
        {"what": part, "Dagster, CPU s": bare, "dd-assets, CPU s": ours, "more": ours - bare}
        for part, bare, ours in zip(PARTS, medians["Dagster"], medians["dd-assets"], strict=True)
    ]


def timed(arm: str) -> list[float]:
    """CPU-seconds of this process for each of PARTS; what Python itself takes to start is in the first."""
    definitions, name, selection = _bare() if arm == "Dagster" else _ours()
    loaded = time.process_time()
    import dagster as dg

    job = definitions.resolve_job_def(name)
    resolved = time.process_time()
    # Dagster would tell each event on standard error.
    quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    with dg.DagsterInstance.get() as instance:
        spent = []
        for _ in range(4):
            began = time.process_time()
            done = job.execute_in_process(
                partition_key=PARTITION, instance=instance, asset_selection=selection, run_config=quiet
            )
            spent.append(time.process_time() - began)
            assert len(done.get_asset_materialization_events()) == len(STEPS)
    return [loaded, resolved - loaded, spent[0], statistics.median(spent[1:]) / len(STEPS)]


def _bare() -> tuple[Any, str, Any]:
    """Definitions with a job of as many steps that do nothing."""
    import dagster as dg

    partitions = dg.StaticPartitionsDefinition([PARTITION])

    def step(place: int) -> dg.AssetsDefinition:
        @dg.asset(name=f"step{place}", deps=[f"step{place - 1}"] if place else [], partitions_def=partitions)
        def nothing() -> None: ...

        return nothing

    chain = [step(place) for place in range(len(STEPS))]
    return dg.Definitions(assets=chain, jobs=[dg.define_asset_job("bare_job", chain)]), "bare_job", None


def _ours() -> tuple[Any, str, Any]:
    """This project's definitions, the method's job, as many of its assets."""
    import dagster as dg

    from dd_assets.definitions import defs

    return defs, f"{METHOD}_job", [dg.AssetKey(name.split("/")) for name in STEPS]


if __name__ == "__main__":
    main()
