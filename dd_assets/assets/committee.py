"""The `committee`, `statistics` and `priors` assets: what methods with several teachers read.

Belongs here: their metadata. Does not belong: which units they consist of (planning/committees.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import stage_asset
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.unit import Manifest


def build() -> list[dg.AssetsDefinition]:
    """The three assets."""
    return [
        stage_asset(stage("committee"), _committee),
        stage_asset(stage("statistics"), _statistics),
        stage_asset(stage("priors"), _priors),
    ]


def _committee(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    rows = [
        f"| {name} | {m.summary['architecture']} | {m.summary['test_accuracy']:.2%} | {m.summary['parameters']:,} |"
        f" {m.summary['source']} | {m.seconds:.1f} |"
        for name, m in manifests.items()
    ]
    head = "| member | architecture | top-1 | parameters | source | seconds |\n|---|---|---|---|---|---|\n"
    accuracies = [m.summary["test_accuracy"] for m in manifests.values()]
    return {
        "members": dg.MetadataValue.md(head + "\n".join(rows)),
        "lowest_test_accuracy": min(accuracies, default=0.0),
        "dagster/row_count": len(manifests),
    }


def _statistics(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    rows = [f"| {name} | {m.summary['arrays']} | {m.summary['numbers']:,} |" for name, m in manifests.items()]
    return {"members": dg.MetadataValue.md("| member | arrays | numbers |\n|---|---|---|\n" + "\n".join(rows))}


def _priors(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    summary = manifests["priors"].summary
    rows = [f"| {name} | {value:.1f} |" for name, value in summary["priors"].items()]
    return {
        "priors": dg.MetadataValue.md("| member | accuracy % |\n|---|---|\n" + "\n".join(rows)),
        "measured_how": summary["source"],
    }
