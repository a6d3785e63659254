"""The `embedding` asset: real and synthetic images of one cell per dataset in one t-SNE plane.

Belongs here: its definition and metadata. Does not belong: choosing, computing (units/embedding.py) or drawing
(report/embedding.py).
Like the leaderboard it reads the image sets that exist: its dependencies are declared without loading.
"""

import base64

import dagster as dg

from dd_assets.assets.shell import OWNERS, asset_key
from dd_assets.errors import DDError
from dd_assets.methods.registry import METHODS
from dd_assets.planning.digests import text_digest
from dd_assets.planning.engine import Engine
from dd_assets.units import embedding
from dd_assets.units.kinds import kind_of
from dd_resources.injection import NAMESPACE, ComputeResource, RawDataResource, StoreResource

SHOWN = 12
"""Panels in the metadata; the report shows all."""


def build() -> list[dg.AssetsDefinition]:
    """The embedding asset."""
    names = [name for name, method in METHODS().items() if not method.is_ablation]

    @dg.asset(
        key=embedding.ASSET,
        deps=["dataset", "teacher", *(asset_key(f"{name}/synthetic_images") for name in names)],
        group_name="report",
        owners=OWNERS,
        kinds={"parquet"},
        code_version=str(kind_of("embedding").version),
        description="One joint t-SNE of teacher features, seeded and stored: real images (train and test) and those of"
        " all methods that have some, for the cell of each dataset that most methods have images for.",
    )
    def shell(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        raw_data: RawDataResource,
        compute: ComputeResource,
    ) -> dg.MaterializeResult:
        try:
            engine = Engine(store.open(), raw_data.get(), compute.get(), announce=context.log.info)
            return _result(engine)
        except DDError as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    return [shell]


def _result(engine: Engine) -> dg.MaterializeResult:
    from dd_assets.report.embedding import panels

    made = embedding.refresh(engine, NAMESPACE)
    metadata = {
        "origin": "computed" if engine.tally.computed else "reused",
        "dagster/row_count": sum(sum(manifest.summary["images"].values()) for manifest in made.values()),
    }
    for partition, manifest in made.items():
        shown = list(panels(engine.store, manifest).values())[:SHOWN]
        encoded = [base64.b64encode(panel.encode()).decode() for panel in shown]
        name = partition.replace("|", "_")
        metadata[name] = dg.MetadataValue.md(" ".join(f"![](data:image/svg+xml;base64,{text})" for text in encoded))
        metadata[f"{name}_recipe_digest"] = manifest.recipe_digest
        metadata[f"{name}_images"] = dg.MetadataValue.json(dict(manifest.summary["images"]))
    contents = {partition: manifest.content for partition, manifest in made.items()}
    return dg.MaterializeResult(data_version=dg.DataVersion(text_digest(contents)), metadata=metadata)
