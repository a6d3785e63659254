"""The one shell every partitioned asset shares.

Belongs here: turning a Stage into a Dagster asset, verdicts into check results, errors into Failures.
Does not belong: what a stage resolves to (planning/graph.py) or what one asset shows (its own module).
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from dd_assets.errors import DDError, InputError
from dd_assets.partitions import SPACES
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, Stage, require_parameters_taken, resolved, stages
from dd_assets.planning.sync import UP_TO_DATE
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.units.kinds import kind_of
from dd_resources.execution import step_retries, step_tags
from dd_resources.references import MAY_BE_ABSENT

Describe = Callable[[Engine, Cell, Mapping[str, Manifest]], Mapping[str, Any]]

RESOURCES = ("store", "raw_data", "compute")
"""Named here and not as typed arguments of `shell`: Dagster would inspect those anew for each of 200 assets."""
OWNERS = ["team:distillation"]
"""Whom the UI names for every asset; a deployment with several teams changes it here."""
_DESCRIBE: dict[str, Describe] = {}
"""Asset to its describer, filled as the assets are defined; runless adoption shows the same metadata."""


class Overrides(dg.Config):
    """What a launch may change; anything set here marks the result as overridden."""

    parameters: dict[str, Any] = Field(
        default={},
        description="Recipe parameters to replace for this launch, for example {iterations: 50}; the description of"
        " <method>/synthetic_images lists them with what they mean. The result is stored under its own recipe, marked,"
        " and kept apart in the leaderboard.",
    )


def asset_key(asset: str) -> dg.AssetKey:
    """The Dagster key of a stage's '/'-joined name."""
    return dg.AssetKey(asset.split("/"))


def stage_asset(stage: Stage, describe: Describe) -> dg.AssetsDefinition:
    """A Dagster asset for a stage; `describe` adds what a person wants to see of its units."""
    names = [name.replace("/", "__") for name in stage.inputs]
    _DESCRIBE[stage.asset] = describe

    networks = "pytorch" in stage.kinds
    retries = step_retries()
    definition = dg.asset(
        key=asset_key(stage.asset),
        ins={
            n: dg.AssetIn(key=asset_key(name), metadata={MAY_BE_ABSENT: name in stage.skippable})
            for n, name in zip(names, stage.inputs, strict=True)
        },
        partitions_def=SPACES[stage.space],
        group_name=stage.group,
        description=stage.description,
        kinds=set(stage.kinds),
        tags=dict(stage.tags),
        owners=OWNERS,
        op_tags=step_tags(networks),
        retry_policy=retries,
        code_version=str(kind_of(stage.unit_kind).version),
        check_specs=[
            dg.AssetCheckSpec(name, asset=asset_key(stage.asset), blocking=blocking, description=text)
            for name, blocking, text in (*stage.checks, (UP_TO_DATE, False, "made from the declared recipe and inputs"))
        ],
        output_required=True,
        required_resource_keys=set(RESOURCES),
    )

    def shell(
        context: dg.AssetExecutionContext,
        config: Overrides,
        **references: Reference | None,
    ):  # type: ignore[no-untyped-def]  # Dagster would read output types from a return annotation
        store, raw_data, compute = (getattr(context.resources, key) for key in RESOURCES)
        loaded = {name: references[n] for n, name in zip(names, stage.inputs, strict=True)}
        try:
            cell = Cell.of(str(context.partition_key), config.parameters)
            require_parameters_taken(stage, cell)
            inputs = _read(stage, cell, loaded)
            engine = Engine(store.open(), raw_data.get(), compute.get(networks), announce=context.log.info)
            reference = resolved(stages()[stage.asset], cell, inputs, engine)
            return present(cell, engine, reference)
        except DDError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except dg.DagsterExecutionInterruptedError as error:
            if retries is None:
                raise
            # Dagster would take an interrupted step of this process for a failed one, and try it again.
            raise dg.Failure("interrupted", allow_retries=False) from error

    # Dagster reads a function's signature some twenty times; it is the same for every asset.
    shell.__signature__ = _signature(shell)  # type: ignore[attr-defined]
    return definition(shell)


_SIGNATURES: list[inspect.Signature] = []


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if not _SIGNATURES:
        _SIGNATURES.append(inspect.signature(function))
    return _SIGNATURES[0]


def _read(stage: Stage, cell: Cell, loaded: Mapping[str, Reference | None]) -> dict[str, Reference]:
    """The inputs that a cell reads; raises InputError naming one that has not been materialized."""
    found = {}
    for name in stage.reads(cell):
        reference = loaded[name]
        if reference is None and name in stage.optional:
            continue
        if reference is None:
            raise InputError(
                f"{name} has not been materialized for {cell.partition}",
                "materialize it first, or run `dd-assets sync`, which adopts what the store already holds",
            )
        found[name] = reference
    return found


def present(cell: Cell, engine: Engine, reference: Reference) -> dg.MaterializeResult:
    """The result that shows a resolved partition: data version, metadata, stored verdicts as checks."""
    stage = stages()[reference.asset]
    manifests = {key: manifest for key, digest in reference.units.items() if (manifest := engine.store.lookup(digest))}
    computed, reused = len(engine.tally.computed), len(engine.tally.reused)
    overridden = cell.overrides and not reference.declared
    # What a person looks for first comes first: pictures and accuracies, then costs, then digests and the recipe.
    metadata: dict[str, Any] = {
        **_DESCRIBE[stage.asset](engine, cell, manifests),
        "origin": "computed" if computed else "reused",
        "units_computed": computed,
        "units_reused": reused,
        "seconds": sum(manifest.seconds for manifest in manifests.values()),
        "bytes": sum(manifest.total_bytes for manifest in manifests.values()),
        "content_digest": reference.content,
        "recipe_digest": reference.recipe,
        **({"overridden": dg.MetadataValue.json(dict(cell.overrides))} if overridden else {}),
        "units": dg.MetadataValue.json(dict(reference.units)),
        "recipe_of_first_unit": dg.MetadataValue.json(next(iter(manifests.values())).recipe if manifests else {}),
    }
    return dg.MaterializeResult(
        asset_key=asset_key(stage.asset),
        value=reference,
        data_version=dg.DataVersion(reference.content),
        metadata=metadata,
        check_results=[
            *(_check(stage, name, blocking, manifests) for name, blocking, _ in stage.checks),
            dg.AssetCheckResult(
                check_name=UP_TO_DATE,
                asset_key=asset_key(stage.asset),
                passed=reference.declared,
                severity=dg.AssetCheckSeverity.WARN,
                description="fresh" if reference.declared else "made with overridden parameters",
            ),
        ],
        tags={"dd/origin": "computed" if computed else "reused"},
    )


def _check(stage: Stage, name: str, blocking: bool, manifests: Mapping[str, Manifest]) -> dg.AssetCheckResult:
    """The worst stored verdict of that name over the partition's units."""
    found = {key: v for key, manifest in manifests.items() for v in manifest.verdicts if v.name == name}
    failed = {key: verdict for key, verdict in found.items() if not verdict.passed}
    shown = failed or found
    text = "; ".join(f"{key}: {verdict.message}" for key, verdict in list(shown.items())[:5])
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset_key(stage.asset),
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        description=text or "does not apply to this partition",
        metadata={
            f"{key} {figure}": value for key, v in list(shown.items())[:5] for figure, value in v.figures.items()
        },
    )


def inline_image(png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG shown inline in the Dagster UI."""
    from dd_assets.report.pictures import markdown_image

    return dg.MetadataValue.md(markdown_image(png))


def column_schema(columns: Mapping[str, str]) -> dg.TableSchemaMetadataValue:
    """A table schema from column names and types."""
    return dg.MetadataValue.table_schema(
        dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in columns.items()])
    )
