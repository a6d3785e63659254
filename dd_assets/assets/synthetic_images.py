"""The `<method>/synthetic_images` assets, one per registered method.

Belongs here: their metadata. Does not belong: synthesis (methods/<name>).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import column_schema, inline_image, stage_asset
from dd_assets.methods.contract import Method
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import declared_parameters
from dd_assets.planning.digests import plain
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.unit import Manifest
from dd_assets.units.image_set import CONTACT_SHEET


def build() -> list[dg.AssetsDefinition]:
    """One asset per method."""
    return [
        stage_asset(stage(f"{name}/synthetic_images"), functools.partial(_describe, chosen))
        for name, chosen in METHODS().items()
    ]


def _describe(method: Method, engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    first = next(iter(manifests.values()))
    recipe = method.recipe_for(cell.setting.data)
    parameters = declared_parameters(method, cell.setting, cell.overrides)
    shard = engine.store.lookup(first.sources["shard00000"]) if method.needs.generator else None
    steps = shard.measurements.get("steps_meant") if shard else None
    return {
        "contact_sheet": inline_image(engine.store.read(first, CONTACT_SHEET)),
        "draws": len(manifests),
        "synthesis_seconds": sum(m.measurements.get("synthesis_seconds", 0.0) for m in manifests.values()),
        "parameters": dg.MetadataValue.json(plain(parameters)),
        "parameters_source": recipe.source,
        **({"steps_of_signal_levels": dg.MetadataValue.json(steps)} if steps else {}),
        "expected": recipe.expected or "no published figure",
        "dagster/row_count": sum(manifest.summary["rows"] for manifest in manifests.values()),
        "dagster/column_schema": column_schema({"image": "struct<bytes, path> (PNG)", "label": "int64"}),
    }
