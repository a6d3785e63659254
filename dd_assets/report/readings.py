"""Which reading of an unstated protocol fits a paper's figures best.

Belongs here: z of a study's rows, and their sums for every combination of loop, soft-label variant, hard-label variant
and epoch.
Does not belong: which readings there are (studies/*.yaml), the rows (studies.py).

A reading is of the loop and the epoch together, since a paper has one of each; soft and hard labels have a knob of
their own beside them, and each takes its best. Our own deviation in z is pooled over the variants of a cell: with each
variant's own, the noisiest reading would fit best. Nothing is chosen here: the smallest sum stands first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dd_assets.report.score_table import Row, ScoreTable
from dd_assets.studies.registry import Study, Variant

OF_LABELS = ("temperature", "hard_form")
"""Fields of a protocol that only one of the two label modes reads."""
EPOCHS = {"last": ("accuracy_mean", "accuracy_std"), "best": ("best_mean", "best_std")}


def readings_table(study: Study, rows: Sequence[Row]) -> ScoreTable:
    """A row per reading and IPC: the sum of z² over its cells up to that IPC, smallest first; none where one lacks."""
    made: list[dict[str, Any]] = []
    for (dataset, student, method), own in _grouped(rows):
        sizes = sorted({ipc for ipc, _ in own})
        for number, ipc in enumerate(sizes, 1):
            found = []
            for soft, hard in _pairs(study):
                keys = [(size, name) for size in sizes[:number] for name in (soft, hard)]
                for epoch in EPOCHS:
                    gaps = [_gap(study, own, key, epoch) for key in keys]
                    known = [gap for gap in gaps if gap is not None]
                    if len(known) == len(gaps):
                        sums = {
                            "squares": sum(z**2 for _, z in known),
                            "rms": math.sqrt(sum(points**2 for points, _ in known) / len(known)),
                            "worst": max((z for _, z in known), key=abs),
                            "seeds": min(own[key]["seeds"] for key in keys),
                        }
                        found.append({"soft": soft, "hard": hard, "epoch": epoch, "cells": len(known), **sums})
            axes = {"dataset": dataset, "ipc": ipc, "student": student, "method": method}
            made += [axes | row for row in sorted(found, key=lambda row: row["squares"])]
    return ScoreTable(
        title="How well each reading fits",
        note="Sum of z² over the cells up to this IPC, z = difference / sqrt(both variances); root mean square of the "
        "differences in points of accuracy; the z furthest from 0. Our variance is pooled over the variants of a label "
        "mode at an IPC, since a reading must not fit for its noise.",
        columns={
            "soft": "soft labels",
            "hard": "hard labels",
            "epoch": "epoch",
            "cells": "cells",
            "squares": "sum of z²",
            "rms": "rms difference",
            "worst": "furthest z",
        },
        percent=False,
        rows=made,
    )


def _grouped(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, str, str], dict[tuple[int, str], Row]]]:
    """(dataset, student, method) with its rows by IPC and variant."""
    found: dict[tuple[str, str, str], dict[tuple[int, str], Row]] = {}
    for row in rows:
        cells = found.setdefault((row["dataset"], row["student"], row["method"]), {})
        cells[row["ipc"], row["variant"]] = row
    yield from found.items()


def _pairs(study: Study) -> list[tuple[str, str]]:
    """Names of a soft-label and a hard-label variant that train in the same loop."""
    soft, hard = (
        [variant for variant in study.variants.values() if variant.label == label] for label in ("soft", "hard")
    )
    return [(one.name, other.name) for one, other in itertools.product(soft, hard) if _loop(one) == _loop(other)]


def _loop(variant: Variant) -> tuple[str, Mapping[str, Any]]:
    """What of a variant soft and hard labels must share."""
    return variant.preset, {name: value for name, value in variant.protocol.items() if name not in OF_LABELS}


def with_pooled_z(study: Study, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows, their `z` that of the last epoch with our variance pooled, as in the sums."""
    cells, found = dict(_grouped(rows)), []
    for row in rows:
        own = cells[row["dataset"], row["student"], row["method"]]
        gap = _gap(study, own, (row["ipc"], row["variant"]), "last")
        found.append({**row, "z": gap[1] if gap else None})
    return found


def _gap(
    study: Study, cells: Mapping[tuple[int, str], Row], key: tuple[int, str], epoch: str
) -> tuple[float, float] | None:
    """(points of accuracy, z) of a cell against the paper, or None where it is not there or has no spread."""
    mean, spread = EPOCHS[epoch]
    row = cells.get(key)
    if row is None or row["published_std"] is None or row.get(spread) is None:
        return None
    alike = [name for name, variant in study.variants.items() if variant.label == study.variants[key[1]].label]
    peers = [cells.get((key[0], name)) for name in alike]
    squares = [peer[spread] ** 2 for peer in peers if peer is not None and peer.get(spread) is not None]
    deviation = math.sqrt(sum(squares) / len(squares) + row["published_std"] ** 2)
    difference = row[mean] - row["published_mean"]
    return (100 * difference, difference / deviation) if deviation else None
