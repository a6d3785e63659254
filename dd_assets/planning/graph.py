"""Stages and cells: the graph as data, walked alike by Dagster's assets and by the planner.

Belongs here: what a stage is, and the list of all stages from the registries. Does not belong: Dagster objects
(dd_assets/assets) or what any stage computes (dd_assets/units).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from graphlib import TopologicalSorter

from dd_assets.datasets.registry import settings
from dd_assets.datasets.setting import Setting
from dd_assets.errors import REFUSALS, InputError, UnknownNameError
from dd_assets.evaluation.protocol import Protocol
from dd_assets.methods.contract import Method
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import (
    STUDIES,
    Cell,
    Space,
    Stage,
    reference_of,
    run_named,
    starts_of,
    usable,
)
from dd_assets.planning.class_gaussians import class_gaussians_stage
from dd_assets.planning.committees import committee_stages
from dd_assets.planning.descriptions import of_images, with_page
from dd_assets.planning.diversity import diversity_stage
from dd_assets.planning.engine import Engine, MissingFiles, MissingUnits
from dd_assets.planning.generators import generator_stages
from dd_assets.planning.image_sets import image_assets, resolve_images, skippable_assets, unread_assets
from dd_assets.planning.influence import influence_stage
from dd_assets.planning.reference_latents import reference_latents_stage
from dd_assets.planning.scoring import for_labels, label_key, labellers, protocol_for, trainings
from dd_assets.planning.studies import study_stages
from dd_assets.planning.unit import Reference, Unit
from dd_assets.units import dataset, labels, teacher, training

__all__ = [
    "Cell",
    "Space",
    "Stage",
    "protocols",
    "require_parameters_taken",
    "resolved",
    "stage",
    "stages",
    "students",
    "trainings",
]


def _resolve_dataset(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    found = run_named({"dataset": dataset.plan(cell.setting, engine.raw)}, engine)
    return reference_of("dataset", cell, found, inputs)


def _resolve_teacher(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    source = usable(engine, inputs["dataset"], "dataset")
    found = run_named({"teacher": teacher.plan(cell.setting, source, engine.raw, cell.overrides)}, engine)
    return reference_of("teacher", cell, found, inputs)


def protocols(cell: Cell, student: str) -> dict[str, Protocol]:
    """Label mode to the protocol under which a student is trained in a cell."""
    return {mode: protocol_for(cell, student, cell.setting.protocol, mode) for mode in cell.setting.labels}


def _label_assets(entries: Iterable[Setting], storage: str | None = None) -> tuple[str, ...]:
    """The assets, beyond the teacher, that soft labels of these settings come from (with that storage alone).

    Raises InputError for a setting whose committee lacks what its protocol asks for, before anything is planned.
    """
    asked = [for_labels(entry.protocol, "soft", entry) for entry in entries if "soft" in entry.labels]
    chosen = [p for p in asked if p.labeller == "committee" and storage in (None, p.label_storage)]
    return (*(("committee",) if chosen else ()), *(("priors",) if any(p.label_mix == "priors" for p in chosen) else ()))


def _unasked(cell: Cell, storage: str | None = None) -> frozenset[str]:
    """Of the teacher and those of all enabled settings, the ones that a cell's own setting does without."""
    unused = frozenset(_label_assets(settings().values(), storage)) - {*_label_assets([cell.setting], storage)}
    return unused if "soft" in cell.setting.labels else unused | {"teacher"}


def _resolve_labels(method: Method, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    asset = f"{method.name}/soft_labels"
    wanted: dict[str, Unit] = {}
    expected = 0
    for student in cell.setting.students:
        protocol = protocols(cell, student).get("soft")
        if protocol is None:
            continue
        for draw, seed in trainings(method, cell.setting):
            source = usable(engine, inputs[f"{method.name}/synthetic_images"], f"draw{draw}")
            key = label_key(draw, seed, protocol)
            if key not in wanted:
                expected += labels.estimated_bytes(source.summary["rows"], len(cell.setting.classes), protocol)
            given = labellers(protocol, inputs, engine)
            wanted[key] = labels.plan(cell.setting, source, given, protocol, seed, f"{asset} {cell.partition} {key}")
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
        for draw, seed in trainings(method, cell.setting):
            given = {
                "images": usable(engine, inputs[f"{method.name}/synthetic_images"], f"draw{draw}"),
                "dataset": test,
            }
            if mode == "soft":
                table = label_key(draw, seed, protocol)
                given["labels"] = usable(engine, inputs[f"{method.name}/soft_labels"], table)
                if protocol.label_storage == "online":
                    given |= labellers(protocol, inputs, engine)
            key = f"{mode}/draw{draw}/seed{seed}"
            wanted[key] = training.plan(cell.setting, student, protocol, seed, given, f"{asset} {cell.partition} {key}")
    return reference_of(asset, cell, run_named(wanted, engine), inputs)


def students() -> list[str]:
    """Every student that some enabled setting scores, and resnet18, sorted."""
    return sorted({name for entry in settings().values() for name in entry.students} | {"resnet18"})


def _method_stages(method: Method) -> list[Stage]:
    name, further = method.name, _label_assets(settings().values())
    tags = {"dd/method": name, "dd/family": method.family}
    return [
        Stage(
            asset=f"{name}/synthetic_images",
            space="grid",
            inputs=image_assets(method),
            resolve=lambda cell, inputs, engine: resolve_images(method, cell, inputs, engine),
            unit_kind=f"images/{name}",
            checks=(
                ("class_balance", True, "every class has exactly IPC images"),
                ("distinct_images", False, "no image occurs twice"),
                ("no_constant_images", False, "no image is of one colour"),
            ),
            description=of_images(method),
            group=name,
            kinds=("pytorch", "parquet"),
            tags=tags,
            takes_parameters=True,
            skippable=skippable_assets(method),
            unread=lambda cell: unread_assets(method, cell),
        ),
        Stage(
            asset=f"{name}/soft_labels",
            space="grid",
            inputs=("teacher", *further, f"{name}/synthetic_images"),
            resolve=lambda cell, inputs, engine: _resolve_labels(method, cell, inputs, engine),
            unit_kind="labels",
            checks=(
                ("finite_logits", True, "no NaN or infinity in the teacher's answers"),
                ("rows_equal_views", True, "one row per view of the schedule"),
            ),
            description=with_page(
                f"Teacher logits for every training view of the {name} images, one table per view schedule.", method
            ),
            group=name,
            kinds=("pytorch", "parquet"),
            tags=tags,
            skippable=("teacher", *further),
            unread=_unasked,
        ),
        *([diversity_stage(method, tags)] if method.has_diversity else []),
        *(_score_stage(method, student, tags) for student in students()),
    ]


def _score_stage(method: Method, student: str, tags: Mapping[str, str]) -> Stage:
    name, further = method.name, _label_assets(settings().values(), "online")
    tables = f"{name}/soft_labels"
    return Stage(
        asset=f"{name}/score_{student}",
        space="grid",
        inputs=("dataset", "teacher", *further, f"{name}/synthetic_images", tables),
        resolve=lambda cell, inputs, engine: _resolve_score(method, student, cell, inputs, engine),
        unit_kind="training",
        checks=(
            ("finite_loss", True, "training did not diverge"),
            ("above_chance", False, "test accuracy two standard errors above chance"),
        ),
        description=with_page(
            f"Test accuracy of {student} trained on the {name} images under the RD3 protocol.", method
        ),
        group=name,
        kinds=("pytorch",),
        tags={**tags, "dd/student": student},
        skippable=("teacher", *further, tables),
        unread=lambda cell: _unasked(cell, "online") | (set() if "soft" in cell.setting.labels else {tables}),
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
            takes_parameters=True,
            examine=lambda cell, raw: teacher.examine([cell.setting.teacher], raw),
        ),
    ]
    known = METHODS()
    order = TopologicalSorter({name: starts_of(method) for name, method in known.items()}).static_order()
    further = (stage for name in order for stage in _method_stages(known[name]))
    made = [
        *roots,
        *committee_stages(),
        *generator_stages(),
        reference_latents_stage(),
        class_gaussians_stage(),
        influence_stage(),
        *further,
        *study_stages(),
    ]
    return {stage.asset: stage for stage in made}


def stage(asset: str) -> Stage:
    """The stage of an asset key; raises UnknownNameError."""
    if asset not in stages():
        raise UnknownNameError.of("asset", asset, stages())
    return stages()[asset]


def require_parameters_taken(stage: Stage, cell: Cell) -> None:
    """Raise InputError for a launch's parameters where a stage takes none, naming the stages that they belong to."""
    if stage.takes_parameters or not cell.overrides:
        return
    if stage.group == STUDIES:
        belong = "a study's variants (dd_assets/studies)"
    else:
        taking = [name for name in stage.reads(cell) if stages()[name].takes_parameters]
        belong = ", ".join([*taking, "the setting's fields (docs/datasets.md)"])
    raise InputError(
        f"{stage.asset} takes no parameters, but {', '.join(map(str, cell.overrides))} was given",
        f"leave them out here; what it reads, and how, is stated by {belong}",
    )


def resolved(stage: Stage, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    """A launch's reference of a cell; parameters that only state what is declared do not mark it as overridden."""
    made, plain = stage.resolve(cell, inputs, engine), replace(cell, overrides={})
    if not cell.overrides or not set(stage.reads(plain)) <= inputs.keys():
        return made
    try:
        declared = stage.resolve(plain, inputs, Engine(engine.store, engine.raw, engine.compute, look_only=True))
    except (MissingUnits, MissingFiles, *REFUSALS):
        return made
    return declared if declared.recipe == made.recipe else made
