"""The images of one method in one cell: what they are made from, whether they fit, their shards.

Belongs here: from a method and a cell to its image sets. Does not belong: which assets a method reads (graph.py,
generation.py), synthesis itself (units/images.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dd_assets.errors import InputError
from dd_assets.methods.contract import OWN_STARTS, Facts, Method
from dd_assets.planning.cells import Cell, declared_parameters, reference_of, run_named, starts_of, usable
from dd_assets.planning.engine import Engine
from dd_assets.planning.generation import (
    generation_assets,
    generation_inputs,
    misfit,
    samples_of,
    stated_parameters,
    ungenerated,
)
from dd_assets.planning.generation_cost import peak_of
from dd_assets.planning.influence import INFLUENCE, influence_inputs
from dd_assets.planning.memory import Estimate, run_within
from dd_assets.planning.scoring import scored_draws
from dd_assets.planning.unit import Manifest, Reference, require_usable
from dd_assets.units import dataset, image_set, images


def image_assets(method: Method) -> tuple[str, ...]:
    """The assets that some recipe or setting of a method makes images from."""
    needs = method.needs
    teacher = any(method.reads_teacher(parameters) for parameters in stated_parameters(method))
    read = {"teacher": teacher, "committee": needs.committee, "statistics": needs.statistics}
    read |= {"priors": needs.priors, INFLUENCE: needs.influence}
    return (
        "dataset",
        *(asset for asset, wanted in read.items() if wanted),
        *generation_assets(method),
        *(f"{start}/synthetic_images" for start in starts_of(method)),
    )


def skippable_assets(method: Method) -> tuple[str, ...]:
    """Those of `image_assets` that other recipes or settings of a method may do without."""
    sure = {"dataset", "committee", "statistics", "priors", INFLUENCE}
    return tuple(asset for asset in image_assets(method) if asset not in sure)


def unread_assets(method: Method, cell: Cell) -> frozenset[str]:
    """Those of `skippable_assets` that a cell's parameters do without."""
    parameters = declared_parameters(method, cell.setting, cell.overrides)
    starts = {f"{start}/synthetic_images" for start in starts_of(method)} - {
        f"{method.images_of(parameters)}/synthetic_images"
    }
    teacher = frozenset() if method.reads_teacher(parameters) else {"teacher"}
    return ungenerated(method, cell) | starts | teacher


def image_inputs(
    method: Method, parameters: Any, facts: Facts, inputs: Mapping[str, Reference], engine: Engine, draws: int
) -> list[dict[str, Manifest]]:
    """Input name to manifest, per draw; a draw starts from the draw of the same number of the images it starts from."""
    needs, wanted = method.needs, {}
    if needs.real_images:
        wanted["dataset"] = usable(engine, inputs["dataset"], "dataset")
    if method.reads_teacher(parameters):
        if "teacher" not in inputs:
            raise InputError(
                f"{method.name} lets no teacher choose in any recipe, so the graph has no such edge",
                "a recipe or setting adds it",
            )
        wanted["teacher"] = usable(engine, inputs["teacher"], "teacher")
    for member in method.pool(parameters, facts):
        wanted[f"committee/{member}"] = usable(engine, inputs["committee"], member)
        if needs.statistics:
            wanted[f"statistics/{member}"] = usable(engine, inputs["statistics"], member)
    if needs.priors:
        wanted["priors"] = usable(engine, inputs["priors"], "priors")
    if needs.influence:
        wanted |= influence_inputs(inputs, engine)
    wanted |= generation_inputs(method, parameters, inputs, engine)
    start = method.images_of(parameters)
    if start is None:
        return [wanted] * draws
    asset = f"{start}/synthetic_images"
    if asset not in inputs:
        raise InputError(
            f"{method.name} does not start from {start} in any recipe, so the graph has no such edge",
            f"init can be one of {', '.join([*OWN_STARTS, *starts_of(method)])} here; a recipe adds others",
        )
    starts = len(inputs[asset].units)
    return [{**wanted, "initial": usable(engine, inputs[asset], f"draw{draw % starts}")} for draw in range(draws)]


def resolve_images(method: Method, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    """The image sets of a cell, one per draw; raises InputError where the method cannot apply or would not fit."""
    described = dataset.facts(cell.setting, usable(engine, inputs["dataset"], "dataset"))
    parameters = declared_parameters(method, cell.setting, cell.overrides)
    reason = method.reason_against(parameters, described, cell.ipc)
    if reason:
        raise InputError(
            f"{method.name} on {cell.partition}: {reason}", "choose a smaller IPC, another dataset or other parameters"
        )
    sets = made_sets(method, cell, parameters, described, inputs, engine, scored_draws(method, cell.setting))
    return reference_of(f"{method.name}/synthetic_images", cell, sets, inputs)


def made_sets(
    method: Method,
    cell: Cell,
    parameters: Any,
    facts: Facts,
    inputs: Mapping[str, Reference],
    engine: Engine,
    draws: int,
) -> dict[str, Manifest]:
    """The image sets of a cell that can apply, of its first `draws` draws.

    Raises InputError where a missing shard would not fit into memory or the setting's networks cannot give what the
    parameters ask, VerdictError where a shard may not be used.
    """
    reason = misfit(method, parameters, cell.setting, engine.raw)
    if reason:
        raise InputError(f"{method.name} on {cell.partition}: {reason}", "choose another generator or other parameters")
    given = image_inputs(method, parameters, facts, inputs, engine, draws)
    per_draw = images.plan(method, cell.setting, facts, cell.ipc, given, parameters)
    wanted = [unit for draw in per_draw for unit in draw]

    def peak() -> Estimate:
        samples = samples_of(method, parameters, inputs, engine)
        return peak_of(method, parameters, facts, cell.ipc, cell.setting, samples)

    made = run_within(engine, wanted, peak, f"{method.name} on {cell.partition}")
    require_usable(made)
    shards = iter(made)
    label, sets = f"{method.name}/synthetic_images {cell.partition}", {}
    for draw, units in enumerate(per_draw):
        parts = [next(shards) for _ in units]
        sets[f"draw{draw}"] = image_set.plan(parts, cell.setting.classes, cell.ipc, draw, label)
    return run_named(sets, engine)
