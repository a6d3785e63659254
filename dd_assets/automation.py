"""Jobs, one per partition space and method, and the nightly schedules that submit what is stale.

Belongs here: jobs, schedules, sensors and conditions. Does not belong: asset definitions, deciding what is stale
(planning/plan.py). A job cannot mix partition spaces; with a job per method one failure does not end the others.
"""

from typing import Any

import dagster as dg

from dd_assets.methods.registry import METHODS
from dd_assets.partitions import dataset_axis, grid
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import stages
from dd_assets.planning.plan import Planner, all_targets
from dd_resources.injection import NAMESPACE, RawDataResource, StoreResource


def build_jobs() -> list[Any]:
    """`datasets_job`, one `<method>_job` per method, `report_job`."""
    executor = dg.in_process_executor
    return [
        dg.define_asset_job(
            "datasets_job",
            selection=dg.AssetSelection.assets("dataset", "teacher"),
            partitions_def=dataset_axis,
            executor_def=executor,
            description="Datasets and their teachers.",
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
        dg.define_asset_job(
            "report_job",
            selection=dg.AssetSelection.assets("leaderboard"),
            executor_def=executor,
            description="The leaderboard over all scores that exist.",
        ),
    ]


def build_schedules() -> list[dg.ScheduleDefinition]:
    """One nightly schedule per partitioned job, off until somebody turns it on."""
    assets: dict[str, tuple[str, ...]] = {"datasets_job": ("dataset", "teacher")}
    for name in METHODS():
        assets[f"{name}_job"] = tuple(asset for asset, stage in stages().items() if stage.group == name)
    return [_nightly(job, chosen) for job, chosen in assets.items()]


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
        stale: dict[str, str] = {}
        for target in wanted:
            row = planner.visit(target)
            if row.status == "stale":
                stale.setdefault(row.partition, f"{row.asset}: {row.reason}")
        if not stale:
            return dg.SkipReason(f"none of {len(wanted)} asset partitions is stale")
        night = context.scheduled_execution_time.date().isoformat()
        return [
            dg.RunRequest(run_key=f"{job}/{night}/{key}", partition_key=key, tags={"dd/reason": reason[:200]})
            for key, reason in stale.items()
        ]

    return nightly
