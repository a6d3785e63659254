"""The `labels` unit: the teacher's answers for one view schedule of one image set.

Belongs here: planning it, storing schema A (or the seed-only table), its verdicts. Does not belong: view geometry and
teacher forwards (evaluation/labels.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.registry import Setting
from dd_assets.evaluation.protocol import Protocol, Views
from dd_assets.planning.digests import ContentHasher, plain
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import image_set, teacher
from dd_assets.units.kinds import kind_of
from dd_assets.units.tables import read_columns, write_columns

VIEWS, BATCHES = "views.parquet", "batches.parquet"


def plan(
    setting: Setting, images: Manifest, teacher_manifest: Manifest, protocol: Protocol, seed: int, label: str
) -> Unit:
    """The label table of an image set under a protocol's views, batch and epochs, for one view seed."""
    return Unit(
        name="labels",
        version=kind_of("labels").version,
        parameters={
            "views": protocol.views,
            "batch": protocol.batch,
            "epochs": protocol.epochs,
            "storage": protocol.label_storage,
            "precision": protocol.precision,
            "normalisation": setting.normalisation,
            "size": setting.size,
            "classes": len(setting.classes),
        },
        inputs={"images": images.content, "teacher": teacher_manifest.content},
        sources={"images": images.recipe_digest, "teacher": teacher_manifest.recipe_digest},
        seed=seed,
        setting=setting.name,
        label=label,
    )


def estimated_bytes(images: int, classes: int, protocol: Protocol) -> int:
    """Upper estimate of a table's bytes: fp16 logits and 15.1 bytes of geometry per view, or a row per batch."""
    if protocol.label_storage == "online":
        return 32 * protocol.epochs * -(-images // protocol.batch)
    return int(images * protocol.epochs * (2 * classes + 15.1))


def typed_views(stated: Any) -> Views:
    """Views from their JSON form."""
    return Views(**plain(stated))


def typed_normalisation(stated: Any) -> Normalisation:
    """Normalisation from its JSON form."""
    return Normalisation(**{name: tuple(values) for name, values in plain(stated).items()})


def compute(unit: Unit, work: Work) -> Product:
    """Draw the geometry; for stored labels run the teacher on every view."""
    from dd_assets.evaluation import labels

    given = unit.parameters
    images, base = image_set.load(work)
    views, normalisation = typed_views(given["views"]), typed_normalisation(given["normalisation"])
    batch, epochs, seed = given["batch"], given["epochs"], unit.seed or 0
    table, batches = labels.label_geometry(views, len(images), given["size"], batch, epochs, seed)
    hasher = ContentHasher("labels").value("views", given["views"])
    payloads = {BATCHES: write_columns(batches)}
    verdicts: tuple[Verdict, ...] = ()
    summary: dict[str, Any] = {"views": len(images) * epochs, "batches": len(batches["epoch"])}
    if given["storage"] == "stored":
        network = teacher.load(work)
        table["logits"] = labels.compute_logits(
            network,
            images,
            views,
            normalisation,
            batch=batch,
            epochs=epochs,
            seed=seed,
            device=work.device,
            precision=given["precision"],
        )
        payloads[VIEWS] = write_columns(table)
        verdicts = _verdicts(table, len(images) * epochs)
        summary["base_agreement"] = float((table["logits"].argmax(1) == base[table["image_id"]]).mean())
    for name, values in (table | {f"batch/{key}": item for key, item in batches.items()}).items():
        hasher.array(name, values)
    return Product(content=hasher.hexdigest(), payloads=payloads, verdicts=verdicts, summary=summary)


def _verdicts(table: dict[str, np.ndarray], expected: int) -> tuple[Verdict, ...]:
    finite = bool(np.isfinite(table["logits"]).all())
    rows = len(table["logits"])
    spread = float(table["logits"].astype(np.float32).std())
    return (
        Verdict(name="finite_logits", passed=finite, blocking=True, message=f"logit standard deviation {spread:.3g}"),
        Verdict(
            name="rows_equal_views",
            passed=rows == expected,
            blocking=True,
            message=f"{rows} rows, {expected} views",
            figures={"rows": rows},
        ),
    )


def load_logits(work: Work, images: int, input_name: str = "labels") -> np.ndarray:
    """The stored logits, fp16 (views, classes), after checking that their geometry is the one regenerated now."""
    from dd_assets.evaluation import labels

    manifest = work.input(input_name)
    given, seed = manifest.recipe["parameters"], manifest.recipe["seed"]
    table = read_columns(work.store.read(manifest, VIEWS))
    batches = read_columns(work.store.read(manifest, BATCHES))
    logits = table.pop("logits")
    labels.replay_check(
        table,
        batches,
        typed_views(given["views"]),
        images=images,
        size=given["size"],
        batch=given["batch"],
        seed=seed,
        epochs=given["epochs"],
    )
    return logits
