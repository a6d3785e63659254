"""Jobs: one per partition space, and one per method.

Belongs here: jobs, later schedules, sensors and conditions. Does not belong: asset definitions.
A job cannot mix partition spaces; a job per method keeps one method's failure from ending another's work.
"""

from __future__ import annotations

import dagster as dg

from dd_assets.methods.registry import METHODS
from dd_assets.partitions import dataset_axis, grid


def build_jobs() -> list[dg.UnresolvedAssetJobDefinition]:
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
