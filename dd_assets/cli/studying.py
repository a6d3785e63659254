"""Commands for studies: which there are, what one consists of, computing it, its table.

Belongs here: their options and output. Does not belong: what a study is (dd_assets/studies), computing
(planning/studies.py), any other command.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dd_assets.cli.common import as_json_option, looking_engine, show
from dd_assets.cli.computing import syncing
from dd_assets.errors import InputError

if TYPE_CHECKING:
    from dd_assets.datasets.setting import Setting
    from dd_assets.planning.engine import Engine
    from dd_assets.planning.plan import Target
    from dd_assets.report.score_table import ScoreTable
    from dd_assets.studies.registry import Study


@click.command(name="studies")
@as_json_option
def list_studies(as_json: bool) -> None:
    """Which tables and figures of the paper can be computed, and how many cells each has per dataset."""
    from dd_assets.datasets.registry import settings
    from dd_assets.studies.registry import studies

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "title": entry.title,
            "cells": {name: len(entry.cells(chosen)) for name, chosen in settings().items()},
            "variants": list(entry.variants),
            "source": entry.source,
        }
        for entry in studies().values()
    ]
    if not as_json:
        rows = [row | {"cells": [f"{name} {count}" for name, count in row["cells"].items()]} for row in rows]
    show(rows, ("name", "title", "cells", "variants"), as_json, "Studies")


@click.command(name="study")
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Every study that has cells for the dataset.")
@click.option("--dataset", "--partition", default="digits", show_default=True, help="An enabled dataset setting.")
@click.option("--ipc", type=int, help="One IPC alone; all of the study's by default.")
@click.option("--plan", "only_plan", is_flag=True, help="Show the cells and what is missing; compute nothing.")
@as_json_option
def run_study(name: str | None, every: bool, dataset: str, ipc: int | None, only_plan: bool, as_json: bool) -> None:
    """Compute what is missing of a study, and print its table beside the published figures.

    With --all and --json: a mapping from the studies' names to their rows.
    """
    from dd_assets.datasets.registry import enabled

    chosen = enabled(dataset)
    entries = _chosen(name, every, chosen, ipc)
    targets = list(dict.fromkeys(target for entry in entries for target in _targets(entry, chosen, ipc)))
    outcome = None
    if not only_plan:
        with syncing(quiet=as_json) as job:
            outcome = job.run(targets)
    engine = looking_engine()
    found = {}
    for entry in entries:
        rows = [row for row in table(entry, chosen, engine, only_plan) if ipc in (None, row["ipc"])]
        found[entry.name] = rows
        if not as_json:
            _print(entry, chosen, rows, engine, only_plan)
    if as_json:
        click.echo(json.dumps(found if every else next(iter(found.values())), indent=1))
    if outcome is not None:
        outcome.require_all()


def _chosen(name: str | None, every: bool, chosen: Setting, ipc: int | None) -> list[Study]:
    """The studies asked for; raises InputError unless it is one by name or all, and for a name that does not exist."""
    from dd_assets.studies.registry import studies, study

    if bool(name) == every:
        raise InputError("name one study, or give --all", "`dd-assets studies` lists them")
    if name:
        return [study(name)]
    found = [entry for entry in studies().values() if entry.cells(chosen, ipc)]
    if not found:
        raise InputError(f"no study has a cell for {chosen.name}", "see `dd-assets studies`")
    return found


def _targets(entry: Study, chosen: Setting, ipc: int | None) -> list[Target]:
    """The study's partitions in a setting; raises InputError where there is none."""
    from dd_assets.planning.studies import study_asset

    values = sorted({found.ipc for found in entry.cells(chosen, ipc)})
    if not values:
        raise InputError(
            f"{entry.name} has no cell for {chosen.name}" + (f" at IPC {ipc}" if ipc else ""),
            f"its IPC values are {list(entry.grid_of(chosen).ipc)}, the setting's {list(chosen.ipc)}",
        )
    return [(study_asset(entry.name), f"{chosen.name}|{value}") for value in values]


def table(entry: Study, chosen: Setting, engine: Engine, plan: bool) -> list[dict[str, Any]]:
    """The study's rows from what the store holds; with `plan` every cell against its present recipe."""
    from dd_assets.planning.graph import Cell, stages
    from dd_assets.planning.plan import Planner, input_target
    from dd_assets.planning.studies import reason_against, status_of, study_asset
    from dd_assets.report.studies import stored_units, study_rows
    from dd_resources.injection import NAMESPACE

    asset, planner = study_asset(entry.name), Planner(engine, NAMESPACE)
    states: dict[str, tuple[str, str]] = {}
    for ipc in sorted({found.ipc for found in entry.cells(chosen)}):
        cell = Cell(setting=chosen, ipc=ipc)
        inputs = {}
        for source in stages()[asset].reads(cell) if plan else ():
            target = input_target(source, cell)
            planner.visit(target)
            if target in planner.found:
                inputs[source] = planner.found[target]
        for found in entry.cells(chosen, ipc):
            reason = "" if plan else reason_against(cell, found)
            states[f"{ipc}/{found.key}"] = (
                status_of(entry, cell, found, inputs, engine) if plan else ("blocked" if reason else "missing", reason)
            )
    units = {} if plan else stored_units(entry, chosen, engine.store, NAMESPACE)
    return study_rows(entry, chosen, units, states, engine.store.lookup)


def _print(entry: Study, chosen: Setting, rows: list[dict[str, Any]], engine: Engine, plan: bool) -> None:
    from dd_assets.planning.studies import STATUSES
    from dd_assets.report.studies import COLUMNS, left_out, shown

    show([shown(row) for row in rows], COLUMNS, False, f"{entry.title} ({entry.name}, {chosen.name})")
    for scores in [] if plan else _scores(entry, chosen, engine):
        records = [scores.shown(row) for row in scores.rows if row["ipc"] in {found["ipc"] for found in rows}]
        show(records, records[0] if records else (), False, scores.title)
        click.echo(scores.note)
    counts = {word: sum(row["status"] == word for row in rows) for word in STATUSES}
    said = (f"{count} {word}" for word, count in counts.items() if count or word != "refused")
    click.echo(f"{len(rows)} cells: " + ", ".join(said))
    for reason in dict.fromkeys(f"{row['method']}: {row['reason']}" for row in rows if row["reason"]):
        click.echo(f"  {reason}")
    for text in left_out(rows):
        click.echo(f"  not as its source has it: {text}")
    if all(row["published_mean"] is None for row in rows):
        click.echo("no published figure stands beside these cells: data, teacher or student are not the paper's")


def _scores(entry: Study, chosen: Setting, engine: Engine) -> list[ScoreTable]:
    """The further tables of a study, from what the store holds."""
    from dd_assets.report.studies import stored_units
    from dd_assets.report.study_pages import results_of
    from dd_resources.injection import NAMESPACE

    return results_of(entry, chosen, stored_units(entry, chosen, engine.store, NAMESPACE), engine.store.lookup).tables


COMMANDS = (list_studies, run_study)
