"""The stage of reference latents.

Belongs here: which units it consists of: those that some method reads in a setting. Does not belong: computing them
(units/reference_latents.py), Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping

from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import Cell, Stage, declared_parameters, reference_of, run_named, usable
from dd_assets.planning.engine import Engine
from dd_assets.planning.generators import (
    CENTROIDS,
    CLUSTERED,
    REFERENCE_LATENTS,
    generator_asset,
    generators_of,
    usable_generator,
    without_centroids,
)
from dd_assets.planning.unit import Reference
from dd_assets.units import reference_latents

CHOICES = ("class", "kmeans")


def asked_of(chosen: Setting) -> list[str]:
    """The units that some method reads in a setting, as "generator/choice", of the generators that are clustered."""
    stated = ((method, declared_parameters(method, chosen)) for method in METHODS().values())
    found = {(method.generator_of(parameters), method.references_of(parameters)) for method, parameters in stated}
    has = generators_of(chosen)
    pairs = ((name, choice) for name in CLUSTERED for choice in CHOICES)
    return [f"{name}/{choice}" for name, choice in pairs if name in has and (name, choice) in found]


def _unasked(cell: Cell) -> frozenset[str]:
    """Generators whose latents nobody reads, and the centroids where no method compares with their neighbours."""
    wanted = [key.split("/") for key in asked_of(cell.setting)]
    names, choices = {name for name, _ in wanted}, {choice for _, choice in wanted}
    left_out = {generator_asset(name) for name in CLUSTERED if name not in names}
    return frozenset(left_out if "kmeans" in choices else {*left_out, CENTROIDS})


def _resolve(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    source = usable(engine, inputs["dataset"], "dataset")
    reason = without_centroids(cell, source.summary["train_counts"])
    if reason:
        raise InputError(f"{REFERENCE_LATENTS} [{cell.partition}]: {reason}", "choose a smaller IPC or another dataset")
    units = {}
    for key in asked_of(cell.setting):
        name, choice = key.split("/")
        made = usable_generator(engine, inputs[generator_asset(name)])
        near = usable(engine, inputs[CENTROIDS], name) if choice == "kmeans" else None
        units[key] = reference_latents.plan(
            cell.setting, source, made, near, f"{REFERENCE_LATENTS} {cell.partition} {key}"
        )
    return reference_of(REFERENCE_LATENTS, cell, run_named(units, engine), inputs)


def reference_latents_stage() -> Stage:
    """At most two units per generator: random images of each class, and those next to each of its centroids.

    The graph has an edge to the centroids in any case; a setting none of whose methods reads their neighbours does not
    wait for them.
    """
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
        skippable=(*generators, CENTROIDS),
        unread=_unasked,
    )
