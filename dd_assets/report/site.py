"""The report: a folder of HTML pages that open from disk, with the same tables as Markdown and CSV.

Belongs here: which files there are and how they link. Does not belong: reading the store (contents.py,
method_page.py), HTML (templates/).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dd_assets.methods.registry import METHODS
from dd_assets.report.contents import Contents, gather
from dd_assets.report.embedding import stored_embeddings
from dd_assets.report.exports import as_csv, as_markdown, comparison_rows
from dd_assets.report.method_page import anchor, cells
from dd_assets.report.page import checked, grouped, template
from dd_assets.report.study_pages import study_files
from dd_assets.writing import writing
from dd_resources.store import ArtefactStore


def write_site(store: ArtefactStore, namespace: str, folder: Path) -> list[Path]:
    """Write the report and return its files: index.html, methods/ and studies/, and tables beside them.

    Every accuracy links to the trainings it is the mean of, with their digests. Files of the same names are replaced;
    nothing else in the folder is touched. Raises InputError where they cannot be written.
    """
    check_writable(folder)
    found = gather(store, namespace)
    names = [name for name in METHODS() if any(row["method"] == name for row in found.rows)]
    comparisons = list(found.comparisons.values())
    study_texts, entries = study_files(store, namespace, names)
    texts = {
        "index.html": _index(store, namespace, found, names, entries),
        "leaderboard.csv": as_csv(found.rows),
        "comparisons.csv": as_csv(comparison_rows(comparisons)),
        "equal_bytes.csv": as_csv([point for plot in found.frontiers for point in plot["points"]]),
        "leaderboard.md": as_markdown(found.rows, found.verdicts),
        "comparisons.json": json.dumps([entry.to_json() for entry in comparisons], indent=1),
        **{f"methods/{name}.html": _method(store, namespace, name, found) for name in names},
        **study_texts,
    }
    written = []
    for name, text in texts.items():
        path = folder / name
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def check_writable(folder: Path) -> None:
    """Make the folder, and raise InputError where that or a file in it cannot be: told before any work, not after."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def _writing(path: Path) -> AbstractContextManager[None]:
    return writing(f"the report cannot be written to {path}", "name a folder that can be made or written to")


def _index(
    store: ArtefactStore, namespace: str, found: Contents, names: list[str], entries: Sequence[Mapping[str, Any]]
) -> str:
    linked: list[dict[str, Any]] = [
        {**row, "page": f"methods/{row['method']}.html", "href": f"methods/{row['method']}.html#{anchor(row)}"}
        for row in found.rows
    ]
    checked(linked)
    return template("index.html.j2").render(
        groups=grouped(linked, found.verdicts, found.plots),
        sheets=[],
        curves=found.curves,
        facts={
            "Store": store.root,
            "Scored cells": len(linked),
            "Methods": len(names),
            "dd-assets": version("dd-assets"),
        },
        diversity=found.diversity,
        frontiers=found.frontiers,
        names=names,
        studies=entries,
        embeddings=stored_embeddings(store, namespace),
        comparisons=list(found.comparisons.values()),
    )


def _method(store: ArtefactStore, namespace: str, name: str, found: Contents) -> str:
    places = {
        (entry["dataset"], entry["ipc"]): entry["panels"][name]
        for entry in stored_embeddings(store, namespace)
        if name in entry["panels"]
    }
    return template("method.html.j2").render(
        method=METHODS()[name], cells=cells(store, namespace, name, found), store=store.root, places=places
    )
