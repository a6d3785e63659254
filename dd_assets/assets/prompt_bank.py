"""The `prompt_bank` asset.

Belongs here: its metadata. Does not belong: making banks (units/prompt_bank.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dd_assets.assets.shell import stage_asset
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stage
from dd_assets.planning.prompt_banks import PROMPT_BANK
from dd_assets.planning.unit import Manifest
from dd_assets.units.prompt_bank import BANK

SHOWN = 20
"""Classes in the table at most."""


def build() -> list[dg.AssetsDefinition]:
    """The one asset."""
    return [stage_asset(stage(PROMPT_BANK), _describe)]


def _describe(engine: Engine, cell: Cell, manifests: Mapping[str, Manifest]) -> Mapping[str, Any]:
    shown: dict[str, Any] = {}
    for kind, manifest in manifests.items():
        bank = json.loads(engine.store.read(manifest, BANK))
        rows = [
            f"| {name} | {bank['definitions'][n]} | {'; '.join(bank['contents'][n])} | {'; '.join(bank['styles'][n])} |"
            for n, name in enumerate(cell.setting.classes[:SHOWN])
        ]
        head = "| class | what it is | contents | styles |\n|---|---|---|---|\n"
        shown[kind] = dg.MetadataValue.md(head + "\n".join(rows))
        shown[f"{kind}_source"] = manifest.summary["source"]
        shown[f"{kind}_combinations"] = manifest.summary["combinations"]
    return shown
