"""Stages and cells: the graph as data, walked alike by Dagster's assets and by the planner.

Belongs here: what a stage is, and the list of all stages from the registries. Does not belong: Dagster objects
(dd_assets/assets) or what any stage computes (dd_assets/units).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from dd_assets.datasets.registry import Setting, setting, settings
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.evaluation.protocol import Protocol
from dd_assets.methods.contract import Method
from dd_assets.methods.registry import METHODS
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Manifest, Reference, Unit
from dd_assets.units import dataset, image_set, images, labels, teacher, training

Space = Literal["dataset", "grid"]
MIN_TRAININGS = 3


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One asset partition to resolve."""

    setting: Setting
    ipc: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def partition(self) -> str:
        """Dagster's partition key in the cell's space."""
        return f"{self.setting.name}|{self.ipc}" if self.ipc else self.setting.name

    @classmethod
    def of(cls, partition: str, overrides: Mapping[str, Any] | None = None) -> Cell:
        """The cell of a partition key such as 'digits' or 'digits|10'; raises UnknownNameError or InputError."""
        name, _, ipc = partition.partition("|")
        chosen = setting(name)
        if ipc and (not ipc.isdigit() or int(ipc) not in chosen.ipc):
            raise InputError(f"{name} has no IPC {ipc!r}", f"its IPC values are {list(chosen.ipc)}")
        return cls(setting=chosen, ipc=int(ipc or 0), overrides=dict(overrides or {}))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One asset: its key, its space, what it reads and how a cell becomes units."""

    asset: str
    space: Space
    inputs: tuple[str, ...]
    resolve: Callable[[Cell, Mapping[str, Reference], Engine], Reference]
    unit_kind: str
    """The kind whose version is the asset's code version."""
    checks: tuple[tuple[str, bool, str], ...]
    """(verdict name, blocking, description), shown as asset checks."""
    description: str
    group: str
    kinds: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)


def trainings(method: Method) -> list[tuple[int, int]]:
    """(draw, seed) pairs of a cell: one student per draw, at least three in all."""
    count = max(MIN_TRAININGS, method.draws)
    return [(seed % method.draws, seed) for seed in range(count)]


def _reference(asset: str, cell: Cell, manifests: Mapping[str, Manifest], inputs: Mapping[str, Reference]) -> Reference:
    return Reference(
        asset=asset,
        partition=cell.partition,
        units={key: manifest.recipe_digest for key, manifest in manifests.items()},
        contents={key: manifest.content for key, manifest in manifests.items()},
        declared=not cell.overrides and all(reference.declared for reference in inputs.values()),
    )


def _manifest(engine: Engine, reference: Reference, key: str) -> Manifest:
    """A unit of an input reference; raises VerdictError if it may not be used."""
    manifest = engine.store.lookup(reference.units[key])
    if manifest is None:
        raise InputError(
            f"{reference.asset} [{reference.partition}]: its unit {key} is not in store {engine.store.root}",
            "materialize that asset again",
        )
    manifest.require_usable()
    return manifest


def _named(units: Mapping[str, Unit], engine: Engine) -> dict[str, Manifest]:
    return dict(zip(units, engine.run(list(units.values())), strict=True))


def _resolve_dataset(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    found = _named({"dataset": dataset.plan(cell.setting, engine.raw)}, engine)
    return _reference("dataset", cell, found, inputs)


def _resolve_teacher(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    source = _manifest(engine, inputs["dataset"], "dataset")
    found = _named({"teacher": teacher.plan(cell.setting, source, engine.raw, cell.overrides)}, engine)
    return _reference("teacher", cell, found, inputs)


def _image_inputs(method: Method, inputs: Mapping[str, Reference], engine: Engine) -> dict[str, Manifest]:
    wanted = {}
    if method.needs.real_images:
        wanted["dataset"] = _manifest(engine, inputs["dataset"], "dataset")
    if method.needs.teacher:
        wanted["teacher"] = _manifest(engine, inputs["teacher"], "teacher")
    return wanted


def _resolve_images(method: Method, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    described = dataset.facts(cell.setting, _manifest(engine, inputs["dataset"], "dataset"))
    per_draw = images.plan(
        method, cell.setting, described, cell.ipc, _image_inputs(method, inputs, engine), cell.overrides
    )
    shards = iter(engine.run([unit for draw in per_draw for unit in draw]))
    asset = f"{method.name}/synthetic_images"
    sets = {}
    for draw, units in enumerate(per_draw):
        parts = [next(shards) for _ in units]
        for part in parts:
            part.require_usable()
        label = f"{asset} {cell.partition}"
        sets[f"draw{draw}"] = image_set.plan(parts, cell.setting.classes, cell.ipc, draw, label)
    return _reference(asset, cell, _named(sets, engine), inputs)


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
    teacher_manifest = _manifest(engine, inputs["teacher"], "teacher")
    wanted: dict[str, Unit] = {}
    expected = 0
    for student in cell.setting.students:
        protocol = protocols(cell, student).get("soft")
        if protocol is None:
            continue
        for draw, seed in trainings(method):
            source = _manifest(engine, inputs[f"{method.name}/synthetic_images"], f"draw{draw}")
            key = _label_key(draw, seed, protocol)
            if key not in wanted:
                expected += labels.estimated_bytes(source.summary["rows"], len(cell.setting.classes), protocol)
            wanted[key] = labels.plan(
                cell.setting, source, teacher_manifest, protocol, seed, f"{asset} {cell.partition} {key}"
            )
    engine.announce(f"{asset} {cell.partition}: {len(wanted)} label tables, about {expected / 1e6:.1f} MB before zstd")
    return _reference(asset, cell, _named(wanted, engine), inputs)


def _resolve_score(
    method: Method, student: str, cell: Cell, inputs: Mapping[str, Reference], engine: Engine
) -> Reference:
    asset = f"{method.name}/score_{student}"
    if student not in cell.setting.students:
        raise InputError(f"{cell.setting.name} does not score {student}", f"students: {list(cell.setting.students)}")
    test = _manifest(engine, inputs["dataset"], "dataset")
    wanted: dict[str, Unit] = {}
    for mode, protocol in protocols(cell, student).items():
        for draw, seed in trainings(method):
            given = {
                "images": _manifest(engine, inputs[f"{method.name}/synthetic_images"], f"draw{draw}"),
                "dataset": test,
            }
            if mode == "soft":
                table = _label_key(draw, seed, protocol)
                given["labels"] = _manifest(engine, inputs[f"{method.name}/soft_labels"], table)
                if protocol.label_storage == "online":
                    given["teacher"] = _manifest(engine, inputs["teacher"], "teacher")
            key = f"{mode}/draw{draw}/seed{seed}"
            wanted[key] = training.plan(cell.setting, student, protocol, seed, given, f"{asset} {cell.partition} {key}")
    return _reference(asset, cell, _named(wanted, engine), inputs)


def students() -> list[str]:
    """Every student that some enabled setting scores, and resnet18, sorted."""
    return sorted({name for entry in settings().values() for name in entry.students} | {"resnet18"})


def _method_stages(method: Method) -> list[Stage]:
    name = method.name
    tags = {"dd/method": name, "dd/family": method.family}
    text = f"{method.title}\n\n{method.summary}\n\nPaper: {method.paper}\n\nOriginal code: {method.code}"
    needed = ("dataset", "teacher") if method.needs.teacher else ("dataset",)
    return [
        Stage(
            asset=f"{name}/synthetic_images",
            space="grid",
            inputs=needed,
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
    made = [*roots, *(stage for method in METHODS().values() for stage in _method_stages(method))]
    return {stage.asset: stage for stage in made}


def stage(asset: str) -> Stage:
    """The stage of an asset key; raises UnknownNameError."""
    if asset not in stages():
        raise UnknownNameError.of("asset", asset, stages())
    return stages()[asset]
