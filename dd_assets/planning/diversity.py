"""The `<method>/diversity` stage.

Belongs here: which units it consists of. Does not belong: measuring (units/diversity.py), Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping

from dd_assets.methods.contract import Method
from dd_assets.planning.cells import Cell, Stage, reference_of, run_named, usable
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Reference
from dd_assets.units import diversity

MAKES_NEW_IMAGES = ("optimisation", "generation")
"""Families of which it says something that no image is a training image."""


def _resolve(method: Method, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    asset, source = f"{method.name}/diversity", inputs[f"{method.name}/synthetic_images"]
    given = {name: usable(engine, inputs[name], name) for name in ("dataset", "teacher")}
    wanted = {
        key: diversity.plan(
            cell.setting, {**given, "images": usable(engine, source, key)}, draw, f"{asset} {cell.partition} {key}"
        )
        for draw, key in enumerate(source.units)
    }
    return reference_of(asset, cell, run_named(wanted, engine), inputs)


def diversity_stage(method: Method, tags: Mapping[str, str]) -> Stage:
    """The stage of one method, one unit per draw."""
    new = method.family in MAKES_NEW_IMAGES
    return Stage(
        asset=f"{method.name}/diversity",
        space="grid",
        inputs=("dataset", "teacher", f"{method.name}/synthetic_images"),
        resolve=lambda cell, inputs, engine: _resolve(method, cell, inputs, engine),
        unit_kind="diversity",
        checks=(
            ("finite_measures", True, "every measure that the set can have is a finite number"),
            *((("no_copies", False, "no image is a training image, pixel by pixel"),) if new else ()),
        ),
        description=(
            f"How varied the {method.name} images of a class are in the teacher's features (cosine similarity), how "
            "well they match its real images (precision, recall, density, coverage), how far the set lies from all of "
            "them (Fréchet and kernel distance) and how near each comes to a training image in pixels; beside random "
            "real images and whole classes."
        ),
        group=method.name,
        kinds=("pytorch", "parquet"),
        tags=dict(tags),
    )
