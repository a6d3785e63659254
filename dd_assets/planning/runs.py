"""Dagster runs outside this process: those that died with it, and those that a daemon is to start.

Belongs here: marking runs failed whose process is gone, submitting a backfill of exactly what must be computed.
Does not belong: what must be computed (plan.py), runs in this process (sync.py).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence

import dagster as dg

from dd_assets.errors import DDError
from dd_assets.planning.plan import Target
from dd_resources.leases import has_ended, identity

PROCESS_TAG = ".dagster/dd_process"
"""On runs in a process of the command line: which one, as leases name processes. The UI hides tags that begin so."""
DAEMONS = ("BACKFILL", "QUEUED_RUN_COORDINATOR")
LATE_SECONDS = 120.0
"""A daemon that has given no sign for this long (and its usual 30 s) is not running."""
LEADERBOARD = "leaderboard"
UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""A process can be killed between the record of a run and its start, too."""


class NoDaemonError(DDError):
    """Nobody would start what is submitted."""


def process_tags() -> dict[str, str]:
    """Tags by which `mark_dead_runs` knows later whether the run's process is alive."""
    return {PROCESS_TAG: json.dumps(identity())}


def mark_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs failed whose process on this machine has ended without saying so, and free their pool slots.

    Returns their ids. Runs that a daemon started are its to watch (`run_monitoring` in dagster.yaml).
    """
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)) if has_ended(_process(run))]
    for run in dead:
        instance.report_run_failed(run, "its process ended without a word (killed, or the machine went down)")
        with contextlib.suppress(NotImplementedError):
            # Storages without pools have no slots to free.
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def _process(run: dg.DagsterRun) -> dict[str, str]:
    return dict(json.loads(run.tags.get(PROCESS_TAG, "{}")))


def submit(instance: dg.DagsterInstance, definitions: dg.Definitions, targets: Sequence[Target]) -> str:
    """Ask the instance's daemon for these targets as one asset backfill, which may mix partition spaces; its id.

    The daemon starts what reads something after what it reads. With a score among the targets the leaderboard comes
    last. Raises NoDaemonError if no daemon has been seen lately.
    """
    from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
    from dagster._core.definitions.events import AssetKeyPartitionKey
    from dagster._core.execution.backfill import PartitionBackfill
    from dagster._core.utils import make_new_backfill_id

    require_daemon(instance)
    graph = definitions.resolve_asset_graph()
    wanted = {AssetKeyPartitionKey(dg.AssetKey(asset.split("/")), partition) for asset, partition in targets}
    if any("/score_" in asset for asset, _ in targets):
        wanted.add(AssetKeyPartitionKey(dg.AssetKey(LEADERBOARD), None))
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=make_new_backfill_id(),
        backfill_timestamp=time.time(),
        tags={"dd/origin": "dd-assets sync --queue"},
        dynamic_partitions_store=instance,
        asset_graph_subset=AssetGraphSubset.from_asset_partition_set(wanted, graph),
        title=f"sync: {len(targets)} asset partitions",
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def require_daemon(instance: dg.DagsterInstance) -> None:
    """Raise NoDaemonError unless the daemons that start backfills have been seen lately."""
    # The daemon's modules cost half a second that every load of the definitions would pay.
    from dagster._daemon.controller import get_daemon_statuses

    statuses = get_daemon_statuses(instance, DAEMONS, ignore_errors=True, heartbeat_tolerance_seconds=LATE_SECONDS)
    silent = [name for name, status in statuses.items() if status.required and not status.healthy]
    if silent:
        raise NoDaemonError(
            f"no daemon of {instance.root_directory} has been seen lately ({', '.join(silent)})",
            "start one with `dd-assets ui` (or dagster-daemon), or sync without --queue",
        )
