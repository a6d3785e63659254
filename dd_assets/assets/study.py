"""The `studies/<name>` assets: tables and figures of the paper as score variants.

Belongs here: their metadata. Does not belong: which variants there are (dd_assets/studies), training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dagster as dg

from dd_assets.assets.shell import stage_asset
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.studies import study_asset
from dd_assets.planning.unit import Manifest
from dd_assets.report.studies import markdown
from dd_assets.report.study_pages import results_of
from dd_assets.studies.registry import Study, studies


def build() -> list[dg.AssetsDefinition]:
    """One asset per study."""
    return [_asset(entry) for entry in studies().values()]


def _asset(entry: Study) -> dg.AssetsDefinition:
    def describe(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
        own = {f"{cell.ipc}/{key}": manifest for key, manifest in manifests.items()}
        found = results_of(entry, cell.setting, own, engine.store.lookup)
        rows = [row for row in found.rows if row["ipc"] == cell.ipc]
        done = [row for row in rows if row["status"] == "done"]
        here = [replace(table, rows=[r for r in table.rows if r["ipc"] == cell.ipc]) for table in found.tables]
        return {
            "table": dg.MetadataValue.md(markdown(rows)),
            **({"scores": dg.MetadataValue.md("\n\n".join(t.markdown() for t in here))} if here else {}),
            "cells": len(done),
            "cells_that_do_not_apply": len(rows) - len(done),
            "dagster/row_count": len(manifests),
        }

    return stage_asset(stage(study_asset(entry.name)), describe)
