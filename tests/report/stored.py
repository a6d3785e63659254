"""A store with made-up scores of real assets, written as the units write them. Nothing here asserts."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from dd_assets.planning.digests import text_digest
from dd_assets.planning.unit import Manifest, Product, Reference, Unit, Verdict
from dd_assets.report.statistics import Runs
from dd_assets.units.image_set import CONTACT_SHEET
from dd_assets.units.tables import IMAGES, write_columns, write_images
from dd_assets.units.training import CURVES, SCORE
from dd_resources.store import ArtefactStore

STUDENT = "convnet2_w64"
AGREEMENT = 0.875
"""Share of the views whose base label the labels name first."""


def put(store: ArtefactStore, kind: str, name: str, payloads: Mapping[str, bytes], **other: Any) -> Manifest:
    """Commit one unit under a content of its own; other: fields of the unit, `summary` and `measurements`."""
    summary, measurements, verdicts = other.pop("summary", {}), other.pop("measurements", {}), other.pop("verdicts", ())
    unit = Unit(name=kind, version=1, label=name, **{"parameters": {"of": name}, "seed": 0, "inputs": {}, **other})
    product = Product(content=text_digest([kind, name]), payloads=payloads, summary=summary, verdicts=verdicts)
    return store.commit(unit, product, {"seconds": 2.0, "cpu_seconds": 1.0, "device": "cpu", **measurements})


def refer(
    store: ArtefactStore, asset: str, partition: str, units: Mapping[str, Manifest], declared: bool = True
) -> None:
    """Point an asset partition at these units."""
    digests = {key: manifest.recipe_digest for key, manifest in units.items()}
    contents = {key: manifest.content for key, manifest in units.items()}
    reference = Reference(asset=asset, partition=partition, units=digests, contents=contents, declared=declared)
    store.write_reference("default", reference)


def put_images(store: ArtefactStore, method: str, partition: str) -> Manifest:
    """An image set of ten images, its shard, and their reference."""
    shard = put(store, f"images/{method}", f"{method} {partition}", {}, parameters={"method": {"of": partition}})
    sheet = io.BytesIO()
    Image.new("L", (8, 8)).save(sheet, "PNG")
    pixels = np.zeros((10, 8, 8, 1), dtype=np.uint8)
    files = {
        IMAGES: write_images(pixels, np.arange(10), [str(i) for i in range(10)], {}),
        CONTACT_SHEET: sheet.getvalue(),
    }
    own = put(store, "image_set", f"{method} {partition}", files, sources={"shard00000": shard.recipe_digest})
    refer(store, f"{method}/synthetic_images", partition, {"draw0": own})
    return own


def put_scores(
    store: ArtefactStore,
    method: str,
    partition: str,
    runs: Mapping[str, Runs],
    declared: bool = True,
    dataset: str = "d" * 64,
    protocol: Mapping[str, Any] = MappingProxyType({"name": "rd3"}),
    teacher: str = "t" * 64,
    verdicts: tuple[Verdict, ...] = (),
) -> None:
    """Images and trainings of one cell, with the bits of each label mode; soft labels as one table by that teacher."""
    images = put_images(store, method, partition)
    if "soft" in runs:
        summary = {"base_agreement": AGREEMENT}
        read = {"images": images.content, "teacher": teacher}
        files = {"views.parquet": b"x" * 500}
        table = put(store, "labels", f"{method} {partition}", files, summary=summary, inputs=read)
        refer(store, f"{method}/soft_labels", partition, {"draw0/seed0/batch50": table})
    found = {}
    for mode, own in runs.items():
        for bits, draw, seed in zip(own.bits, own.draws, own.seeds, strict=True):
            key = f"{mode}/draw{draw}/seed{seed}"
            found[key] = put(
                store,
                "training",
                f"{method} {partition} {key}",
                {
                    SCORE: write_columns({"correct": bits[None], "accuracy": np.array([bits.mean()])}),
                    CURVES: write_columns({"loss": np.array([2.0, 1.0]), "train_accuracy": np.array([0.1, 0.2])}),
                },
                parameters={"of": f"{method} {partition} {key}", "protocol": dict(protocol)},
                inputs={"dataset": dataset},
                sources={
                    "images": images.recipe_digest,
                    **({"labels": table.recipe_digest} if mode == "soft" else {}),
                },
                summary={
                    "accuracy": float(bits.mean()),
                    "best_accuracy": float(bits.mean()),
                    "train_accuracy": 0.2,
                    "evaluated_epochs": [0, 1],
                    "accuracy_curve": [0.1, float(bits.mean())],
                },
                verdicts=verdicts,
            )
    refer(store, f"{method}/score_{STUDENT}", partition, found, declared)
