"""The `<method>/diversity` assets: how varied the images are, beside how well they teach.

Belongs here: their metadata. Does not belong: measuring (units/diversity.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import inline_image, stage_asset
from dd_assets.methods.registry import METHODS
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.unit import Manifest
from dd_assets.report.diversity import COLUMNS, mean_measures
from dd_assets.units.diversity import KINDS, PAIRS

TITLES = {"set": "these images", "random": "as many random real images", "class": "whole class"}


def build() -> list[dg.AssetsDefinition]:
    """One asset per method, and per variant that is compared with its method."""
    return [
        stage_asset(stage(f"{name}/diversity"), _describe) for name, method in METHODS().items() if method.has_diversity
    ]


def _describe(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    means = {kind: mean_measures(list(manifests.values()), kind) for kind in KINDS}
    head = f"| measure | {' | '.join(TITLES[kind] for kind in KINDS)} |\n|---|{'---|' * len(KINDS)}\n"
    cells = {title: [_text(means[kind][name]) for kind in KINDS] for name, title in COLUMNS.items()}
    lines = [f"| {title} | {' | '.join(values)} |" for title, values in cells.items()]
    first = next(iter(manifests.values()))
    return {
        "measures": dg.MetadataValue.md(head + "\n".join(lines)),
        "nearest_training_images": inline_image(engine.store.read(first, PAIRS)),
        **{name: value for name, value in means["set"].items() if value is not None},
        "copies_of_training_images": statistics.mean(manifest.summary["copies"] for manifest in manifests.values()),
        "dagster/row_count": sum(manifest.summary["images"] for manifest in manifests.values()),
    }


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
