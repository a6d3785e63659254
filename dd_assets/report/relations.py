"""What a row of the leaderboard is worth beside others: random images, real data, other students.

Belongs here: IOR, HLR, LRS and the cross-architecture gap of whole leaderboards. Does not belong: their formulas
(metrics.py), gathering the rows (leaderboard.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from dd_assets.datasets import registry
from dd_assets.datasets.setting import Setting
from dd_assets.report.comparison import CONTROL
from dd_assets.report.leaderboard import OVERRIDDEN
from dd_assets.report.metrics import (
    cross_architecture_gap,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)
from dd_assets.units.teacher import accuracy_as_student
from dd_resources.store import ArtefactStore

Found = Mapping[tuple[Any, ...], float]


def real_accuracies(store: ArtefactStore, namespace: str, chosen: Setting) -> dict[str, float]:
    """Architecture to test accuracy after training on the whole real split with its own labels.

    Those are the setting's teacher and the members of its committee that have the teacher's recipe, not the students';
    a pool's weak networks say nothing about the real split. Networks of one architecture are averaged. Architectures
    that nobody trained so are left out.
    """
    weak = {member.key for member in chosen.committee if not member.trained_like(chosen.teacher)}
    found: dict[str, dict[str, float]] = {}
    for asset in ("teacher", "committee"):
        reference = store.read_reference(namespace, asset, chosen.name)
        for key, digest in (reference.units if reference else {}).items():
            manifest = store.lookup(digest)
            if manifest is not None and not (asset == "committee" and key in weak):
                own = found.setdefault(manifest.summary["architecture"], {})
                own[manifest.content] = accuracy_as_student(manifest)
    return {name: statistics.mean(values.values()) for name, values in found.items()}


def with_relations(rows: list[dict[str, Any]], store: ArtefactStore, namespace: str) -> list[dict[str, Any]]:
    """The rows with `ior`, `hlr`, `lrs` and `cross_gap`; None wherever a run that it needs was not made.

    `ior`: against random images under the same student and labels. `hlr`: hard labels alone, against the real split.
    `lrs`: DD-Ranking's, from the hard labels' HLR and this row's IOR. `cross_gap`: the accuracy of the teacher's
    architecture less the mean of the other students'. Rows that do not compete lend nothing to others; only
    overridden ones have relations of their own.
    """
    alike = [row for row in rows if not row["apart"]]
    accuracy = {(*_cell(row), row["student"], row["label"], row["method"]): row["accuracy_mean"] for row in alike}
    names = {row["dataset"] for row in rows}
    real = {name: real_accuracies(store, namespace, registry.settings()[name]) for name in names}
    return [{**row, **_relations(row, accuracy, real[row["dataset"]])} for row in rows]


def _cell(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["dataset"], row["ipc"]


def _relations(row: Mapping[str, Any], accuracy: Found, real: Mapping[str, float]) -> dict[str, float | None]:
    if row["apart"] not in ("", OVERRIDDEN):
        return dict.fromkeys(("ior", "hlr", "lrs", "cross_gap"))
    cell, mean = _cell(row), row["accuracy_mean"]
    random = accuracy.get((*cell, row["student"], row["label"], CONTROL))
    hard = accuracy.get((*cell, row["student"], "hard", row["method"]))
    whole = real.get(row["student"])
    ior = None if random is None else improvement_over_random(mean, random)
    hlr = None if hard is None or whole is None else hard_label_recovery(whole, hard)
    own = registry.settings()[row["dataset"]].teacher.architecture
    students = {
        key[2]: value
        for key, value in accuracy.items()
        if (key[:2], key[3], key[4]) == (cell, row["label"], row["method"])
    }
    return {
        "ior": ior,
        "hlr": hlr if row["label"] == "hard" else None,
        "lrs": None if ior is None or hlr is None else label_robust_score(ior, hlr),
        "cross_gap": cross_architecture_gap(students, own),
    }
