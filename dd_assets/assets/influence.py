"""The `influence` asset: what influence guidance compares images with.

Belongs here: its metadata. Does not belong: which units it consists of (planning/influence.py).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import stage_asset
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.influence import INFLUENCE
from dd_assets.planning.unit import Manifest


def build() -> list[dg.AssetsDefinition]:
    """The one asset."""
    return [stage_asset(stage(INFLUENCE), _describe)]


def _describe(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    made = manifests["surrogate"]
    curve = base64.b64encode(engine.store.read(made, "curve.svg")).decode()
    rows = [manifest.summary["rows"] for name, manifest in manifests.items() if name != "surrogate"]
    return {
        "turn_of_the_gradients": dg.MetadataValue.md(f"![cosine by epoch](data:image/svg+xml;base64,{curve})"),
        "kept_epochs": ", ".join(map(str, made.summary["kept"])),
        "surrogate_test_accuracy": made.summary["test_accuracy"],
        "parameters": made.summary["parameters"],
        "dagster/row_count": sum(rows) * len(made.summary["kept"]),
    }
