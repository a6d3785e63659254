"""The only place where assets, jobs and resources meet.

Belongs here: merging. Does not belong: anything defined here for the first time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from dd_assets.assets import (
    committee,
    dataset,
    diversity,
    embedding,
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


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would walk a quarter of a million new objects again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions, with resources from the environment unless overridden by name.

    Raises StoreError or InputError for a DD_EXECUTOR that cannot work here, before anything runs.
    """
    chosen = executor(store_root())
    upstream = (dataset, teacher, committee, generator, prompt_bank, influence)
    stages = (*upstream, synthetic_images, diversity, soft_labels, score, study, embedding, leaderboard)
    with _uncollected():
        assets = [asset for module in stages for asset in module.build()]
    return dg.Definitions(
        assets=assets,
        jobs=build_jobs(chosen),
        schedules=build_schedules(),
        resources={**default_resources(), **(resource_overrides or {})},
        executor=chosen,
    )


defs = build_defs()
# They live as long as the process. Left to the collector they would be walked once more at its exit, .4 CPU-seconds.
gc.freeze()
