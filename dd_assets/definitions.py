"""The only place where assets, jobs and resources meet.

Belongs here: merging. Does not belong: anything defined here for the first time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets import (
    committee,
    dataset,
    diversity,
    generator,
    influence,
    leaderboard,
    prompt_bank,
    score,
    soft_labels,
    study,
    synthetic_images,
    teacher,
)
from dd_assets.automation import build_jobs, build_schedules
from dd_resources.execution import executor
from dd_resources.injection import default_resources, store_root


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions, with resources from the environment unless overridden by name.

    Raises StoreError or InputError for a DD_EXECUTOR that cannot work here, before anything runs.
    """
    chosen = executor(store_root())
    upstream = (dataset, teacher, committee, generator, prompt_bank, influence)
    stages = (*upstream, synthetic_images, diversity, soft_labels, score, study, leaderboard)
    return dg.Definitions(
        assets=[asset for module in stages for asset in module.build()],
        jobs=build_jobs(chosen),
        schedules=build_schedules(),
        resources={**default_resources(), **(resource_overrides or {})},
        executor=chosen,
    )


defs = build_defs()
