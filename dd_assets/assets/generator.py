"""The `generator_<name>`, `class_centroids`, `reference_latents` and `class_gaussians` assets.

Belongs here: their metadata. Does not belong: which units they consist of (planning/generators.py).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import inline_image, stage_asset
from dd_assets.planning.class_gaussians import CLASS_GAUSSIANS
from dd_assets.planning.engine import Engine
from dd_assets.planning.generators import CENTROIDS, GENERATOR_ASSETS, REFERENCE_LATENTS
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.unit import Manifest
from dd_assets.units.generator_samples import SHEET


def build() -> list[dg.AssetsDefinition]:
    """One asset per generator, the centroids, the reference latents and the class gaussians."""
    return [
        *(stage_asset(stage(asset), _generator) for asset in GENERATOR_ASSETS),
        stage_asset(stage(CENTROIDS), _centroids),
        stage_asset(stage(REFERENCE_LATENTS), _references),
        stage_asset(stage(CLASS_GAUSSIANS), _gaussians),
    ]


def _generator(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    made, samples = manifests["generator"], manifests["samples"]
    shown: dict[str, Any] = {
        "real_beside_generated": inline_image(engine.store.read(samples, SHEET)),
        **({"recognised": samples.summary["recognised"]} if "recognised" in samples.summary else {}),
        **{name: value for name, value in made.summary.items() if value not in ("", None)},
    }
    if "curve.svg" in made.payloads:
        encoded = base64.b64encode(engine.store.read(made, "curve.svg")).decode()
        shown["training_curve"] = dg.MetadataValue.md(f"![training curve](data:image/svg+xml;base64,{encoded})")
    return shown


def _centroids(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    rows = [
        f"| {name} | {m.summary['shape']} | {m.summary['smallest']} to {m.summary['largest']} |"
        f" {m.summary['center_std']} | {m.summary['nearest_std']} |"
        for name, m in manifests.items()
    ]
    head = "| generator | latent | images per cluster | std of centres | std of nearest |\n|---|---|---|---|---|\n"
    return {
        "centroids": dg.MetadataValue.md(head + "\n".join(rows)),
        "dagster/row_count": sum(m.summary["rows"] for m in manifests.values()),
    }


def _references(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    rows = [
        f"| {name} | {m.summary['shape']} | {m.summary['rows']} | {m.summary['different_images']} |"
        for name, m in manifests.items()
    ]
    head = "| generator/choice | latent | references | different images |\n|---|---|---|---|\n"
    return {
        "reference_latents": dg.MetadataValue.md(head + "\n".join(rows)),
        "dagster/row_count": sum(m.summary["rows"] for m in manifests.values()),
    }


def _gaussians(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    rows = [
        f"| {name} | {m.summary['shape']} | {m.summary['level']} | {m.summary['spread_of_means']} |"
        f" {m.summary['mean_deviation']} |"
        for name, m in manifests.items()
    ]
    head = "| generator/steps@level | latent | ᾱ | std of means | mean std |\n|---|---|---|---|---|\n"
    return {
        "class_gaussians": dg.MetadataValue.md(head + "\n".join(rows)),
        "dagster/row_count": sum(m.summary["rows"] for m in manifests.values()),
    }
