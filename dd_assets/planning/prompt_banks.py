"""The stage of prompt banks.

Belongs here: which units it consists of. Does not belong: computing them (units/prompt_bank.py), who reads them
(planning/generators.py), Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping

from dd_assets.planning.cells import Cell, Stage, reference_of, run_named
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Reference
from dd_assets.units import prompt_bank

PROMPT_BANK = "prompt_bank"


def _resolve(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    units = {kind: prompt_bank.plan(cell.setting, kind, engine.raw) for kind in prompt_bank.BANKS}
    return reference_of(PROMPT_BANK, cell, run_named(units, engine), inputs)


def prompt_bank_stage() -> Stage:
    """What prompts of a setting's classes are made of; it reads no other asset."""
    return Stage(
        asset=PROMPT_BANK,
        space="dataset",
        inputs=(),
        resolve=_resolve,
        unit_kind="prompt_bank",
        checks=(("classes_told_apart", True, "no two classes have the same name and definition"),),
        description="Definitions, contents and styles of each class, from which diversified prompts are composed:"
        " templates, or what a local language model writes. No image takes part.",
        group="generators",
        kinds=("python",),
    )
