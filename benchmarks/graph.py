"""An up-to-date `sync` and `plan` over a large grid.

Belongs here: building such a grid synthetically, timing the real planner and the real sync over it. Does not belong:
computing anything: every unit but the datasets is a made-up manifest, its recipe digest is real.

    python -m benchmarks.graph --settings 13
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import report

IPC = (1, 2, 5, 10)
STUDENTS = ("convnet2_w64", "convnet1_w128", "resnet20_cifar")
SIMPLE = ("noise", "random", "rded", "sre2l", "cda", "dwa", "delt", "kmeans", "herding", "median", "el2n", "sre2lpp")
"""Methods that read the dataset, the teacher and each other's images alone."""


def main() -> None:
    """Build grids of several sizes, time them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=int, nargs="+", default=[2, 5, 10])
    parser.add_argument("--methods", type=int, default=len(SIMPLE))
    parser.add_argument("--students", type=int, default=3)
    parser.add_argument("--out")
    given = parser.parse_args()
    rows = [measure(count, SIMPLE[: given.methods], STUDENTS[: given.students]) for count in given.settings]
    report("graph", rows, given.out)


def measure(settings: int, methods: Sequence[str], students: Sequence[str]) -> dict[str, Any]:
    """Wall and CPU seconds of a plan and of a sync that finds everything up to date."""
    with tempfile.TemporaryDirectory() as folder:
        _enable(Path(folder), settings, students)
        import dagster as dg

        from dd_assets.assets.shell import present
        from dd_assets.definitions import defs
        from dd_assets.planning.engine import Engine
        from dd_assets.planning.plan import Planner, with_upstream
        from dd_assets.planning.sync import Sync
        from dd_resources.injection import NAMESPACE
        from dd_resources.raw_data import RawData
        from dd_resources.store import ArtefactStore

        store = ArtefactStore(f"{folder}/store").open()
        targets = list(_targets(settings, methods, students))
        with dg.DagsterInstance.local_temp(folder) as instance:
            _fill(store, instance, with_upstream(targets))
            made: dict[str, Any] = {"asset_partitions": len(with_upstream(targets))}
            looking = Engine(store, RawData(), look_only=True)

            def plan() -> None:
                planner = Planner(looking, NAMESPACE)
                assert all(planner.visit(target).status == "fresh" for target in with_upstream(targets))

            def sync() -> None:
                outcome = Sync(looking, NAMESPACE, instance, defs, present, lambda line: None).run(targets)
                assert set(outcome.lines.values()) == {"reused"}, set(outcome.lines.values())

            for name, action in (("plan", plan), ("sync", sync)):
                wall, cpu = time.perf_counter(), time.process_time()
                action()
                made[f"{name}_s"] = time.perf_counter() - wall
                made[f"{name}_cpu_s"] = time.process_time() - cpu
        made["sync_ms_each"] = 1000 * made["sync_s"] / made["asset_partitions"]
        return made


def _enable(folder: Path, settings: int, students: Sequence[str]) -> None:
    """Settings that are digits under other names; registries and definitions are read from them afterwards."""
    import importlib
    import sys

    entry = {"base": "digits", "ipc": list(IPC), "students": list(students), "labels": ["soft"]}
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({f"grid{number}": entry for number in range(settings)}))
    os.environ["DD_DATASETS"] = str(path)
    from dd_assets.datasets import registry
    from dd_assets.planning import graph

    registry.settings.cache_clear()
    graph.stages.cache_clear()
    for name in [name for name in sys.modules if name.startswith("dd_assets.assets.")]:
        del sys.modules[name]
    for name in ("dd_assets.partitions", "dd_assets.automation", "dd_assets.definitions"):
        if name in sys.modules:
            importlib.reload(sys.modules[name])


def _targets(settings: int, methods: Sequence[str], students: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number in range(settings):
        for ipc in IPC:
            for method in methods:
                for student in students:
                    yield f"{method}/score_{student}", f"grid{number}|{ipc}"


def _fill(store: Any, instance: Any, targets: Sequence[tuple[str, str]]) -> None:
    """Made-up results of every unit of the targets, their references, and their materializations in Dagster's log."""
    import dagster as dg

    from dd_assets.planning.cells import Cell
    from dd_assets.planning.engine import Engine
    from dd_assets.planning.graph import stages
    from dd_assets.planning.plan import input_target
    from dd_assets.planning.sync import DATA_VERSION_TAG
    from dd_assets.planning.unit import Manifest, Product, Unit
    from dd_resources.injection import NAMESPACE
    from dd_resources.raw_data import RawData

    class Inventing(Engine):
        """Commits a manifest for every unit instead of computing it; datasets are read for real."""

        def run(self, units: Sequence[Unit]) -> list[Manifest]:
            if units and units[0].name == "dataset":
                return super().run(units)
            return [
                self.store.lookup(unit.digest)
                or self.store.commit(unit, Product(content=unit.digest, payloads={}, summary={"rows": 10}), {})
                for unit in units
            ]

    engine = Inventing(store, RawData())
    found: dict[tuple[str, str], Any] = {}
    for target in targets:
        asset, partition = target
        stage, cell = stages()[asset], Cell.of(partition)
        inputs = {name: found[input_target(name, cell)] for name in stage.reads(cell)}
        reference = found[target] = stage.resolve(cell, inputs, engine)
        store.write_reference(NAMESPACE, reference)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=dg.AssetKey(asset.split("/")),
                partition=partition,
                tags={DATA_VERSION_TAG: reference.content},
            )
        )


if __name__ == "__main__":
    main()
