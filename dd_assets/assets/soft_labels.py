"""The `<method>/soft_labels` assets: one label table per view schedule.

Belongs here: their metadata. Does not belong: teacher forwards (evaluation/labels.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import column_schema, stage_asset
from dd_assets.methods.registry import METHODS
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.unit import Manifest


def build() -> list[dg.AssetsDefinition]:
    """One asset per method."""
    return [stage_asset(stage(f"{name}/soft_labels"), _describe) for name in METHODS()]


def _describe(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    views = sum(manifest.summary["views"] for manifest in manifests.values())
    total = sum(manifest.total_bytes for manifest in manifests.values())
    agreement = [m.summary["base_agreement"] for m in manifests.values() if "base_agreement" in m.summary]
    return {
        "tables": len(manifests),
        "dagster/row_count": views,
        "bytes_per_view": total / max(views, 1),
        **({"teacher_agreement_with_base_label": sum(agreement) / len(agreement)} if agreement else {}),
        "dagster/column_schema": column_schema(
            {"epoch": "uint16", "batch": "uint16", "slot": "uint16", "image_id": "uint32", "logits": "list<float16>"}
        ),
    }
