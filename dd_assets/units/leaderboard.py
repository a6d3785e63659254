"""The `leaderboard` unit: every score the store holds, ranked, as a table and a page.

Belongs here: planning it and assembling the page. Does not belong: gathering rows (report/leaderboard.py), HTML
(report/page.py).
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from dd_assets.planning.digests import ContentHasher
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Product, Unit
from dd_assets.report.diversity import diversity_references, diversity_tables
from dd_assets.report.leaderboard import leaderboard_rows, score_references
from dd_assets.units.image_set import CONTACT_SHEET
from dd_assets.units.kinds import kind_of
from dd_resources.store import ArtefactStore

PAGE, TABLE, ROWS = "leaderboard.html", "leaderboard.csv", "leaderboard.json"
MEASURED = ("synthesis_seconds", "training_seconds")


def plan(store: ArtefactStore, namespace: str) -> Unit:
    """The unit over all score and diversity references of a deployment."""
    found = list(score_references(store, namespace))
    measured = diversity_references(store, namespace)
    return Unit(
        name="leaderboard",
        version=kind_of("leaderboard").version,
        parameters={"namespace": namespace},
        inputs={
            **{f"{method}/{student}@{setting}@{ipc}": ref.recipe for method, student, setting, ipc, ref in found},
            **{f"{method}/diversity@{setting}@{ipc}": ref.recipe for method, setting, ipc, ref in measured},
        },
        label="leaderboard",
    )


def compute(unit: Unit, work: Work) -> Product:
    """Rows, CSV and one self-contained HTML page."""
    rows = leaderboard_rows(work.store, unit.parameters["namespace"])
    stable = [{key: value for key, value in row.items() if key not in MEASURED} for row in rows]
    hasher = ContentHasher("leaderboard").value("rows", stable)
    tables = diversity_tables(work.store, unit.parameters["namespace"], rows)
    if tables:
        hasher.value("diversity", tables)
    return Product(
        content=hasher.hexdigest(),
        payloads={
            PAGE: page(work.store, unit.parameters["namespace"], rows).encode(),
            TABLE: as_csv(rows).encode(),
            ROWS: json.dumps(rows, indent=1).encode(),
        },
        summary={"rows": len(rows)},
    )


def as_csv(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV text."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, fieldnames=list(rows[0]) if rows else ["dataset"])
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def page(store: ArtefactStore, namespace: str, rows: list[dict[str, Any]]) -> str:
    """The HTML page: table, diversity, contact sheets, accuracy curves."""
    from dd_assets.report.page import render_page
    from dd_assets.report.pictures import curve_svg

    sheets: list[dict[str, Any]] = []
    series: dict[str, dict[str, Any]] = {}
    for method, student, setting, ipc, reference in score_references(store, namespace):
        images = store.read_reference(namespace, f"{method}/synthetic_images", f"{setting}|{ipc}")
        first = store.lookup(next(iter(images.units.values()))) if images else None
        title = f"{method} · {setting} · IPC {ipc}"
        if first is not None and title not in {sheet["title"] for sheet in sheets}:
            sheets.append({"title": title, "png": store.read(first, CONTACT_SHEET)})
        for mode in ("soft", "hard"):
            digests = [digest for key, digest in reference.units.items() if key.startswith(f"{mode}/")]
            found = [manifest for digest in digests if (manifest := store.lookup(digest)) is not None]
            if found:
                epochs = [epoch + 1 for epoch in found[0].summary["evaluated_epochs"]]
                curves = zip(*(m.summary["accuracy_curve"] for m in found), strict=True)
                group = series.setdefault(f"{setting} · IPC {ipc} · {student} · {mode} labels", {})
                group[method] = (epochs, [sum(values) / len(values) for values in curves])
    drawn = [
        {"title": title, "svg": curve_svg(lines, title, "epoch", "test accuracy")} for title, lines in series.items()
    ]
    facts = {"store": store.root, "cells": len(rows)}
    return render_page(rows, sheets, drawn, facts, diversity_tables(store, namespace, rows))
