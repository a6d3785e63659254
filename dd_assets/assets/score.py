"""The `<method>/score_<student>` assets: students trained on the distilled images.

Belongs here: their metadata. Does not belong: training (evaluation/students.py).
"""

from __future__ import annotations

import base64
import statistics
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import stage_asset
from dd_assets.methods.registry import METHODS
from dd_assets.planning.digests import plain
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, protocols, stage, students
from dd_assets.planning.unit import Manifest


def build() -> list[dg.AssetsDefinition]:
    """One asset per method and student."""
    return [stage_asset(stage(f"{name}/score_{student}"), _describe) for name in METHODS() for student in students()]


def _describe(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    from dd_assets.report.accuracy_curve import accuracy_curve
    from dd_assets.report.pictures import curve_svg

    modes = {key.split("/")[0] for key in manifests}
    shown: dict[str, Any] = {}
    series = {}
    for mode in sorted(modes):
        chosen = [manifest for key, manifest in manifests.items() if key.startswith(f"{mode}/")]
        accuracies = [manifest.summary["accuracy"] for manifest in chosen]
        shown[f"accuracy_{mode}_mean"] = statistics.mean(accuracies)
        if len(accuracies) > 1:
            shown[f"accuracy_{mode}_std"] = statistics.stdev(accuracies)
        train = statistics.mean(manifest.summary["train_accuracy"] for manifest in chosen)
        shown[f"train_accuracy_{mode}_mean"] = train
        shown[f"train_test_gap_{mode}"] = train - shown[f"accuracy_{mode}_mean"]
        shown[f"best_in_window_{mode}_mean"] = statistics.mean(m.summary["best_accuracy"] for m in chosen)
        series[mode] = accuracy_curve(chosen)
    rows = [dg.TableRecord({"training": key, "seconds": m.seconds, **_figures(m)}) for key, m in manifests.items()]
    student = next(iter(manifests.values())).recipe["parameters"]["architecture"]
    picture = curve_svg(series, "Test accuracy", "epoch", "accuracy")
    encoded = base64.b64encode(picture.encode()).decode()
    return {
        **shown,
        "trainings": dg.MetadataValue.table(rows[:50]),
        "accuracy_curve": dg.MetadataValue.md(f"![accuracy](data:image/svg+xml;base64,{encoded})"),
        "protocol": dg.MetadataValue.json({mode: plain(p) for mode, p in protocols(cell, student).items()}),
        "dagster/row_count": len(manifests),
    }


def _figures(manifest: Manifest) -> dict[str, float]:
    return {name: manifest.summary[name] for name in ("accuracy", "best_accuracy", "train_accuracy")}
