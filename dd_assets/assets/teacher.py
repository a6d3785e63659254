"""The `teacher` asset: the classifier that guides synthesis and answers for soft labels.

Belongs here: its metadata. Does not belong: training (models/training.py).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import stage_asset
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.unit import Manifest


def build() -> list[dg.AssetsDefinition]:
    """The teacher asset."""
    return [stage_asset(stage("teacher"), _describe)]


def _describe(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    manifest = manifests["teacher"]
    shown: dict[str, Any] = {
        "test_accuracy": manifest.summary["test_accuracy"],
        "architecture": manifest.summary["architecture"],
        "parameters": manifest.summary["parameters"],
        "source": manifest.summary["source"],
    }
    if "curve.svg" in manifest.payloads:
        encoded = base64.b64encode(engine.store.read(manifest, "curve.svg")).decode()
        shown["training_curve"] = dg.MetadataValue.md(f"![training curve](data:image/svg+xml;base64,{encoded})")
    return shown
