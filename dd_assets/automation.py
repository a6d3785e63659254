"""Jobs, one per partition space and method, and the nightly schedules that submit what is stale.

Belongs here: jobs, schedules, sensors and conditions. Does not belong: asset definitions, deciding what is stale
(planning/plan.py). A job cannot mix partition spaces; with a job per method one failure does not end the others.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from dd_assets.methods.registry import METHODS
from dd_assets.partitions import dataset_axis, grid
from dd_assets.planning.cells import STUDIES
from dd_assets.planning.engine import Engine
from dd_assets.planning.generators import CENTROIDS, REFERENCE_LATENTS
from dd_assets.planning.graph import Cell, stages
from dd_assets.planning.plan import UNMADE, Planner, Target, all_targets, input_target
from dd_assets.planning.turns import OF_DATASETS
from dd_resources.injection import NAMESPACE, RawDataResource, StoreResource


def build_jobs(executor: dg.ExecutorDefinition) -> list[Any]:
    """`datasets_job`, one `<method>_job` per method, `studies_job`, `report_job`."""
    return [
        dg.define_asset_job(
            "datasets_job",
            selection=dg.AssetSelection.assets(*OF_DATASETS),
            partitions_def=dataset_axis,
            executor_def=executor,
            description="Datasets, their teachers, and what else belongs to a dataset and no method.",
        ),
        *(
            dg.define_asset_job(
                f"{name}_job",
                selection=dg.AssetSelection.groups(name),
                partitions_def=grid,
                executor_def=executor,
                description=f"Images, labels and scores of {method.title}.",
            )
            for name, method in METHODS().items()
        ),
        *(
            dg.define_asset_job(
                f"{asset}_job",
                selection=dg.AssetSelection.assets(asset),
                partitions_def=grid,
                executor_def=executor,
                description=description,
            )
            for asset, description in (
                (CENTROIDS, "Class centroids in the latents of each generator."),
                (REFERENCE_LATENTS, "Latents of real images that guidances compare samples with."),
            )
        ),
        dg.define_asset_job(
            f"{STUDIES}_job",
            selection=dg.AssetSelection.groups(STUDIES),
            partitions_def=grid,
            executor_def=executor,
            description="Tables and figures of the paper, as score variants.",
        ),
        dg.define_asset_job(
            "report_job",
            selection=dg.AssetSelection.assets("leaderboard"),
            executor_def=executor,
            description="The leaderboard over all scores that exist.",
        ),
    ]


def nightly_assets() -> dict[str, tuple[str, ...]]:
    """Job to the assets that its schedule keeps up to date: all but studies, which are asked for one by one."""
    assets: dict[str, tuple[str, ...]] = {"datasets_job": OF_DATASETS}
    assets |= {f"{asset}_job": (asset,) for asset in (CENTROIDS, REFERENCE_LATENTS)}
    for name in METHODS():
        assets[f"{name}_job"] = tuple(asset for asset, stage in stages().items() if stage.group == name)
    return assets


def build_schedules() -> list[dg.ScheduleDefinition]:
    """One nightly schedule per partitioned job but the studies', off until somebody turns it on."""
    return [_nightly(job, chosen) for job, chosen in nightly_assets().items()]


def _nightly(job: str, assets: tuple[str, ...]) -> dg.ScheduleDefinition:
    @dg.schedule(
        job_name=job,
        name=f"{job.removesuffix('_job')}_nightly",
        cron_schedule="0 2 * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Submits the partitions that are stale against the declared recipes; computes nothing else.",
    )
    def nightly(context: dg.ScheduleEvaluationContext, store: StoreResource, raw_data: RawDataResource):  # type: ignore[no-untyped-def]  # Dagster reads output types from a return annotation
        planner = Planner(Engine(store.open(), raw_data.get(), look_only=True), NAMESPACE)
        wanted = [target for target in all_targets() if target[0] in assets]
        chosen = due(planner, wanted)
        if not chosen:
            return dg.SkipReason(f"none of {len(wanted)} asset partitions is stale")
        night = context.scheduled_execution_time.date().isoformat()
        return [
            dg.RunRequest(
                run_key=f"{job}/{night}/{partition}",
                partition_key=partition,
                asset_selection=[dg.AssetKey(asset.split("/")) for asset, _ in targets],
                tags={"dd/reason": f"{targets[0][0]}: {planner.rows[targets[0]].reason}"[:200]},
            )
            for partition, targets in chosen.items()
        ]

    return nightly


def due(planner: Planner, wanted: Sequence[Target]) -> dict[str, list[Target]]:
    """Partition to its targets that are stale, and those below them that wait for nothing else.

    wanted: targets of one job, upstream before downstream. What reads another job's assets that are not up to date is
    left to the night after that job's: by then it is either stale or has turned out unchanged. A stale target, too:
    its run would read what the references name now.
    """
    chosen: dict[str, list[Target]] = {}
    for target in wanted:
        asset, partition = target
        row, beside = planner.visit(target), chosen.get(partition, [])
        cell = Cell.of(partition)
        inputs = [input_target(name, cell) for name in stages()[asset].reads(cell)]
        further = {planner.rows[source].status for source in inputs if source not in beside}
        below = row.status == "pending" and beside and further <= {"fresh"}
        if below or (row.status == "stale" and not further & set(UNMADE)):
            chosen[partition] = [*beside, target]
    return chosen
