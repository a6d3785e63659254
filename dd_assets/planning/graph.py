"""Stages and cells: the graph as data, walked alike by Dagster's assets and by the planner.

Belongs here: what a stage is, and the list of all stages from the registries. Does not belong: Dagster objects
(dd_assets/assets) or what any stage computes (dd_assets/units).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from graphlib import TopologicalSorter
from typing import Any

from dd_assets.datasets.registry import settings
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.evaluation.protocol import Protocol
from dd_assets.methods.contract import OWN_STARTS, Facts, Method, with_overrides
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import Cell, Space, Stage, reference_of, run_named, usable
from dd_assets.planning.committees import committee_stages
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Manifest, Reference, Unit
from dd_assets.units import dataset, image_set, images, labels, teacher, training

__all__ = ["Cell", "Space", "Stage", "protocols", "stage", "stages", "students", "trainings"]

MIN_TRAININGS = 3


def trainings(method: Method) -> list[tuple[int, int]]:
    """(draw, seed) pairs of a cell: one student per draw, at least three in all."""
    count = max(MIN_TRAININGS, method.draws)
    return [(seed % method.draws, seed) for seed in range(count)]


def _resolve_dataset(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    found = run_named({"dataset": dataset.plan(cell.setting, engine.raw)}, engine)
    return reference_of("dataset", cell, found, inputs)


def _resolve_teacher(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    source = usable(engine, inputs["dataset"], "dataset")
    found = run_named({"teacher": teacher.plan(cell.setting, source, engine.raw, cell.overrides)}, engine)
    return reference_of("teacher", cell, found, inputs)


def _image_inputs(
    method: Method, parameters: Any, facts: Facts, inputs: Mapping[str, Reference], engine: Engine
) -> list[dict[str, Manifest]]:
    """Input name to manifest, per draw; a draw starts from the draw of the same number of the images it starts from."""
    needs, wanted = method.needs, {}
    if needs.real_images:
        wanted["dataset"] = usable(engine, inputs["dataset"], "dataset")
    if needs.teacher:
        wanted["teacher"] = usable(engine, inputs["teacher"], "teacher")
    for member in method.pool(parameters, facts):
        wanted[f"committee/{member}"] = usable(engine, inputs["committee"], member)
        if needs.statistics:
            wanted[f"statistics/{member}"] = usable(engine, inputs["statistics"], member)
    if needs.priors:
        wanted["priors"] = usable(engine, inputs["priors"], "priors")
    start = method.images_of(parameters)
    if start is None:
        return [wanted] * method.draws
    asset = f"{start}/synthetic_images"
    if asset not in inputs:
        raise InputError(
            f"{method.name} does not start from {start} in any recipe, so the graph has no such edge",
            f"init can be one of {', '.join([*OWN_STARTS, *method.starts()])} here; a recipe adds others",
        )
    draws = len(inputs[asset].units)
    return [{**wanted, "initial": usable(engine, inputs[asset], f"draw{draw % draws}")} for draw in range(method.draws)]


def _resolve_images(method: Method, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    described = dataset.facts(cell.setting, usable(engine, inputs["dataset"], "dataset"))
    parameters = with_overrides(method.recipe_for(cell.setting.data).parameters, cell.overrides, method.name)
    reason = method.reason_against(parameters, described, cell.ipc)
    if reason:
        raise InputError(
            f"{method.name} on {cell.partition}: {reason}", "choose a smaller IPC, another dataset or other parameters"
        )
    given = _image_inputs(method, parameters, described, inputs, engine)
    per_draw = images.plan(method, cell.setting, described, cell.ipc, given, parameters)
    shards = iter(engine.run([unit for draw in per_draw for unit in draw]))
    asset = f"{method.name}/synthetic_images"
    sets = {}
    for draw, units in enumerate(per_draw):
        parts = [next(shards) for _ in units]
        for part in parts:
            part.require_usable()
        label = f"{asset} {cell.partition}"
        sets[f"draw{draw}"] = image_set.plan(parts, cell.setting.classes, cell.ipc, draw, label)
    return reference_of(asset, cell, run_named(sets, engine), inputs)


def protocols(cell: Cell, student: str) -> dict[str, Protocol]:
    """Label mode to the protocol under which a student is trained in a cell."""
    same = student == cell.setting.teacher.architecture
    images_in_set = cell.ipc * len(cell.setting.classes)
    base = cell.setting.protocol.for_student(same, images_in_set)
    return {mode: replace(base, label=mode) for mode in cell.setting.labels}  # type: ignore[arg-type]


def _label_key(draw: int, seed: int, protocol: Protocol) -> str:
    return f"draw{draw}/seed{seed}/batch{protocol.batch}"


def _resolve_labels(method: Method, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    asset = f"{method.name}/soft_labels"
    teacher_manifest = usable(engine, inputs["teacher"], "teacher")
    wanted: dict[str, Unit] = {}
    expected = 0
    for student in cell.setting.students:
        protocol = protocols(cell, student).get("soft")
        if protocol is None:
            continue
        for draw, seed in trainings(method):
            source = usable(engine, inputs[f"{method.name}/synthetic_images"], f"draw{draw}")
            key = _label_key(draw, seed, protocol)
            if key not in wanted:
                expected += labels.estimated_bytes(source.summary["rows"], len(cell.setting.classes), protocol)
            wanted[key] = labels.plan(
                cell.setting, source, teacher_manifest, protocol, seed, f"{asset} {cell.partition} {key}"
            )
    engine.announce(f"{asset} {cell.partition}: {len(wanted)} label tables, about {expected / 1e6:.1f} MB before zstd")
    return reference_of(asset, cell, run_named(wanted, engine), inputs)


def _resolve_score(
    method: Method, student: str, cell: Cell, inputs: Mapping[str, Reference], engine: Engine
) -> Reference:
    asset = f"{method.name}/score_{student}"
    if student not in cell.setting.students:
        raise InputError(f"{cell.setting.name} does not score {student}", f"students: {list(cell.setting.students)}")
    test = usable(engine, inputs["dataset"], "dataset")
    wanted: dict[str, Unit] = {}
    for mode, protocol in protocols(cell, student).items():
        for draw, seed in trainings(method):
            given = {
                "images": usable(engine, inputs[f"{method.name}/synthetic_images"], f"draw{draw}"),
                "dataset": test,
            }
            if mode == "soft":
                table = _label_key(draw, seed, protocol)
                given["labels"] = usable(engine, inputs[f"{method.name}/soft_labels"], table)
                if protocol.label_storage == "online":
                    given["teacher"] = usable(engine, inputs["teacher"], "teacher")
            key = f"{mode}/draw{draw}/seed{seed}"
            wanted[key] = training.plan(cell.setting, student, protocol, seed, given, f"{asset} {cell.partition} {key}")
    return reference_of(asset, cell, run_named(wanted, engine), inputs)


def students() -> list[str]:
    """Every student that some enabled setting scores, and resnet18, sorted."""
    return sorted({name for entry in settings().values() for name in entry.students} | {"resnet18"})


def _method_stages(method: Method) -> list[Stage]:
    name = method.name
    tags = {"dd/method": name, "dd/family": method.family}
    text = f"{method.title}\n\n{method.summary}\n\nPaper: {method.paper}\n\nOriginal code: {method.code}"
    needs = method.needs
    read = {"teacher": needs.teacher, "committee": needs.committee, "statistics": needs.statistics}
    needed = ("dataset", *(asset for asset, wanted in {**read, "priors": needs.priors}.items() if wanted))
    return [
        Stage(
            asset=f"{name}/synthetic_images",
            space="grid",
            inputs=(*needed, *(f"{start}/synthetic_images" for start in method.starts())),
            resolve=lambda cell, inputs, engine: _resolve_images(method, cell, inputs, engine),
            unit_kind=f"images/{name}",
            checks=(
                ("class_balance", True, "every class has exactly IPC images"),
                ("distinct_images", False, "no image occurs twice"),
            ),
            description=f"{text}\n\nWhat differs here: {method.differs}",
            group=name,
            kinds=("pytorch", "parquet"),
            tags=tags,
        ),
        Stage(
            asset=f"{name}/soft_labels",
            space="grid",
            inputs=("teacher", f"{name}/synthetic_images"),
            resolve=lambda cell, inputs, engine: _resolve_labels(method, cell, inputs, engine),
            unit_kind="labels",
            checks=(
                ("finite_logits", True, "no NaN or infinity in the teacher's answers"),
                ("rows_equal_views", True, "one row per view of the schedule"),
            ),
            description=f"Teacher logits for every training view of the {name} images, one table per view schedule.",
            group=name,
            kinds=("pytorch", "parquet"),
            tags=tags,
        ),
        *(_score_stage(method, student, tags) for student in students()),
    ]


def _score_stage(method: Method, student: str, tags: Mapping[str, str]) -> Stage:
    name = method.name
    return Stage(
        asset=f"{name}/score_{student}",
        space="grid",
        inputs=("dataset", "teacher", f"{name}/synthetic_images", f"{name}/soft_labels"),
        resolve=lambda cell, inputs, engine: _resolve_score(method, student, cell, inputs, engine),
        unit_kind="training",
        checks=(
            ("finite_loss", True, "training did not diverge"),
            ("above_chance", False, "test accuracy two standard errors above chance"),
        ),
        description=f"Test accuracy of {student} trained on the {name} images under the RD3 protocol.",
        group=name,
        kinds=("pytorch",),
        tags={**tags, "dd/student": student},
    )


@cache
def stages() -> dict[str, Stage]:
    """Every stage by asset key, upstream before downstream."""
    roots = [
        Stage(
            asset="dataset",
            space="dataset",
            inputs=(),
            resolve=_resolve_dataset,
            unit_kind="dataset",
            checks=(("every_class_present", True, "each class has training images"),),
            description="The real images of a setting: content digest, class order, counts, contact sheet.",
            group="data",
            kinds=("python",),
        ),
        Stage(
            asset="teacher",
            space="dataset",
            inputs=("dataset",),
            resolve=_resolve_teacher,
            unit_kind="teacher",
            checks=(
                ("accuracy_above_floor", True, "top-1 on the test split reaches the recipe's floor"),
                ("no_class_below_half_of_mean", False, "no class is far worse than the others"),
            ),
            description="The classifier that guides synthesis and gives soft labels; last epoch, never the best one.",
            group="teachers",
            kinds=("pytorch",),
        ),
    ]
    known = METHODS()
    order = TopologicalSorter({name: method.starts() for name, method in known.items()}).static_order()
    made = [*roots, *committee_stages(), *(stage for name in order for stage in _method_stages(known[name]))]
    return {stage.asset: stage for stage in made}


def stage(asset: str) -> Stage:
    """The stage of an asset key; raises UnknownNameError."""
    if asset not in stages():
        raise UnknownNameError.of("asset", asset, stages())
    return stages()[asset]
