"""The stage of reference latents.

Belongs here: which units it consists of. Does not belong: computing them (units/reference_latents.py), Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping

from dd_assets.errors import InputError
from dd_assets.planning.cells import Cell, Stage, reference_of, run_named, usable
from dd_assets.planning.engine import Engine
from dd_assets.planning.generators import (
    CENTROIDS,
    CLUSTERED,
    REFERENCE_LATENTS,
    clustered,
    generator_asset,
    unclustered,
    usable_generator,
    without_centroids,
)
from dd_assets.planning.unit import Reference
from dd_assets.units import reference_latents


def _resolve(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    source = usable(engine, inputs["dataset"], "dataset")
    reason = without_centroids(cell, source.summary["train_counts"])
    if reason:
        raise InputError(f"{REFERENCE_LATENTS} [{cell.partition}]: {reason}", "choose a smaller IPC or another dataset")
    units = {}
    for name in clustered(cell):
        made = usable_generator(engine, inputs[generator_asset(name)])
        near = usable(engine, inputs[CENTROIDS], name)
        for choice, centroids in (("class", None), ("kmeans", near)):
            label = f"{REFERENCE_LATENTS} {cell.partition} {name}/{choice}"
            units[f"{name}/{choice}"] = reference_latents.plan(cell.setting, source, made, centroids, label)
    return reference_of(REFERENCE_LATENTS, cell, run_named(units, engine), inputs)


def reference_latents_stage() -> Stage:
    """Two units per generator: random images of each class, and those next to each of its centroids."""
    generators = tuple(generator_asset(name) for name in CLUSTERED)
    return Stage(
        asset=REFERENCE_LATENTS,
        space="grid",
        inputs=("dataset", *generators, CENTROIDS),
        resolve=_resolve,
        unit_kind="reference_latents",
        checks=(("own_class", True, "every class has references, and each is of its own class"),),
        description="Latents of real images that guidances compare samples with: random ones of each class (shared by"
        " all IPC values) and those nearest to each class centroid. Features of them depend on the timestep and are"
        " computed in the sampling.",
        group="generators",
        kinds=("python", "parquet"),
        skippable=generators,
        unread=unclustered,
    )
