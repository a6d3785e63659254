"""The stage of influence guidance: a surrogate with its kept epochs, and the class gradients there.

Belongs here: which units it consists of, why it cannot apply. Does not belong: computing them (dd_assets/units),
Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping

from dd_assets.errors import InputError
from dd_assets.planning.cells import Cell, Stage, reference_of, run_named, usable
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.units import class_gradients, surrogate

INFLUENCE = "influence"


def _resolve(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    reason = surrogate.without_surrogate(cell.setting)
    if reason:
        raise InputError(f"{INFLUENCE} [{cell.partition}]: {reason}", "choose another dataset")
    source = usable(engine, inputs["dataset"], "dataset")
    made = run_named({"surrogate": surrogate.plan(cell.setting, source, cell.overrides)}, engine)
    made["surrogate"].require_usable()
    wanted = {
        f"gradients/{first}": class_gradients.plan(cell.setting, source, made["surrogate"], first, last)
        for first, last in class_gradients.ranges(len(cell.setting.classes))
    }
    return reference_of(INFLUENCE, cell, {**made, **run_named(wanted, engine)}, inputs)


def influence_inputs(inputs: Mapping[str, Reference], engine: Engine) -> dict[str, Manifest]:
    """What a synthesis guided by influence reads: the surrogate and every unit of gradients."""
    return {name: usable(engine, inputs[INFLUENCE], name) for name in inputs[INFLUENCE].units}


def influence_stage() -> Stage:
    """The one stage."""
    return Stage(
        asset=INFLUENCE,
        space="dataset",
        inputs=("dataset",),
        resolve=_resolve,
        unit_kind="surrogate",
        checks=(
            ("surrogate_above_floor", True, "top-1 of the surrogate on the test split reaches its floor"),
            ("gradients_have_length", True, "no class gradient is zero or not finite"),
        ),
        description=(
            "A small classifier's training, the epochs at which its class gradients have turned, and the mean gradient"
            " of every class at each of them (IGD)."
        ),
        group="teachers",
        kinds=("pytorch",),
        takes_parameters=True,
    )
