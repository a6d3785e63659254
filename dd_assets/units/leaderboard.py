"""The `leaderboard` unit: every score the store holds, ranked, as a table and a page.

Belongs here: planning it and assembling the page. Does not belong: gathering rows (report/leaderboard.py), HTML
(report/page.py).
"""

from __future__ import annotations

import json

from dd_assets.errors import InputError
from dd_assets.planning.digests import ContentHasher, text_digest
from dd_assets.planning.engine import Engine, Work
from dd_assets.planning.unit import Manifest, Product, Reference, Unit
from dd_assets.report.contents import Contents, gather
from dd_assets.report.diversity import diversity_references
from dd_assets.report.exports import as_csv
from dd_assets.report.leaderboard import score_references
from dd_assets.report.page import render_page
from dd_assets.report.published import figures_digest
from dd_assets.units.kinds import kind_of
from dd_resources.store import ArtefactStore

PAGE, TABLE, ROWS, VERDICTS = "leaderboard.html", "leaderboard.csv", "leaderboard.json", "verdicts.json"
OF_SETTING, OF_CELL = ("dataset", "teacher", "committee"), ("synthetic_images", "soft_labels")
"""Assets from which a row takes costs, bytes, provenance and accuracies on the real split."""
MEASURED = (
    "synthesis_seconds",
    "training_seconds",
    "device_seconds",
    "teacher_seconds",
    "generator_seconds",
    "label_seconds",
    "peak_bytes",
    "device",
)
"""Columns that another run of the same computation would change."""
ATTEMPTS = 3


class MovedError(InputError):
    """References were written while the rows were gathered, so the unit's digest is that of another state."""


def plan(store: ArtefactStore, namespace: str) -> Unit:
    """The unit over all that a row shows: scores, diversity, what they were made from, the printed figures."""
    found = list(score_references(store, namespace))
    measured = diversity_references(store, namespace)
    sources = {(asset, setting) for _, _, setting, _, _ in found for asset in OF_SETTING}
    sources |= {(f"{method}/{asset}", f"{setting}|{ipc}") for method, _, setting, ipc, _ in found for asset in OF_CELL}
    known = [
        (target, store.read_reference(namespace, *target)) for target in sorted(sources & store.referenced(namespace))
    ]
    return Unit(
        name="leaderboard",
        version=kind_of("leaderboard").version,
        parameters={"namespace": namespace, "published": figures_digest()},
        inputs={
            **{f"{method}/{student}@{setting}@{ipc}": _state(ref) for method, student, setting, ipc, ref in found},
            **{f"{method}/diversity@{setting}@{ipc}": _state(ref) for method, setting, ipc, ref in measured},
            **{f"{asset}@{partition}": _state(ref) for (asset, partition), ref in known if ref is not None},
        },
        label="leaderboard",
    )


def _state(reference: Reference) -> str:
    """Digest of all that a row shows of a reference: a recipe may get another content, and `declared` is outside it."""
    return text_digest([reference.recipe, reference.content, reference.declared])


def current(engine: Engine, namespace: str) -> Manifest:
    """The leaderboard of the store as it is; raises MovedError where somebody writes to it again and again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return engine.run([plan(engine.store, namespace)])[0]
        except MovedError as moved:
            engine.announce(str(moved))
    return engine.run([plan(engine.store, namespace)])[0]


def compute(unit: Unit, work: Work) -> Product:
    """Rows, CSV and one self-contained HTML page; raises MovedError."""
    found = gather(work.store, unit.parameters["namespace"])
    stable = [{key: value for key, value in row.items() if key not in MEASURED} for row in found.rows]
    verdicts = [{"cell": list(cell), "words": list(entry.words)} for cell, entry in found.comparisons.items()]
    hasher = ContentHasher("leaderboard").value("rows", stable).value("verdicts", verdicts)
    if found.diversity:
        hasher.value("diversity", found.diversity)
    drawn = page(work.store, found)
    if plan(work.store, unit.parameters["namespace"]).digest != unit.digest:
        raise MovedError("leaderboard: scores were written while it was drawn up", "run it again")
    return Product(
        content=hasher.hexdigest(),
        payloads={
            PAGE: drawn.encode(),
            TABLE: as_csv(found.rows).encode(),
            ROWS: json.dumps(found.rows, indent=1).encode(),
            VERDICTS: json.dumps([entry.to_json() for entry in found.comparisons.values()], indent=1).encode(),
        },
        summary={"rows": len(found.rows), "verdicts": verdicts},
    )


def page(store: ArtefactStore, found: Contents) -> str:
    """The HTML page: verdicts, tables, plots, diversity, contact sheets, accuracy curves."""
    return render_page(
        found.rows,
        found.sheets,
        found.curves,
        {"store": store.root, "cells": len(found.rows)},
        found.diversity,
        found.verdicts,
        found.plots,
        found.frontiers,
    )
