"""The studies' part of the report: what the store holds of each, as a page, Markdown and CSV.

Belongs here: gathering rows, marks and trainings of every study that has results. Does not belong: the rows
(studies.py) and further tables (study_scores.py) themselves, HTML (templates/study.html.j2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dd_assets.datasets.registry import settings
from dd_assets.datasets.setting import Setting
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import Cell
from dd_assets.planning.studies import reason_against, study_asset
from dd_assets.planning.study_arms import real_accuracies
from dd_assets.planning.unit import Manifest
from dd_assets.report.efficiency import Lookup
from dd_assets.report.exports import as_csv
from dd_assets.report.page import template
from dd_assets.report.score_table import ScoreTable
from dd_assets.report.studies import left_out, markdown, row_marks, stored_units, study_rows
from dd_assets.report.study_figures import study_figures
from dd_assets.report.study_scores import score_tables
from dd_assets.studies.registry import Study, studies
from dd_resources.store import ArtefactStore

Row = Mapping[str, Any]
LEFT_OUT = ("recipes", "runs")
"""Fields of a row that a CSV does not hold: its trainings are the page's."""


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """One study in one setting."""

    study: Study
    chosen: Setting
    rows: list[dict[str, Any]]
    """All cells in the order of the axes, also those that are missing or cannot be."""
    tables: list[ScoreTable]
    units: Mapping[str, Manifest]
    """'<ipc>/<key>' to manifest."""

    @property
    def done(self) -> int:
        """How many cells have a result."""
        return sum(row["status"] == "done" for row in self.rows)


def study_results(store: ArtefactStore, namespace: str) -> list[StudyResults]:
    """Every study and enabled setting of which the store holds something, in registry order."""
    found = []
    for entry in studies().values():
        for chosen in settings().values():
            units = stored_units(entry, chosen, store, namespace)
            if units:
                found.append(results_of(entry, chosen, units, store.lookup))
    return found


def results_of(entry: Study, chosen: Setting, units: Mapping[str, Manifest], lookup: Lookup) -> StudyResults:
    """Rows and tables of a study in a setting; units: '<ipc>/<key>' to manifest, lookup: as in `study_rows`."""
    states = {}
    for found in entry.cells(chosen):
        reason = reason_against(Cell(setting=chosen, ipc=found.ipc), found)
        states[f"{found.ipc}/{found.key}"] = ("blocked" if reason else "missing", reason)
    rows = study_rows(entry, chosen, units, states, lookup)
    real = real_accuracies({key.partition("/")[2]: manifest for key, manifest in units.items()})
    return StudyResults(
        study=entry, chosen=chosen, rows=rows, tables=score_tables(entry, chosen, rows, real), units=units
    )


def study_files(store: ArtefactStore, namespace: str, scored: Sequence[str]) -> tuple[dict[str, str], list[Row]]:
    """(file name to text, one entry {name, title, page, done, cells, settings} per study with results).

    scored: methods that have a page of their own to link to.
    """
    by_study: dict[str, list[StudyResults]] = {}
    for found in study_results(store, namespace):
        by_study.setdefault(found.study.name, []).append(found)
    texts: dict[str, str] = {}
    entries: list[Row] = []
    for name, members in by_study.items():
        title = members[0].study.title
        entries.append(
            {
                "name": name,
                "title": title,
                "page": f"studies/{name}.html",
                "done": sum(member.done for member in members),
                "cells": sum(len(member.rows) for member in members),
                "settings": [member.chosen.name for member in members],
            }
        )
        rows = [row for member in members for row in member.rows]
        texts[f"studies/{name}.html"] = _page(store, members, scored)
        texts[f"studies/{name}.md"] = _markdown(members)
        figures = [figure for member in members for figure in study_figures(member.study, member.chosen, member.rows)]
        texts |= {f"studies/{name}_{number}.svg": figure["svg"] for number, figure in enumerate(figures, 1)}
        texts[f"studies/{name}.csv"] = as_csv([{k: v for k, v in row.items() if k not in LEFT_OUT} for row in rows])
        scores = [row for member in members for table in member.tables for row in table.rows]
        if scores:
            texts[f"studies/{name}_scores.csv"] = as_csv(_same_fields(scores))
    return texts, entries


def _same_fields(rows: Sequence[Row]) -> list[dict[str, Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _markdown(members: Sequence[StudyResults]) -> str:
    study = members[0].study
    parts = [f"# {study.title}\n", f"{study.source.strip()}\n"]
    for member in members:
        parts += [f"## {member.chosen.name}\n", markdown(member.rows), ""]
        parts += [*(f"- Not as its source has it: {text}" for text in left_out(member.rows)), ""]
        for table in member.tables:
            parts += [table.markdown(), ""]
    return "\n".join(parts) + "\n"


def _page(store: ArtefactStore, members: Sequence[StudyResults], scored: Sequence[str]) -> str:
    study = members[0].study
    return template("study.html.j2").render(
        study=study,
        members=[_member(member) for member in members],
        methods=METHODS(),
        scored=set(scored),
        store=store.root,
        has_scores=any(member.tables for member in members),
    )


def _member(member: StudyResults) -> dict[str, Any]:
    """What the page shows of one setting: a block per IPC and student, with a row per method, a column per variant."""
    marked = [
        {**row, "mark": mark, "anchor": _anchor(row), "trainings": _trainings(member, row)}
        for row, mark in zip(member.rows, row_marks(member.rows), strict=True)
    ]
    blocks: dict[tuple[int, str], dict[str, Any]] = {}
    for row in marked:
        block = blocks.setdefault(
            (row["ipc"], row["student"]),
            {"ipc": row["ipc"], "student": row["student"], "variants": {}, "methods": {}, "rows": []},
        )
        block["variants"][row["variant"]] = row["label"]
        block["methods"].setdefault(row["method"], {})[row["variant"]] = row
        block["rows"].append(row)
    asset = study_asset(member.study.name)
    partitions = [f"{member.chosen.name}|{ipc}" for ipc in sorted({row["ipc"] for row in marked})]
    return {
        "setting": member.chosen.name,
        "done": member.done,
        "cells": len(member.rows),
        "blocks": list(blocks.values()),
        "reasons": list(dict.fromkeys(f"{row['method']}: {row['reason']}" for row in marked if row["reason"])),
        "left_out": left_out(member.rows),
        "tables": member.tables,
        "figures": study_figures(member.study, member.chosen, member.rows),
        "commands": [
            f"dd-assets study {member.study.name} --dataset {member.chosen.name}",
            *(f"dd-assets verify {asset} '{partition}'" for partition in partitions),
        ],
        "asset": asset,
    }


def _anchor(row: Row) -> str:
    text = "-".join(str(row[name]) for name in ("dataset", "ipc", "method", "student", "variant", "label"))
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)


def _trainings(member: StudyResults, row: Row) -> list[dict[str, Any]]:
    """The runs behind a row, with the gap between training views and test images."""
    # By the variant's own label mode: a preset may score with another.
    mode = member.study.variants[row["variant"]].label
    prefix = f"{row['ipc']}/{row['method']}/score_{row['student']}/{row['variant']}/{mode}/"
    return [
        {
            "key": key.removeprefix(prefix),
            "accuracy": manifest.summary["accuracy"],
            "best": manifest.summary["best_accuracy"],
            "train": manifest.summary["train_accuracy"],
            "gap": manifest.summary["train_accuracy"] - manifest.summary["accuracy"],
            "seconds": manifest.seconds,
            "recipe": manifest.recipe_digest,
            "content": manifest.content,
        }
        for key, manifest in member.units.items()
        if key.startswith(prefix)
    ]
