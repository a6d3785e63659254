"""One store, one Dagster instance, one set of definitions: what launch tests act on.

Belongs here: building definitions over a temporary store, syncing and planning in this process. Does not belong:
settings, assertions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import dagster as dg

from dd_assets.planning.engine import Engine
from dd_assets.planning.plan import Planner, Target
from dd_assets.planning.sync import Outcome, Sync
from dd_resources.compute import Compute
from dd_resources.injection import NAMESPACE
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore


def build(root: str) -> dg.Definitions:
    """The project's definitions over a store."""
    from dd_assets.definitions import build_defs
    from dd_resources.injection import ComputeResource, ReferenceIOManagerResource, StoreResource

    return build_defs(
        {
            "store": StoreResource(root=root),
            "io_manager": ReferenceIOManagerResource(root=root),
            "compute": ComputeResource(device="cpu", workers=1),
        }
    )


@dataclasses.dataclass
class World:
    """One store, one Dagster instance, one way to sync."""

    store: ArtefactStore
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    workers: int = 1
    """More than one: what several assets want is computed side by side, before their runs."""

    def sync(self, targets: Sequence[Target], strict: bool = False) -> Outcome:
        """Bring targets up to date, then the leaderboard."""
        from dd_assets.assets.shell import present

        engine = Engine(self.store, RawData(), Compute(device="cpu", workers=1), look_only=True)
        job = Sync(engine, NAMESPACE, self.instance, self.definitions, present, lambda line: None)
        job.together = Engine(self.store, RawData(), Compute(device="cpu", workers=self.workers))
        outcome = job.run(targets, strict)
        job.report()
        outcome.require_all()
        return outcome

    def plan(self, targets: Sequence[Target]) -> dict[Target, str]:
        """The status of targets and of all they read."""
        planner = Planner(Engine(self.store, RawData(), look_only=True), NAMESPACE)
        for target in targets:
            planner.visit(target)
        return {target: row.status for target, row in planner.rows.items()}
