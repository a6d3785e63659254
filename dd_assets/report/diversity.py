"""Diversity beside accuracy: each method's measures, and how they rank methods compared with accuracy.

Belongs here: gathering stored figures and rank correlations. Does not belong: measuring (units/diversity.py), HTML
(page.py), torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dd_assets.datasets.registry import settings
from dd_assets.lazy import np
from dd_assets.methods.registry import METHODS
from dd_assets.planning.unit import Manifest, Reference
from dd_resources.store import ArtefactStore

COLUMNS: Mapping[str, str] = {
    "cosine": "cosine similarity",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "representativeness": "representativeness",
    "nearest_in_class": "nearest of class",
    "nearest_overall": "nearest of all",
    "frechet_teacher": "Fréchet, teacher",
    "kernel_teacher": "kernel, teacher",
}
"""Measure to its heading; older results lack the last two, or `representativeness`."""
MIN_METHODS = 3
"""Fewer methods give a rank correlation of -1, 1 or nothing."""


def diversity_references(store: ArtefactStore, namespace: str) -> list[tuple[str, str, int, Reference]]:
    """Every measured cell: (method, setting, ipc, reference), in the order of the registries."""
    cells = [(name, entry.name, ipc) for entry in settings().values() for ipc in entry.ipc for name in METHODS()]
    found = [(*cell, store.read_reference(namespace, f"{cell[0]}/diversity", f"{cell[1]}|{cell[2]}")) for cell in cells]
    return [(name, setting, ipc, reference) for name, setting, ipc, reference in found if reference is not None]


def mean_measures(manifests: Sequence[Manifest], kind: str) -> dict[str, float | None]:
    """Each measure's mean over draws of one kind of images ('set', 'random', 'class'); None where a draw has none."""
    means: dict[str, float | None] = {}
    for name in COLUMNS:
        values = [manifest.summary[kind].get(name) for manifest in manifests]
        means[name] = None if not values or None in values else sum(values) / len(values)
    return means


def diversity_tables(store: ArtefactStore, namespace: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One table per dataset and IPC that has been measured: methods, real images, correlations with accuracy.

    rows: the leaderboard's. A method whose images or scores come from overridden parameters is shown, but takes no
    part in the correlations.
    """
    tables: list[dict[str, Any]] = []
    cells = itertools.groupby(diversity_references(store, namespace), key=lambda found: found[1:3])
    for (setting, ipc), members in cells:
        methods, most, declared = [], list[Manifest](), []
        for name, _, _, reference in members:
            manifests = [m for digest in reference.units.values() if (m := store.lookup(digest)) is not None]
            if not manifests:
                continue
            # The random images are other ones in each draw, so the figure of most draws is the steadiest.
            most = max(most, manifests, key=len)
            methods.append({"method": name, **mean_measures(manifests, "set")})
            declared += [name] if reference.declared else []
        if not methods:
            continue
        of_cell = [row for row in rows if (row["dataset"], row["ipc"]) == (setting, ipc)]
        taking_part = [entry for entry in methods if entry["method"] in declared]
        tables.append(
            {
                "dataset": setting,
                "ipc": ipc,
                "columns": dict(COLUMNS),
                "methods": methods,
                "random": mean_measures(most, "random"),
                "class": mean_measures(most, "class"),
                "correlations": correlations(taking_part, of_cell),
            }
        )
    return tables


def correlations(measured: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Spearman's rank correlation of each measure with mean accuracy over methods, per student and label mode.

    measured: one mapping per method with `method` and COLUMNS; rows: the leaderboard's of the same dataset and IPC. A
    measure that fewer than MIN_METHODS methods have, or in which all are alike, has None. 1: more of the measure,
    more accuracy; for `cosine` more of the measure is less variety.
    """
    contests: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if not row["apart"] and row["accuracy_mean"] is not None:
            contests.setdefault((row["student"], row["label"]), {})[row["method"]] = row["accuracy_mean"]
    found = []
    for (student, label), accuracy in contests.items():
        both = [entry for entry in measured if entry["method"] in accuracy]
        if len(both) < MIN_METHODS:
            continue
        figures = {}
        for name in COLUMNS:
            having = [entry for entry in both if entry[name] is not None]
            pairs = [(entry[name], accuracy[entry["method"]]) for entry in having]
            figures[name] = spearman(*zip(*pairs, strict=True)) if len(pairs) >= MIN_METHODS else None
        found.append({"student": student, "label": label, "count": len(both), **figures})
    return found


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Pearson's correlation of the ranks, where equal values share the mean of their ranks; None for constant values.

    Trap: 1 - 6 Σd² / (n (n² - 1)) holds without ties only.
    """
    one, two = (_ranks(np.asarray(values, dtype=np.float64)) for values in (left, right))
    one, two = one - one.mean(), two - two.mean()
    spread = math.sqrt(float(one @ one) * float(two @ two))
    return float(one @ two) / spread if spread else None


def _ranks(values: np.ndarray) -> np.ndarray:
    below = (values[:, None] > values[None]).sum(axis=1)
    alike = (values[:, None] == values[None]).sum(axis=1)
    return below + (alike + 1) / 2
