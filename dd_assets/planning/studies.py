"""The `studies/<name>` stages: one asset per study, whose units are score variants.

Belongs here: from a study's cells to student trainings, which cells a setting cannot have and why. Does not belong:
what a study consists of (dd_assets/studies), its table (report/studies.py), Dagster.

A variant is no node of the graph: its trainings are units of the study's partition under keys that begin with the
score asset they vary ('sre2l/score_resnet18/T=4/soft/draw0/seed0'). A variant that changes nothing has the recipe of
that score asset's own training and is found, not computed; so is one that two studies share. A variant with parameters
of its own has images of its own, made from what the method's image asset reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dd_assets.datasets.registry import settings
from dd_assets.diffusion.registry import GENERATORS
from dd_assets.errors import REFUSALS, DDError, InputError
from dd_assets.evaluation.protocol import Protocol
from dd_assets.methods.contract import Facts, Method
from dd_assets.methods.registry import METHODS
from dd_assets.models.registry import architecture
from dd_assets.planning import study_arms
from dd_assets.planning.cells import STUDIES, Cell, Stage, declared_parameters, reference_of, run_named, usable
from dd_assets.planning.engine import Engine, MissingUnits
from dd_assets.planning.generation import misfit, ungenerated
from dd_assets.planning.generators import without_generator
from dd_assets.planning.image_sets import image_assets, made_sets
from dd_assets.planning.scoring import label_key, labellers, protocol_for, scored_draws, trainings
from dd_assets.planning.unit import Manifest, Reference, Unit
from dd_assets.studies.registry import Study, StudyCell, studies
from dd_assets.units import dataset, labels, training

FURTHER = ("committee", "priors")
"""Assets beyond the teacher that labels of some variants come from."""
STATUSES = ("done", "missing", "waiting", "blocked", "refused")
"""Of one cell: scored, to be scored, below something that is not there, impossible, or of something unusable."""


def study_asset(name: str) -> str:
    """The asset of a study."""
    return f"{STUDIES}/{name}"


def reason_against(cell: Cell, found: StudyCell, facts: Facts | None = None) -> str:
    """Why a cell of a study cannot be scored in a setting, or ''; more is known with the dataset's facts."""
    known = METHODS()
    if found.method not in known:
        return f"there is no method {found.method}"
    try:
        architecture(found.student).require_size(cell.setting.size)
        _protocol(cell, found)
        if found.variant.parameters and (reason := _ungenerable(cell, found)):
            return reason
        if facts is not None:
            method = known[found.method]
            parameters = declared_parameters(method, cell.setting, found.variant.parameters)
            return method.reason_against(parameters, facts, cell.ipc) or ""
    except DDError as error:
        return str(error)
    return ""


def _ungenerable(cell: Cell, found: StudyCell) -> str:
    """Why a variant's own images cannot be generated in a setting, or ''."""
    method = METHODS()[found.method]
    parameters = declared_parameters(method, cell.setting, found.variant.parameters)
    generator = method.generator_of(parameters)
    lacking = without_generator(cell.setting, generator) if generator in GENERATORS else ""
    return lacking or misfit(method, parameters, cell.setting)


def _protocol(cell: Cell, found: StudyCell) -> Protocol:
    """The protocol of a cell's trainings; its labels are those that the preset states, else the variant's."""
    base = replace(cell.setting.protocol, label=found.variant.label)  # type: ignore[arg-type]
    stated = found.variant.protocol_of(base, found.method, cell.setting.data, cell.ipc)
    return protocol_for(cell, found.student, stated, stated.label)


def possible(study: Study, cell: Cell, facts: Facts | None = None) -> list[StudyCell]:
    """The cells of one partition that nothing speaks against."""
    return [found for found in study.cells(cell.setting, cell.ipc) if not reason_against(cell, found, facts)]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """One training to be: everything but its label table and a rate that a search finds."""

    cell: StudyCell
    draw: int
    seed: int
    protocol: Protocol
    given: dict[str, Manifest]
    table: str
    """Key of its label table, '' for hard labels."""

    @property
    def run(self) -> str:
        """Draw and seed, the end of its key."""
        return f"draw{self.draw}/seed{self.seed}"

    @property
    def key(self) -> str:
        """Its key within the study's partition."""
        return f"{self.cell.key}/{self.run}"

    def search(self, given: Mapping[str, Manifest]) -> study_arms.Search:
        """The search for the rate of all trainings of its cell."""
        return study_arms.Search(
            key=self.cell.key,
            run=self.run,
            rates=self.cell.variant.learning_rates,
            protocol=self.protocol,
            student=self.cell.student,
            seed=self.seed,
            given=given,
        )


def _plans(cell: Cell, found: StudyCell, inputs: Mapping[str, Reference], engine: Engine) -> list[_Plan]:
    """The trainings of one cell: same draws and seeds as its score asset."""
    protocol, images = _protocol(cell, found), _image_sets(cell, found, inputs, engine)
    made = []
    for draw, seed in trainings(METHODS()[found.method], cell.setting):
        given = {"images": images[f"draw{draw}"], "dataset": usable(engine, inputs["dataset"], "dataset")}
        table = f"{found.key}/{label_key(draw, seed, protocol)}" if protocol.label == "soft" else ""
        made.append(_Plan(cell=found, draw=draw, seed=seed, protocol=protocol, given=given, table=table))
    return made


def _image_sets(
    cell: Cell, found: StudyCell, inputs: Mapping[str, Reference], engine: Engine
) -> Mapping[str, Manifest]:
    """What the students of a cell see, by draw: the method's own image sets, or those of the variant's parameters."""
    method, changed = METHODS()[found.method], found.variant.parameters
    if not changed:
        source = inputs[f"{found.method}/synthetic_images"]
        return {draw: usable(engine, source, draw) for draw in source.units}
    facts = dataset.facts(cell.setting, usable(engine, inputs["dataset"], "dataset"))
    parameters = declared_parameters(method, cell.setting, changed)
    return made_sets(method, cell, parameters, facts, inputs, engine, scored_draws(method, cell.setting))


def trained(
    study: Study, cell: Cell, cells: Sequence[StudyCell], inputs: Mapping[str, Reference], engine: Engine
) -> dict[str, Manifest]:
    """The trainings of these cells by key, and what else the study's scores are made of. Missing ones are computed.

    Label tables first, all together; then searches for learning rates; then students. Raises MissingUnits from an
    engine that only looks.
    """
    where = f"{study_asset(study.name)} {cell.partition}"
    plans = [plan for found in cells for plan in _plans(cell, found, inputs, engine)]
    given = _given(cell, plans, inputs, engine, where)
    first = {plan.cell.key: plan for plan in reversed(plans) if plan.cell.variant.learning_rates}
    searches = {key: plan.search(given[plan.key]) for key, plan in first.items()}
    further = study_arms.searched(list(searches.values()), cell.setting, where, engine)
    rates = {key: study_arms.picked(search, further) for key, search in searches.items()}
    wanted = {}
    for plan in plans:
        rate = rates.get(plan.cell.key, plan.protocol.learning_rate)
        protocol, label = replace(plan.protocol, learning_rate=rate), f"{where} {plan.key}"
        wanted[plan.key] = training.plan(cell.setting, plan.cell.student, protocol, plan.seed, given[plan.key], label)
    found = {**run_named(wanted, engine), **further}
    if study.scores == "robust":
        source, names = usable(engine, inputs["dataset"], "dataset"), sorted({one.student for one in cells})
        found |= study_arms.real_students(names, cell.setting, source, engine)
    if study.scores == "priors":
        measuring = {name: usable(engine, inputs[name], name) for name in ("dataset", "teacher")}
        sets = {(plan.cell.key, plan.draw): plan.given["images"] for plan in plans}
        found |= study_arms.measured(sets, cell.setting, measuring, where, engine)
    return found


def _given(
    cell: Cell, plans: Sequence[_Plan], inputs: Mapping[str, Reference], engine: Engine, where: str
) -> dict[str, dict[str, Manifest]]:
    """Each training's inputs by its key, label tables made first."""
    tables: dict[str, Unit] = {}
    for plan in plans:
        if plan.table:
            given = labellers(plan.protocol, inputs, engine)
            images, label = plan.given["images"], f"{where} {plan.table}"
            tables[plan.table] = labels.plan(cell.setting, images, given, plan.protocol, plan.seed, label)
    made = run_named(tables, engine)
    found = {}
    for plan in plans:
        given = dict(plan.given)
        if plan.table:
            made[plan.table].require_usable()
            given["labels"] = made[plan.table]
            if plan.protocol.label_storage == "online":
                given |= labellers(plan.protocol, inputs, engine)
        found[plan.key] = given
    return found


def _resolve(study: Study, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    facts = dataset.facts(cell.setting, usable(engine, inputs["dataset"], "dataset"))
    cells = possible(study, cell, facts)
    for asset in sorted(_read_for_images(cell, cells)):
        if asset not in inputs:
            raise InputError(
                f"{asset} has not been materialized for {cell.partition}",
                f"`dd-assets study {study.name}` brings what a study reads up to date first",
            )
    if not cells:
        raise InputError(f"{study.name} has no cell that applies to {cell.partition}", "see `dd-assets study --plan`")
    engine.announce(f"{study_asset(study.name)} {cell.partition}: {len(cells)} cells")
    return reference_of(study_asset(study.name), cell, trained(study, cell, cells, inputs, engine), inputs)


def status_of(
    study: Study, cell: Cell, found: StudyCell, inputs: Mapping[str, Reference], engine: Engine
) -> tuple[str, str]:
    """(status, reason) of one cell against the store, computing nothing: one of STATUSES."""
    needed = {"dataset": None, **dict.fromkeys([*_read_for_images(cell, [found]), *_read_for_labels(cell, [found])])}
    waiting = [name for name in needed if name not in inputs]
    try:
        described = None
        if "dataset" in inputs:
            described = dataset.facts(cell.setting, usable(engine, inputs["dataset"], "dataset"))
        reason = reason_against(cell, found, described)
        if reason:
            return "blocked", reason
        if waiting:
            return "waiting", f"for {', '.join(waiting)}"
        trained(study, cell, [found], inputs, engine)
    except MissingUnits as missing:
        return "missing", f"{missing.units[0].name} units to compute: {len(missing.units)}"
    except REFUSALS as error:
        return "refused", str(error)
    return "done", ""


def _read_for_labels(cell: Cell, cells: Iterable[StudyCell]) -> set[str]:
    """The assets that the soft labels of these cells come from."""
    soft = [made.labelling for made in (_protocol(cell, found) for found in cells) if made.label == "soft"]
    return {name.split("/")[0] for labelling in soft for name in labels.labeller_inputs(labelling)}


def _read_for_images(cell: Cell, cells: Iterable[StudyCell]) -> set[str]:
    """The assets that the images of these cells are, or are made from."""
    read: set[str] = set()
    for found in cells:
        method, changed = METHODS()[found.method], found.variant.parameters
        own = set(image_assets(method)) - ungenerated(method, replace(cell, overrides=changed))
        read |= own if changed else {f"{found.method}/synthetic_images"}
    return read


def _unread(study: Study, cell: Cell) -> frozenset[str]:
    """Of a stage's inputs those that no possible cell of a partition reads."""
    cells = possible(study, cell)
    measured = {"teacher"} if study.scores == "priors" else set()
    read = _read_for_images(cell, cells) | _read_for_labels(cell, cells) | measured
    return frozenset((*_images(study), *FURTHER, "teacher")) - read


def _methods(study: Study) -> list[Method]:
    """The methods that some enabled setting's grid names, in the order of the registry."""
    named = {name for chosen in settings().values() for name in study.grid_of(chosen).method}
    return [method for name, method in METHODS().items() if name in named]


def _images(study: Study) -> tuple[str, ...]:
    """Those methods' image assets, and what variants' own images are made from beside dataset, teacher and FURTHER."""
    made_from = [asset for asset in _made_from(study) if asset not in ("dataset", "teacher", *FURTHER)]
    return tuple(dict.fromkeys([*made_from, *(f"{method.name}/synthetic_images" for method in _methods(study))]))


def _made_from(study: Study) -> list[str]:
    """What a study's methods make images from, if some variant has images of its own."""
    own = any(variant.parameters for variant in study.variants.values())
    return [asset for method in _methods(study) for asset in image_assets(method)] if own else []


def _further(study: Study) -> tuple[str, ...]:
    """Those of FURTHER that variants, or protocols of enabled settings, ask for: edges, whether or not all apply."""
    protocols, made_from = [chosen.protocol for chosen in settings().values()], _made_from(study)

    def asked(name: str, value: str) -> bool:
        by_setting = any(getattr(protocol, name) == value for protocol in protocols)
        return by_setting or any(variant.states(name, value) for variant in study.variants.values())

    wanted = {"committee": asked("labeller", "committee"), "priors": asked("label_mix", "priors")}
    return tuple(name for name in FURTHER if wanted[name] or name in made_from)


def _blocked(study: Study, cell: Cell) -> str:
    if possible(study, cell):
        return ""
    reasons = dict.fromkeys(reason_against(cell, found) for found in study.cells(cell.setting, cell.ipc))
    return next(iter(reasons), f"{study.name} has no IPC {cell.ipc} for {cell.setting.name}")


def _stage(study: Study) -> Stage:
    images, further = _images(study), _further(study)
    return Stage(
        asset=study_asset(study.name),
        space="grid",
        inputs=("dataset", "teacher", *further, *images),
        resolve=lambda cell, inputs, engine: _resolve(study, cell, inputs, engine),
        unit_kind="training",
        checks=(
            ("finite_loss", True, "no training diverged"),
            ("above_chance", False, "test accuracy two standard errors above chance"),
        ),
        description=f"{study.title}\n\n{study.source}",
        group=STUDIES,
        kinds=("pytorch",),
        tags={"dd/study": study.name},
        skippable=("teacher", *further, *images),
        unread=lambda cell: _unread(study, cell),
        optional=images,
        blocked=lambda cell: _blocked(study, cell),
    )


def study_stages() -> list[Stage]:
    """One stage per shipped study."""
    return [_stage(study) for study in studies().values()]
