"""The `leaderboard` asset: reads whatever scores exist and ranks them.

Belongs here: its definition and metadata. Does not belong: gathering or drawing (report/).
Its dependencies are declared without loading, so a missing cell is a missing row and not an error.
"""

import json
from typing import Any

import dagster as dg

from dd_assets.assets.shell import OWNERS, asset_key
from dd_assets.errors import DDError
from dd_assets.methods.registry import METHODS
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import students
from dd_assets.planning.unit import Manifest
from dd_assets.units import leaderboard
from dd_assets.units.kinds import kind_of
from dd_resources.injection import NAMESPACE, ComputeResource, RawDataResource, StoreResource

SHOWN = (
    "dataset",
    "ipc",
    "method",
    "student",
    "label",
    "accuracy_mean",
    "accuracy_std",
    "label_agreement",
    "draws",
    "seeds",
    "published",
)


def build() -> list[dg.AssetsDefinition]:
    """The leaderboard asset."""

    @dg.asset(
        key="leaderboard",
        deps=[
            *(asset_key(f"{name}/score_{student}") for name in METHODS() for student in students()),
            # Ablations have none; naming one would put an asset into the UI that nobody can materialize.
            *(asset_key(f"{name}/diversity") for name, method in METHODS().items() if method.has_diversity),
        ],
        group_name="report",
        owners=OWNERS,
        kinds={"html", "csv"},
        code_version=str(kind_of("leaderboard").version),
        description="Every scored cell: method by IPC by label mode, ranked, beside RD3's published figures.",
    )
    def shell(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        raw_data: RawDataResource,
        compute: ComputeResource,
    ) -> dg.MaterializeResult:
        try:
            opened = store.open()
            engine = Engine(opened, raw_data.get(), compute.get(networks=False), announce=context.log.info)
            return _result(engine, leaderboard.current(engine, NAMESPACE))
        except DDError as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    return [shell]


def _verdicts(found: list[dict[str, Any]]) -> str:
    """A line per contest, in Markdown."""
    lines = [
        f"- **{dataset}|{ipc}, {student}, {label} labels.** {' '.join(entry['words'])}"
        for entry in found
        for dataset, ipc, student, label in [entry["cell"]]
    ]
    return "\n".join(lines) or "no scores yet"


def _result(engine: Engine, manifest: Manifest) -> dg.MaterializeResult:
    rows = json.loads(engine.store.read(manifest, leaderboard.ROWS))
    records = [dg.TableRecord({name: row[name] for name in SHOWN}) for row in rows]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.content),
        metadata={
            "table": dg.MetadataValue.table(records[:50]) if records else dg.MetadataValue.text("no scores yet"),
            "verdicts": dg.MetadataValue.md(_verdicts(manifest.summary["verdicts"])),
            "page": dg.MetadataValue.text("dd-assets leaderboard --html leaderboard.html writes it to a file"),
            "origin": "computed" if engine.tally.computed else "reused",
            "rows": len(rows),
            "dagster/row_count": len(rows),
            "recipe_digest": manifest.recipe_digest,
            "content_digest": manifest.content,
        },
    )
