"""The stages of a setting's further teachers: committee, statistics, priors.

Belongs here: which units they consist of, and the distillations behind a measured prior. Does not belong: computing
any unit (dd_assets/units), Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dd_assets.datasets.setting import PRIOR_SOURCES, Setting, tune_variant
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.methods.contract import Facts
from dd_assets.methods.registry import METHODS, method
from dd_assets.planning.cells import Cell, Stage, declared_parameters, reference_of, run_named, usable
from dd_assets.planning.engine import Engine
from dd_assets.planning.generation_cost import peak_of
from dd_assets.planning.memory import run_within
from dd_assets.planning.unit import Manifest, Reference, Unit
from dd_assets.units import dataset, image_set, images, labels, priors, statistics, teacher, training

NEED_COMMITTEE = ("committee", "statistics", "priors")
PRIOR_METHOD = "sre2lpp"
"""A prior is what CV-DD's SRe2L++ reaches with that member as its only teacher."""
PRIOR_IPC = 10
PRIOR_SEEDS = 3


def without_committee(chosen: Setting) -> str:
    """Why the three stages cannot apply to a setting, or ''."""
    return "" if chosen.committee else f"{chosen.name} has no committee; its setting may name one (docs/datasets.md)"


def _resolve_committee(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    if without_committee(cell.setting):
        raise InputError(without_committee(cell.setting))
    source = usable(engine, inputs["dataset"], "dataset")
    units = {
        choice.key: teacher.plan(cell.setting, source, engine.raw, cell.overrides, choice)
        for choice in cell.setting.committee
    }
    return reference_of("committee", cell, run_named(units, engine), inputs)


def _resolve_statistics(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    source = usable(engine, inputs["dataset"], "dataset")
    members = {name: usable(engine, inputs["committee"], name) for name in inputs["committee"].units}
    units = {name: statistics.plan(cell.setting, source, member, name) for name, member in members.items()}
    return reference_of("statistics", cell, run_named(units, engine), inputs)


def _resolve_priors(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    for name in cell.overrides:
        if name != "source":
            raise UnknownNameError.of("parameter of priors", str(name), ["source"])
    source = str(cell.overrides.get("source", cell.setting.priors))
    if source not in PRIOR_SOURCES:
        raise UnknownNameError.of("source of priors", source, PRIOR_SOURCES)
    members = rated(cell.setting, dataset.facts(cell.setting, usable(engine, inputs["dataset"], "dataset")))
    scores = _prior_scores(cell.setting, members, engine) if source == "measured" else {}
    unit = priors.plan(cell.setting, members, source, scores)
    return reference_of("priors", cell, run_named({"priors": unit}, engine), inputs)


def rated(chosen: Setting, facts: Facts) -> list[str]:
    """The members that a method or the setting's labels weight by priors, in the committee's order.

    The others need no prior, and those without batch norm could not be rated: their images have nothing to match.
    """
    used = {
        name
        for entry in METHODS().values()
        if entry.needs.priors
        for name in entry.pool(declared_parameters(entry, chosen), facts)
    }
    if chosen.protocol.label_mix == "priors":
        used |= set(chosen.protocol.label_pool or facts.committee)
    return [choice.key for choice in chosen.committee if choice.key in used]


def _prior_scores(chosen: Setting, names: Sequence[str], engine: Engine) -> dict[str, Manifest]:
    """The student trainings behind each member's prior, on the tune variant: no image of the test split takes part."""
    tuned = chosen if chosen.tune_of else tune_variant(chosen)
    source = run_named({"dataset": dataset.plan(tuned, engine.raw)}, engine)["dataset"]
    members = run_named(
        {name: teacher.plan(tuned, source, engine.raw, {}, tuned.member(name)) for name in names}, engine
    )
    student = tuned.students[0]
    wanted: dict[str, Unit] = {}
    for name, member in members.items():
        member.require_usable()
        made = _distilled(PRIOR_METHOD, tuned, source, member, engine)
        same = student == tuned.member(name).architecture
        protocol = tuned.protocol.for_student(same, made.summary["rows"], student).by_one_teacher()
        tables = {
            seed: labels.plan(tuned, made, member, protocol, seed, f"priors {chosen.name} {name}")
            for seed in range(PRIOR_SEEDS)
        }
        for seed, table in run_named({str(seed): unit for seed, unit in tables.items()}, engine).items():
            given = {"images": made, "dataset": source, "labels": table}
            label = f"priors {chosen.name} {name}"
            wanted[f"{name}/seed{seed}"] = training.plan(tuned, student, protocol, int(seed), given, label)
    return run_named(wanted, engine)


def _distilled(name: str, tuned: Setting, source: Manifest, member: Manifest, engine: Engine) -> Manifest:
    """The image set of one method with `member` as its teacher, and of the method it starts from before it."""
    chosen = method(name)
    parameters, facts = declared_parameters(chosen, tuned), dataset.facts(tuned, source)
    reason = chosen.reason_against(parameters, facts, PRIOR_IPC)
    if reason:
        raise InputError(f"priors of {tuned.name}: {name}: {reason}", "set `priors: equal` for this dataset")
    given = {"teacher": member}
    if chosen.needs.real_images:
        given["dataset"] = source
    start = chosen.images_of(parameters)
    if start:
        given["initial"] = _distilled(start, tuned, source, member, engine)
    first_draw = images.plan(chosen, tuned, facts, PRIOR_IPC, [given], parameters)[0]
    shards = run_within(
        engine,
        first_draw,
        lambda: peak_of(chosen, parameters, facts, PRIOR_IPC, tuned, None),
        f"priors of {tuned.name}: {name}",
    )
    for shard in shards:
        shard.require_usable()
    joined = image_set.plan(shards, tuned.classes, PRIOR_IPC, 0, f"priors {tuned.name} {name}")
    return run_named({"set": joined}, engine)["set"]


def committee_stages() -> list[Stage]:
    """The three stages, upstream before downstream."""
    return [
        Stage(
            asset="committee",
            space="dataset",
            inputs=("dataset",),
            resolve=_resolve_committee,
            unit_kind="teacher",
            checks=(
                ("accuracy_above_floor", True, "top-1 of every member on the test split reaches its floor"),
                ("no_class_below_half_of_mean", False, "no class is far worse than the others"),
            ),
            description="Further teachers of the setting, one unit each: a new member touches none of the others.",
            group="teachers",
            kinds=("pytorch",),
            takes_parameters=True,
            examine=lambda cell, raw: teacher.examine(cell.setting.committee, raw),
        ),
        Stage(
            asset="statistics",
            space="dataset",
            inputs=("dataset", "committee"),
            resolve=_resolve_statistics,
            unit_kind="statistics",
            checks=(("finite_statistics", True, "no NaN or infinity"),),
            description=(
                "What each committee member's convolutions and batch norms see in the real training images: channel "
                "and patch statistics, over all images and per class (G-VBSM, EDC)."
            ),
            group="teachers",
            kinds=("pytorch",),
        ),
        Stage(
            asset="priors",
            space="dataset",
            inputs=("dataset", "committee"),
            resolve=_resolve_priors,
            unit_kind="priors",
            checks=(("members_rated", True, "every member has a prior between 0 and 100 %"),),
            description=(
                "How well each committee member teaches: accuracy, on a validation part of the training split, of "
                "students taught by images distilled from it alone (CV-DD)."
            ),
            group="teachers",
            kinds=("python",),
            takes_parameters=True,
        ),
    ]
