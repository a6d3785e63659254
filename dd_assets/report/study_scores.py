"""The further tables of studies: DD-Ranking's scores, whether a gain is in the images or the recipe, what bytes cost.

Belongs here: which of a study's rows make which figure, run by run. Does not belong: formulas (metrics.py,
attribution.py), their text (score_table.py), the study's own table (studies.py), what images are like (priors.py),
which reading fits a paper (readings.py), torch.

Every figure is computed for each student seed, whose initialisation, order and views all arms share, and given as mean
and standard deviation over seeds.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.methods.contract import Method
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import declared_parameters
from dd_assets.report.attribution import FACTORS, completed, possible_sets, shapley_shares
from dd_assets.report.comparison import CONTROL
from dd_assets.report.formats import MISSING, size
from dd_assets.report.metrics import (
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)
from dd_assets.report.priors import priors_table
from dd_assets.report.readings import readings_table
from dd_assets.report.score_table import AXES, Row, ScoreTable
from dd_assets.studies.registry import Study

On = frozenset[str]
Arms = Mapping[tuple[str, On], Mapping[str, float]]
"""(method, factors on) to accuracy by seed."""
SOFT, AUGMENTED = "soft labels", "augmentation"
BOTH = frozenset((SOFT, AUGMENTED))
START, SYNTHESIS = "initialisation", "synthesis"
NEEDS = {SYNTHESIS: START}


def score_tables(study: Study, chosen: Setting, rows: Sequence[Row], real: Mapping[str, float]) -> list[ScoreTable]:
    """The further tables of a study in a setting, from its rows (report/studies.py); none without `scores`.

    real: student to test accuracy after training on the whole real split, for HLR.
    """
    if study.scores == "robust":
        return [robust_table(study, rows, real)]
    if study.scores == "budget":
        return [budget_table(study, rows)]
    if study.scores == "priors":
        return [priors_table(rows)]
    if study.scores == "readings":
        # Where no figure of the paper stands beside the cells, there is nothing to fit.
        return [table] if (table := readings_table(study, rows)).rows else []
    return [attribution_table(study, chosen, rows)] if study.scores == "attribution" else []


def budget_table(study: Study, rows: Sequence[Row]) -> ScoreTable:
    """Label bytes of every variant, and the accuracy it loses against the study's first variant, pair by pair.

    A pair has draw and student seed in common. The bound is the one-sided 95 % one of the mean loss, by Student's t:
    over the draws' means where there are several draws, since pairs of one draw share their images, else over pairs;
    None with fewer than two.
    """
    first, made = next(iter(study.variants)), []
    whole = {tuple(row[name] for name in AXES): row for row in rows if row["variant"] == first}
    for row in rows:
        full = whole.get(tuple(row[name] for name in AXES))
        if full is None or not row["runs"] or not full["label_bytes"] or not row["label_bytes"]:
            continue
        both = [run for run in row["runs"] if run in full["runs"]]
        losses = [full["runs"][run] - row["runs"][run] for run in both]
        draws = [run.rsplit("/", 2)[-2] for run in both]
        made.append(
            {
                **{name: row[name] for name in AXES},
                "variant": row["variant"],
                "bytes": size(row["label_bytes"]),
                "smaller": f"{full['label_bytes'] / row['label_bytes']:.3g}",
                "pairs": len(losses),
                "seeds": len({run.rsplit("/", 1)[-1] for run in row["runs"]}),
                "loss": statistics.mean(losses) if losses else None,
                "loss_std": statistics.stdev(losses) if len(losses) > 1 else None,
                "bound": upper_bound(_by_draw(losses, draws)),
            }
        )
    return ScoreTable(
        title="What fewer bytes cost",
        note=f"Points of accuracy lost against {first!r} with the same images and student seed, mean ± standard "
        "deviation over pairs, and the one-sided 95 % bound of the mean (Student's t; over draws where there are "
        "several).",
        columns={
            "variant": "labels",
            "bytes": "bytes",
            "smaller": "times smaller",
            "pairs": "pairs",
            "loss": "loss",
            "bound": "bound",
        },
        percent=True,
        rows=made,
    )


def _by_draw(losses: Sequence[float], draws: Sequence[str]) -> list[float]:
    """The mean of each draw, or the losses themselves where all are of one draw."""
    named = dict.fromkeys(draws)
    if len(named) < 2:
        return list(losses)
    return [statistics.mean(loss for loss, draw in zip(losses, draws, strict=True) if draw == name) for name in named]


def upper_bound(values: Sequence[float], confidence: float = 0.95) -> float | None:
    """The one-sided upper bound of the mean of independent values by Student's t; None for fewer than two."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    error = statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values) + float(t.ppf(confidence, len(values) - 1)) * error


def robust_table(study: Study, rows: Sequence[Row], real: Mapping[str, float]) -> ScoreTable:
    """IOR under three recipes, HLR, LRS and ARS of every method (metrics.py); '–' where an arm is missing."""
    made = []
    for cell, arms in _cells(study, rows):
        for method in dict.fromkeys(name for name, _ in arms):
            found = [_robust(arms, method, seed, real.get(cell["student"])) for seed in _seeds(arms, [method])]
            made.append({**cell, "method": method, **_summary(found), "rates": _rates(study, rows, cell, method)})
    return ScoreTable(
        title="DD-Ranking's scores",
        note="IOR: over random images under the same recipe; HLR: what hard labels lack to the whole real split; LRS: "
        "of the first IOR and HLR, ARS: of the first two IORs, both in [0, 1]. Fractions, ± over student seeds. Rates: "
        "picked on validation images for each variant in turn.",
        columns={
            "ior_soft": "IOR soft",
            "ior_plain": "IOR soft, plain",
            "ior_hard": "IOR hard",
            "hlr": "HLR",
            "lrs": "LRS",
            "ars": "ARS",
            "rates": "rates",
        },
        percent=False,
        rows=made,
    )


def _robust(arms: Arms, method: str, seed: str, real: float | None) -> dict[str, float | None]:
    def over_random(on: On) -> float | None:
        pair = [arms.get((name, on), {}).get(seed) for name in (method, CONTROL)]
        return None if pair[0] is None or pair[1] is None else improvement_over_random(pair[0], pair[1])

    soft, plain = over_random(BOTH), over_random(frozenset((SOFT,)))
    hard = arms.get((method, frozenset((AUGMENTED,))), {}).get(seed)
    hlr = None if hard is None or real is None else hard_label_recovery(real, hard)
    return {
        "ior_soft": soft,
        "ior_plain": plain,
        "ior_hard": over_random(frozenset((AUGMENTED,))),
        "hlr": hlr,
        "lrs": None if soft is None or hlr is None else label_robust_score(soft, hlr),
        "ars": None if soft is None or plain is None else augmentation_robust_score(soft, plain),
    }


def _rates(study: Study, rows: Sequence[Row], cell: Row, method: str) -> str:
    """The learning rates of a method's arms, in the order of the study's variants."""
    same = {**cell, "method": method}
    mine = [row for row in rows if all(row[name] == same[name] for name in AXES)]
    return ", ".join(MISSING if row["learning_rate"] is None else f"{row['learning_rate']:g}" for row in mine)


def initialisation_of(method: Method, chosen: Setting) -> str:
    """The method whose images are what this one starts from, or '' where it has no start apart from its synthesis.

    Its variant without iterations; else the method its images begin from; else noise.
    """
    known = METHODS()
    halted = [entry.name for entry in known.values() if entry.variant_of == method.name and _is_start(entry)]
    if halted or method.family != "optimisation":
        return halted[0] if halted else ""
    parameters = declared_parameters(method, chosen)
    start = method.images_of(parameters)
    return start or ("noise" if getattr(parameters, "init", "noise") == "noise" else "")


def _is_start(method: Method) -> bool:
    return method.changes.get("iterations") == 0


def attribution_table(study: Study, chosen: Setting, rows: Sequence[Row]) -> ScoreTable:
    """Shapley shares (attribution.py) of each method's gain over random images with hard labels and plain views."""
    known, made = METHODS(), []
    for cell, arms in _cells(study, rows):
        for method in dict.fromkeys(name for name, _ in arms):
            entry = known.get(method)
            if entry is None or entry.family == "baseline" or _is_start(entry):
                continue
            start = initialisation_of(entry, chosen)
            sets = [CONTROL, *([start] if start else []), method]
            found = [_shares(arms, sets, seed) for seed in _seeds(arms, sets)]
            complete = [shares for shares in found if shares is not None]
            made.append({**cell, "method": method, "start": start or "none", **_summary(complete)})
    return ScoreTable(
        title="Is the gain in the images or in the recipe?",
        note="Points of accuracy over random images with hard labels and no augmentation, ± over student seeds. Shares "
        "add up to the gain; images: initialisation and synthesis, recipe: soft labels and augmentation. A method "
        "without a start of its own has the share of its images under synthesis.",
        columns={
            "start": "starts from",
            **{name: name for name in FACTORS},
            "gain": "whole gain",
            "images": "images",
            "recipe": "recipe",
        },
        percent=True,
        rows=made,
    )


def _shares(arms: Arms, sets: Sequence[str], seed: str) -> dict[str, float] | None:
    """One seed's shares; None where an arm is missing. sets: random images, the start (if there is one), the images."""
    image_factors = (START, SYNTHESIS) if len(sets) == 3 else (SYNTHESIS,)
    factors = (*image_factors, SOFT, AUGMENTED)
    needs = NEEDS if len(sets) == 3 else {}
    accuracies = {}
    for chosen in possible_sets(needs, factors):
        images = sets[sum(name in chosen for name in image_factors)]
        accuracy = arms.get((images, chosen & BOTH), {}).get(seed)
        if accuracy is None:
            return None
        accuracies[chosen] = accuracy
    shares = shapley_shares(completed(accuracies, needs, factors), factors)
    images_share = sum(shares[name] for name in image_factors)
    whole = sum(shares.values())
    return {**shares, "gain": whole, "images": images_share, "recipe": whole - images_share}


def _cells(study: Study, rows: Sequence[Row]) -> list[tuple[dict[str, Any], Arms]]:
    """(dataset, IPC and student, accuracies by arm and seed) of all rows, in their order."""
    axes = ("dataset", "ipc", "student")
    cells: dict[tuple[Any, ...], dict[tuple[str, On], dict[str, float]]] = {}
    for row in rows:
        arms = cells.setdefault(tuple(row[name] for name in axes), {})
        by_seed = {name.rsplit("/", 1)[-1]: accuracy for name, accuracy in row["runs"].items()}
        arms[row["method"], study.variants[row["variant"]].factors] = by_seed
    return [(dict(zip(axes, key, strict=True)), arms) for key, arms in cells.items()]


def _seeds(arms: Arms, methods: Iterable[str]) -> list[str]:
    """The seeds that some arm of these methods has."""
    wanted = set(methods)
    seeds = itertools.chain.from_iterable(runs for (name, _), runs in arms.items() if name in wanted)
    return sorted(set(seeds), key=lambda seed: int(seed.removeprefix("seed")))


def _summary(found: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of each figure that every seed has."""
    made: dict[str, Any] = {"seeds": len(found)}
    for name in found[0] if found else ():
        values = [value for entry in found if (value := entry[name]) is not None]
        whole = len(values) == len(found)
        made[name] = statistics.mean(values) if whole else None
        made[f"{name}_std"] = statistics.stdev(values) if whole and len(values) > 1 else None
    return made
