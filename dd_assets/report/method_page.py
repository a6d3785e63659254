"""One method's page of the report: recipe, images, curves, scores, lineage, and how to make it again.

Belongs here: gathering what the template shows. Does not belong: HTML (templates/method.html.j2), the other pages
(site.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dd_assets.planning.unit import Manifest, Reference
from dd_assets.report.accuracy_curve import accuracy_curve
from dd_assets.report.contents import Contents
from dd_assets.report.pictures import curve_svg, data_uri
from dd_assets.units.tables import read_columns
from dd_assets.units.training import CURVES
from dd_resources.store import ArtefactStore

Row = Mapping[str, Any]


def anchor(row: Row) -> str:
    """The id, on the method's page, of the trainings behind a row of the leaderboard."""
    return f"{row['dataset']}-{row['ipc']}-{row['student']}-{row['label']}"


def cells(store: ArtefactStore, namespace: str, method: str, found: Contents) -> list[dict[str, Any]]:
    """What the page shows of each dataset and IPC that the method was scored on, in the leaderboard's order."""
    mine = [row for row in found.rows if row["method"] == method]
    keys = dict.fromkeys((row["dataset"], row["ipc"]) for row in mine)
    return [
        _cell(store, namespace, method, found, [r for r in mine if (r["dataset"], r["ipc"]) == key]) for key in keys
    ]


def _cell(store: ArtefactStore, namespace: str, method: str, found: Contents, rows: Sequence[Row]) -> dict[str, Any]:
    dataset, ipc = rows[0]["dataset"], rows[0]["ipc"]
    partition = f"{dataset}|{ipc}"
    images = store.read_reference(namespace, f"{method}/synthetic_images", partition)
    sheet = next((s for s in found.sheets if (s["method"], s["dataset"], s["ipc"]) == (method, dataset, ipc)), None)
    scores = []
    for row in rows:
        reference = store.read_reference(namespace, f"{method}/score_{row['student']}", partition)
        assert reference is not None, "a row of the leaderboard comes from a reference"
        scores.append(_score(store, row, reference))
    students = dict.fromkeys(row["student"] for row in rows)
    return {
        "dataset": dataset,
        "ipc": ipc,
        "sheet": None if sheet is None else data_uri(sheet["png"]),
        "parameters": _parameters(store, images),
        "scores": scores,
        "curves": [curve for score in scores for curve in score["curves"]],
        "lineage": _lineage(store, images),
        "commands": [
            f"dd-assets sync --select {method}/score_{student} --partition '{partition}'" for student in students
        ]
        + [f"dd-assets verify {method}/score_{student} '{partition}'" for student in students],
    }


def _score(store: ArtefactStore, row: Row, reference: Reference) -> dict[str, Any]:
    chosen = {key: digest for key, digest in reference.units.items() if key.startswith(f"{row['label']}/")}
    runs = {key: manifest for key, digest in chosen.items() if (manifest := store.lookup(digest)) is not None}
    trainings = [
        {
            "key": key,
            "accuracy": manifest.summary["accuracy"],
            "best": manifest.summary["best_accuracy"],
            "train": manifest.summary["train_accuracy"],
            "seconds": manifest.seconds,
            "recipe": manifest.recipe_digest,
            "content": manifest.content,
        }
        for key, manifest in runs.items()
    ]
    return {**row, "anchor": anchor(row), "trainings": trainings, "curves": _curves(store, row, list(runs.values()))}


def _curves(store: ArtefactStore, row: Row, runs: Sequence[Manifest]) -> list[dict[str, str]]:
    """Accuracy on the training views (base label) and on the test set, and the loss, means over the runs."""
    series = [read_columns(store.read(manifest, CURVES)) for manifest in runs]
    train = np.mean([entry["train_accuracy"] for entry in series], axis=0)
    loss = np.mean([entry["loss"] for entry in series], axis=0)
    epochs = np.arange(1, len(train) + 1)
    title = f"{row['student']}, {row['label']} labels, IPC {row['ipc']}"
    accuracies: dict[str, tuple[Any, Any]] = {"train, base label": (epochs, train), "test": accuracy_curve(runs)}
    made = [{"title": title, "svg": curve_svg(accuracies, title, "epoch", "accuracy")}]
    if np.isfinite(loss).any():
        name = f"{title}: loss"
        made.append({"title": name, "svg": curve_svg({"loss": (epochs, loss)}, name, "epoch", "loss")})
    return made


def _parameters(store: ArtefactStore, images: Reference | None) -> str:
    """The method's parameters of the first shard, as stored in its recipe, as JSON."""
    for manifest in _upstream(store, images):
        if manifest.recipe["unit"].startswith("images/"):
            return json.dumps(manifest.recipe["parameters"]["method"], indent=1)
    return ""


def _lineage(store: ArtefactStore, images: Reference | None) -> list[dict[str, Any]]:
    """Every unit that the images rest on, the images first."""
    return [
        {
            "unit": manifest.recipe["unit"],
            "label": manifest.label,
            "seed": manifest.recipe["seed"],
            "recipe": manifest.recipe_digest,
            "content": manifest.content,
            "seconds": manifest.seconds,
            "device": manifest.measurements.get("device", ""),
            "finished": manifest.measurements.get("finished", ""),
            "inputs": ", ".join(f"{name} {digest[:12]}" for name, digest in manifest.sources.items()),
        }
        for manifest in _upstream(store, images)
    ]


def _upstream(store: ArtefactStore, images: Reference | None) -> list[Manifest]:
    """Breadth first from the image sets, each unit once; what is no longer stored is left out."""
    waiting, seen = list(images.units.values()) if images else [], dict[str, Manifest]()
    for digest in waiting:
        manifest = None if digest in seen else store.lookup(digest)
        if manifest is not None:
            seen[digest] = manifest
            waiting += manifest.sources.values()
    return list(seen.values())
