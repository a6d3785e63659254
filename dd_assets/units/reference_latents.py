"""The `reference_latents` unit: real latents that guidances compare samples with.

Belongs here: planning it, keeping the table. Does not belong: the choice (diffusion/references.py).
"""

from __future__ import annotations

from dd_assets.datasets.setting import Setting
from dd_assets.lazy import np
from dd_assets.methods.request import ReferenceLatents
from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units import centroids as centroids_unit
from dd_assets.units import generator as generator_unit
from dd_assets.units.kinds import kind_of
from dd_assets.units.tables import read_columns, write_columns

REFERENCES = "references.parquet"


def plan(chosen: Setting, dataset: Manifest, generator: Manifest, centroids: Manifest | None, label: str) -> Unit:
    """Random images of each class or, given centroids, those nearest to each of them.

    Random ones do not depend on IPC, so that all IPC values share them.
    """
    inputs = {"dataset": dataset, "generator": generator, **({"centroids": centroids} if centroids else {})}
    return Unit(
        name="reference_latents",
        version=kind_of("reference_latents").version,
        parameters={"classes": len(chosen.classes), "choice": "kmeans" if centroids else "class"},
        inputs={key: manifest.content for key, manifest in inputs.items()},
        sources={key: manifest.recipe_digest for key, manifest in inputs.items()},
        seed=0,
        setting=chosen.name,
        label=label,
    )


def compute(unit: Unit, work: Work) -> Product:
    """Choose and encode; a row per reference, those of a class (and centroid) together."""
    from dd_assets.diffusion.references import drawn, members

    given = unit.parameters
    train, _ = work.raw.load(unit.setting, unit.inputs["dataset"])
    loaded = generator_unit.load(work)
    made = (
        members(loaded, train, centroids_unit.load(work), work.progress)
        if given["choice"] == "kmeans"
        else drawn(loaded, train, given["classes"], unit.seed or 0, work.progress)
    )
    columns = {
        "index": made.indices,
        "label": made.labels,
        "source_index": made.source_index,
        "latent": made.latents,
    }
    hasher = ContentHasher("reference_latents")
    for name, values in columns.items():
        hasher.array(name, values)
    right = bool((train.labels[made.source_index] == made.labels).all())
    every = len(np.unique(made.labels)) == given["classes"]
    return Product(
        content=hasher.hexdigest(),
        payloads={REFERENCES: write_columns(columns)},
        verdicts=(
            Verdict(
                name="own_class",
                passed=right and every,
                blocking=True,
                message=f"{len(made.labels)} references of {len(np.unique(made.labels))} classes, each of its own",
            ),
        ),
        summary={
            "choice": given["choice"],
            "rows": len(made.labels),
            "shape": list(made.latents.shape[1:]),
            "different_images": len(np.unique(made.source_index)),
        },
    )


def load(work: Work, input_name: str = "reference_latents") -> ReferenceLatents:
    """The references that are a unit's input."""
    columns = read_columns(work.input_bytes(input_name, REFERENCES))
    return ReferenceLatents(
        latents=columns["latent"],
        source_index=columns["source_index"],
        labels=columns["label"],
        indices=columns["index"],
    )
