"""Stored scores as contests: per-image correctness bits by method.

Belongs here: finding the trainings of a partition and reading their bits. Does not belong: comparing them
(comparison.py), the leaderboard's rows (leaderboard.py), torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from dd_assets.errors import InputError
from dd_assets.lazy import np
from dd_assets.planning.unit import Manifest
from dd_assets.report.comparison import CONTROL, Contest
from dd_assets.report.efficiency import Lookup
from dd_assets.report.leaderboard import apart, conditions, failed_checks, score_references
from dd_assets.report.statistics import Runs
from dd_assets.units.tables import read_columns
from dd_assets.units.training import SCORE
from dd_resources.store import ArtefactStore


def contests(store: ArtefactStore, namespace: str, partition: str = "") -> list[Contest]:
    """Every contest of the store, or of one partition such as 'digits|10', or of all of 'digits', in registry order.

    Results of overridden parameters, of students that failed a blocking check, or of other data, another protocol or
    another labeller than most have, do not compete. Raises InputError if a partition has no score.
    """
    found: dict[tuple[str, int, str, str], dict[str, dict[str, Manifest]]] = {}
    for method, student, dataset, ipc, reference in score_references(store, namespace):
        if not reference.declared or partition not in ("", dataset, f"{dataset}|{ipc}"):
            continue
        for key, digest in reference.units.items():
            manifest = store.lookup(digest)
            if manifest is not None:
                group = found.setdefault((dataset, ipc, student, key.split("/")[0]), {})
                group.setdefault(method, {})[key] = manifest
    if partition and not found:
        raise InputError(f"no score of {partition} is in store {store.root}", "dd-assets sync computes them")
    alike = {key: _alike(group, cache(store.lookup)) for key, group in found.items()}
    runs = {key: {name: _runs(store, own) for name, own in group.items()} for key, group in alike.items()}

    def control(key: tuple[str, int, str, str]) -> Runs | None:
        """Random images with soft labels beside a contest of hard ones, if they were tested on the same images."""
        soft = (*key[:3], "soft")
        tested = {_tested(own) for own in (alike[key] | {"": alike.get(soft, {}).get(CONTROL, {})}).values()}
        return runs.get(soft, {}).get(CONTROL) if key != soft and len(tested) == 1 else None

    return [
        Contest(
            dataset=dataset,
            ipc=ipc,
            student=student,
            label=label,
            runs=group,
            soft_control=control((dataset, ipc, student, label)),
        )
        for (dataset, ipc, student, label), group in runs.items()
        if group
    ]


def _alike(group: Mapping[str, Mapping[str, Manifest]], lookup: Lookup) -> dict[str, Mapping[str, Manifest]]:
    """The methods that compete: bits of other images or of students trained otherwise do not compare."""
    sound = {name: own for name, own in group.items() if not failed_checks(own.values())}
    words = apart({name: conditions(own.values(), lookup) for name, own in sound.items()}) if sound else {}
    return {name: own for name, own in sound.items() if not words[name]}


def _tested(trainings: Mapping[str, Manifest]) -> frozenset[str]:
    """The contents of the datasets whose test images were classified."""
    return frozenset(manifest.recipe["inputs"].get("dataset", "") for manifest in trainings.values())


def _runs(store: ArtefactStore, trainings: Mapping[str, Manifest]) -> Runs:
    """The bits of keys such as 'soft/draw0/seed2'."""
    places = [key.split("/")[1:3] for key in trainings]
    return Runs(
        bits=np.concatenate([read_columns(store.read(m, SCORE))["correct"] for m in trainings.values()]).astype(bool),
        draws=tuple(int(draw.removeprefix("draw")) for draw, _ in places),
        seeds=tuple(int(seed.removeprefix("seed")) for _, seed in places),
    )
