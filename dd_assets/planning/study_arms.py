"""What some studies compute beside their cells: searches for a rate, students of the real images, measures of sets.

Belongs here: planning those units, and which rate a search found. Does not belong: the cells' own trainings
(studies.py), scores made of them (report/study_scores.py, report/priors.py).

A search scores students on the validation fifth of the training images (`tune_variant`), so that no rate is chosen on
the test set. Some of those images may be among the ones trained on, or behind them; that lifts all rates alike.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from dd_assets.datasets.setting import Setting, TeacherChoice, tune_variant
from dd_assets.evaluation.protocol import Protocol
from dd_assets.planning.cells import run_named
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Manifest, Unit
from dd_assets.units import dataset, diversity, teacher, training

SEARCH, REAL, MEASURED = "search", "real", "measured"
"""What keys of these units begin with: 'search/<cell>/rate 0.001/draw0/seed0', 'real/resnet18',
'measured/<cell>/draw0'."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """The search of one cell: its first run, trained with each rate."""

    key: str
    """The cell's."""
    run: str
    """Draw and seed of the run, 'draw0/seed0'."""
    rates: tuple[float, ...]
    protocol: Protocol
    student: str
    seed: int
    given: Mapping[str, Manifest]
    """Inputs of the cell's own training."""

    def name(self, rate: float) -> str:
        """The key of one of its trainings."""
        return f"{SEARCH}/{self.key}/rate {rate:g}/{self.run}"


def searched(searches: Sequence[Search], chosen: Setting, where: str, engine: Engine) -> dict[str, Manifest]:
    """The trainings of all searches by key, scored on the validation part; none without a search."""
    if not searches:
        return {}
    tuned = chosen if chosen.tune_of else tune_variant(chosen)
    source = run_named({"dataset": dataset.plan(tuned, engine.raw)}, engine)["dataset"]
    units: dict[str, Unit] = {}
    for search in searches:
        given = {**search.given, "dataset": source}
        for rate in search.rates:
            protocol = dataclasses.replace(search.protocol, learning_rate=rate)
            label = f"{where} {search.name(rate)}"
            units[search.name(rate)] = training.plan(tuned, search.student, protocol, search.seed, given, label)
    return run_named(units, engine)


def picked(search: Search, found: Mapping[str, Manifest]) -> float:
    """The rate with the best validation accuracy, the smallest of several."""
    return max(search.rates, key=lambda rate: (found[search.name(rate)].summary["accuracy"], -rate))


def real_students(students: Sequence[str], chosen: Setting, source: Manifest, engine: Engine) -> dict[str, Manifest]:
    """Each student network trained on the whole training split by the teacher's recipe, under keys 'real/<student>'.

    The setting's own teacher or a committee member of that architecture is taken where there is one; a network trained
    for this alone has no accuracy floor, since nothing depends on it.
    """
    units = {f"{REAL}/{name}": teacher.plan(chosen, source, engine.raw, {}, _choice(chosen, name)) for name in students}
    return run_named(units, engine)


def measured(
    sets: Mapping[tuple[str, int], Manifest], chosen: Setting, given: Mapping[str, Manifest], where: str, engine: Engine
) -> dict[str, Manifest]:
    """The `diversity` unit of each image set under keys 'measured/<cell>/draw…'.

    sets: (key of the cell, draw) to images; given: dataset and teacher. Images that are a method's own have the unit of
    its `diversity` asset.
    """
    units = {}
    for (cell, draw), images in sets.items():
        key = f"{MEASURED}/{cell}/draw{draw}"
        units[key] = diversity.plan(chosen, {**given, "images": images}, draw, f"{where} {key}")
    return run_named(units, engine)


def _choice(chosen: Setting, student: str) -> TeacherChoice:
    for known in (chosen.teacher, *chosen.committee):
        if known.architecture == student and known.trained_like(chosen.teacher):
            return known
    recipe = dataclasses.replace(chosen.teacher.recipe, accuracy_floor=0.0)
    return TeacherChoice(architecture=student, recipe=recipe)


def real_accuracies(manifests: Mapping[str, Manifest]) -> dict[str, float]:
    """Student to test accuracy after training on the real split, from a study's units by key."""
    found: dict[str, list[float]] = {}
    for key, manifest in manifests.items():
        if key.startswith(f"{REAL}/"):
            found.setdefault(key.removeprefix(f"{REAL}/"), []).append(teacher.accuracy_as_student(manifest))
    return {name: statistics.mean(values) for name, values in found.items()}
