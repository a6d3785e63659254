"""The `dataset` asset: the root of every lineage.

Belongs here: its metadata. Does not belong: reading data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import inline_image, stage_asset
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.unit import Manifest


def build() -> list[dg.AssetsDefinition]:
    """The dataset asset."""
    return [stage_asset(stage("dataset"), _describe)]


def _describe(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    manifest = manifests["dataset"]
    summary = manifest.summary
    counts = zip(summary["classes"], summary["train_counts"], summary["test_counts"], strict=True)
    records = [dg.TableRecord({"class": name, "train": train, "test": test}) for name, train, test in counts]
    return {
        "contact_sheet": inline_image(engine.store.read(manifest, "contact_sheet.png")),
        "classes": len(summary["classes"]),
        "train_images": sum(summary["train_counts"]),
        "test_images": sum(summary["test_counts"]),
        "dagster/row_count": sum(summary["train_counts"]) + sum(summary["test_counts"]),
        "image_shape": dg.MetadataValue.json(summary["shape"]),
        "class_counts": dg.MetadataValue.table(records[:50]),
    }
