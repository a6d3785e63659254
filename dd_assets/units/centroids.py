"""The `class_centroids` unit: k-means of each class's latents, with k = IPC.

Belongs here: planning it, keeping the table. Does not belong: the clustering (diffusion/centroids.py).
"""

from __future__ import annotations

from dd_assets.datasets.setting import Setting
from dd_assets.lazy import np
from dd_assets.methods.request import ClassCentroids
from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import generator as generator_unit
from dd_assets.units.kinds import kind_of
from dd_assets.units.tables import read_columns, write_columns

CENTROIDS = "centroids.parquet"


def plan(chosen: Setting, dataset: Manifest, generator: Manifest, ipc: int, name: str) -> Unit:
    """The centroids of a setting in the latents of one of its generators."""
    inputs = {"dataset": dataset, "generator": generator}
    return Unit(
        name="class_centroids",
        version=kind_of("class_centroids").version,
        parameters={"classes": len(chosen.classes), "ipc": ipc},
        inputs={key: manifest.content for key, manifest in inputs.items()},
        sources={key: manifest.recipe_digest for key, manifest in inputs.items()},
        seed=0,
        setting=chosen.name,
        label=f"class_centroids {chosen.name}|{ipc} {name}",
    )


def compute(unit: Unit, work: Work) -> Product:
    """Cluster; a row per (IPC index, class), the largest cluster of each class first."""
    from dd_assets.diffusion.centroids import class_centroids

    given = unit.parameters
    train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
    generator, seed = generator_unit.load(work), unit.seed or 0
    made = class_centroids(generator, train, given["classes"], given["ipc"], seed, work.progress)
    columns = {
        "index": np.repeat(np.arange(given["ipc"]), given["classes"]),
        "label": np.tile(np.arange(given["classes"]), given["ipc"]),
        "size": made.sizes,
        "source_index": made.source_index,
        "center": made.centers,
        "nearest": made.nearest,
    }
    hasher = ContentHasher("class_centroids")
    for name, values in columns.items():
        hasher.array(name, values)
    empty = int((made.sizes == 0).sum())
    return Product(
        content=hasher.hexdigest(),
        payloads={CENTROIDS: write_columns(columns)},
        verdicts=(
            Verdict(
                name="every_image_used",
                passed=int(made.sizes.sum()) == len(train),
                blocking=True,
                message=f"cluster sizes add up to {int(made.sizes.sum())} of {len(train)} training images",
            ),
            Verdict(
                name="no_empty_cluster",
                passed=empty == 0,
                blocking=False,
                message=f"{empty} of {len(made.sizes)} clusters are empty (fewer different images than clusters)",
            ),
        ),
        summary={
            "rows": len(made.sizes),
            "shape": list(made.centers.shape[1:]),
            "largest": int(made.sizes.max()),
            "smallest": int(made.sizes.min()),
            "center_std": round(float(made.centers.std()), 4),
            "nearest_std": round(float(made.nearest.std()), 4),
        },
    )


def load(work: Work, input_name: str = "centroids") -> ClassCentroids:
    """The centroids that are a unit's input."""
    columns = read_columns(work.input_bytes(input_name, CENTROIDS))
    return ClassCentroids(
        centers=columns["center"],
        nearest=columns["nearest"],
        source_index=columns["source_index"],
        sizes=columns["size"],
        classes=int(columns["label"].max()) + 1,
    )
