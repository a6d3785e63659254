"""The `<method>/synthetic_images` assets, one per registered method.

Belongs here: their metadata. Does not belong: synthesis (methods/<name>).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import column_schema, inline_image, stage_asset
from dd_assets.methods.registry import METHODS
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.unit import Manifest
from dd_assets.units.image_set import CONTACT_SHEET


def build() -> list[dg.AssetsDefinition]:
    """One asset per method."""
    return [stage_asset(stage(f"{name}/synthetic_images"), _describe) for name in METHODS()]


def _describe(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    first = next(iter(manifests.values()))
    return {
        "contact_sheet": inline_image(engine.store.read(first, CONTACT_SHEET)),
        "draws": len(manifests),
        "synthesis_seconds": sum(m.measurements.get("synthesis_seconds", 0.0) for m in manifests.values()),
        "dagster/row_count": sum(manifest.summary["rows"] for manifest in manifests.values()),
        "dagster/column_schema": column_schema({"image": "struct<bytes, path> (PNG)", "label": "int64"}),
    }
