"""The stage of class gaussians.

Belongs here: which units it consists of: one for each generator and level that some method starts from in a setting.
Does not belong: computing them (units/class_gaussians.py), Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import Cell, Stage, declared_parameters, reference_of, run_named, usable
from dd_assets.planning.engine import Engine
from dd_assets.planning.generators import CLUSTERED, generator_asset, generators_of, usable_generator
from dd_assets.planning.unit import Reference
from dd_assets.units import class_gaussians

CLASS_GAUSSIANS = "class_gaussians"


def asked_of(chosen: Setting) -> dict[str, Any]:
    """Unit name to the parameters that ask for it, over all methods, where the setting has the generator."""
    stated = ((method, declared_parameters(method, chosen)) for method in METHODS().values())
    found = [parameters for method, parameters in stated if method.reads_gaussians(parameters)]
    usable_here = [name for name in generators_of(chosen) if name in CLUSTERED]
    return {
        class_gaussians.key_of(parameters): parameters for parameters in found if parameters.generator in usable_here
    }


def _unasked(cell: Cell) -> frozenset[str]:
    wanted = {parameters.generator for parameters in asked_of(cell.setting).values()}
    return frozenset(generator_asset(name) for name in CLUSTERED if name not in wanted)


def _resolve(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    source, units = usable(engine, inputs["dataset"], "dataset"), {}
    for name, parameters in asked_of(cell.setting).items():
        made = usable_generator(engine, inputs[generator_asset(parameters.generator)])
        label = f"{CLASS_GAUSSIANS} {cell.partition} {name}"
        units[name] = class_gaussians.plan(cell.setting, source, made, parameters, label)
    if not units:
        raise InputError(
            f"{CLASS_GAUSSIANS} [{cell.partition}]: no method starts from a distribution of its generators",
            "enable a generator (docs/generators.md)",
        )
    return reference_of(CLASS_GAUSSIANS, cell, run_named(units, engine), inputs)


def class_gaussians_stage() -> Stage:
    """One unit per generator and level that a method's parameters name."""
    generators = tuple(generator_asset(name) for name in CLUSTERED)
    return Stage(
        asset=CLASS_GAUSSIANS,
        space="dataset",
        inputs=("dataset", *generators),
        resolve=_resolve,
        unit_kind="class_gaussians",
        checks=(
            ("finite", True, "no NaN or infinity in means or deviations"),
            ("nearly_normal", False, "inverted latents are about as large as noise"),
        ),
        description="Mean and deviation of each class's latents after DDIM inversion to a noise level: what is drawn"
        " there denoises to images of the class (D3HR).",
        group="generators",
        kinds=("python", "parquet"),
        skippable=generators,
        unread=_unasked,
        blocked=lambda cell: "" if asked_of(cell.setting) else "no method starts from a distribution of its generators",
    )
