"""How representative, how varied and how slow to sample a study's image sets are: the figures that DAP argues with.

Belongs here: these fields of a study's rows, and their table. Does not belong: measuring (units/diversity.py), charts
(study_figures.py), a study's other tables (study_scores.py).

DAP (arXiv 2510.17421, Figure 1) has representativeness 1 / d(φ(x), φ(y)) and diversity 1 + FID_max - FID. Both are
taken here in the teacher's features, as all of this project's measures of that kind: representativeness as the
`diversity` unit has it, and its Fréchet distance in the place of FID, whose maximum is that of the study's own sets at
one IPC. So `diversity` compares within one table and never beyond it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dd_assets.planning.study_arms import MEASURED
from dd_assets.planning.unit import Manifest
from dd_assets.report.efficiency import Lookup, mean_cost
from dd_assets.report.formats import MISSING
from dd_assets.report.score_table import Row, ScoreTable

REPRESENTATIVENESS, FRECHET = "representativeness", "frechet_teacher"
OF_REAL = "as many real images"
"""What the row of random real images says for its variant."""


def prior_fields(key: str, units: Mapping[str, Manifest], lookup: Lookup) -> dict[str, float | None]:
    """A row's figures, means over draws: `representativeness`, `frechet`, both `_real` of as many random real images,
    and `seconds` of sampling on its device; None where there is nothing.

    units: '<ipc>/<key>' to manifest; key: '<ipc>/<cell key>'.
    """
    ipc, _, cell = key.partition("/")
    measured = [own for name, own in units.items() if name.startswith(f"{ipc}/{MEASURED}/{cell}/")]
    sets = [found for own in measured if (found := lookup(own.sources["images"])) is not None]
    cost = mean_cost(sets, lookup)
    return {
        "representativeness": _mean(measured, "set", REPRESENTATIVENESS),
        "frechet": _mean(measured, "set", FRECHET),
        "representativeness_real": _mean(measured, "random", REPRESENTATIVENESS),
        "frechet_real": _mean(measured, "random", FRECHET),
        "seconds": cost.synthesis if cost else None,
    }


def _mean(measured: Sequence[Manifest], kind: str, name: str) -> float | None:
    values = [own.summary[kind].get(name) for own in measured]
    return statistics.mean(values) if values and None not in values else None


def with_diversity(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with `diversity` and `diversity_real`: 1 + F_max - F, F_max the largest Fréchet distance of the rows of
    one dataset and IPC; None where there is none."""
    largest: dict[tuple[str, int], float] = {}
    for row in rows:
        group = (row["dataset"], row["ipc"])
        largest[group] = max([largest.get(group, 0.0), *(f for f in (row["frechet"], row["frechet_real"]) if f)])

    def turned(row: Row, name: str) -> float | None:
        return None if row[name] is None else 1 + largest[row["dataset"], row["ipc"]] - row[name]

    return [{**row, "diversity": turned(row, "frechet"), "diversity_real": turned(row, "frechet_real")} for row in rows]


def priors_table(rows: Sequence[Row]) -> ScoreTable:
    """One row per cell with measures, and above each group one of as many random real images."""
    made: list[Row] = []
    groups = dict.fromkeys(tuple(row[name] for name in ("dataset", "ipc", "student")) for row in rows)
    for group in groups:
        here = [row for row in rows if (row["dataset"], row["ipc"], row["student"]) == group]
        done = [row for row in here if row["representativeness"] is not None]
        if done:
            made += [_of_real(done[0]), *(_of_set(row) for row in done)]
    return ScoreTable(
        title="Representativeness, diversity and sampling time",
        note="Representativeness: 1 / mean distance of an image from the real ones of its class; diversity: "
        "1 + F_max - F, F the Fréchet distance of the whole set from the training images, F_max the largest of this "
        "IPC. Both in the teacher's features, so no FID. Sampling: the method's own seconds on its device, a draw.",
        columns={
            "variant": "variant",
            "accuracy": "accuracy",
            "representativeness": "representativeness",
            "diversity": "diversity",
            "frechet": "Fréchet, teacher",
            "seconds": "sampling, s",
        },
        percent=False,
        rows=made,
    )


def _of_set(row: Row) -> dict[str, Any]:
    mean, spread = row["accuracy_mean"], row["accuracy_std"]
    beside = "" if spread is None else f" ± {100 * spread:.1f}"
    names = ("dataset", "ipc", "student", "method", "variant", "seeds")
    figures = ("representativeness", "diversity", "frechet", "seconds")
    accuracy = MISSING if mean is None else f"{100 * mean:.1f}{beside}"
    return {name: row[name] for name in (*names, *figures)} | {"accuracy": accuracy}


def _of_real(row: Row) -> dict[str, Any]:
    """The real images that were measured beside a row's."""
    figures = {name: row[f"{name}_real"] for name in ("representativeness", "diversity", "frechet")}
    place = {name: row[name] for name in ("dataset", "ipc", "student")}
    return {**place, "method": MISSING, "variant": OF_REAL, "accuracy": MISSING, **figures, "seconds": None, "seeds": 0}
