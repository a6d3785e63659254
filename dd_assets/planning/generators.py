"""The stages of generators and class centroids.

Belongs here: which units they consist of, why one cannot apply. Does not belong: which of them a method reads
(generation.py), computing any unit (dd_assets/units), Dagster.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from dd_assets.datasets.registry import setting, settings
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.registry import GENERATORS, TRAINED_ON_OTHERS, GeneratorRecipe
from dd_assets.errors import InputError
from dd_assets.methods.contract import with_overrides
from dd_assets.planning.cells import Cell, Stage, reference_of, run_named, usable
from dd_assets.planning.engine import Engine
from dd_assets.planning.prompt_banks import prompt_bank_stage
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.units import centroids, dataset, fine_tuned, generator, generator_samples
from dd_assets.units.generator_place import examine, trained_recipe

GENERATOR_ASSETS = tuple(f"generator_{name}" for name in GENERATORS)
CENTROIDS = "class_centroids"
REFERENCE_LATENTS = "reference_latents"
CLUSTERED = ("small", "pretrained")
"""Generators whose latents are clustered; a foreign one is there to keep the real images out."""
BASES = ("small", "pretrained")
"""Generators that may be fine-tuned."""


def generator_asset(name: str) -> str:
    """The asset that holds a generator."""
    return f"generator_{name}"


def usable_generator(engine: Engine, reference: Reference) -> Manifest:
    """A generator's manifest; raises VerdictError if it, or what it draws, failed a blocking verdict."""
    for key in reference.units:
        usable(engine, reference, key)
    return usable(engine, reference, "generator")


def without_generator(chosen: Setting, name: str) -> str:
    """Why a setting has no generator of that name, or ''."""
    stated = chosen.generators
    if name not in stated.names():
        return f"{chosen.name} names no {name} generator (docs/generators.md)"
    if name == "minimax":
        return without_generator(chosen, base_of(chosen))
    if name not in TRAINED_ON_OTHERS:
        return ""
    if stated.foreign not in settings():
        return f"its foreign generator needs the setting {stated.foreign!r}, which is not enabled (DD_DATASETS)"
    others = set(setting(stated.foreign).classes)
    absent = [title for title in chosen.classes if title not in others]
    if absent:
        return f"{stated.foreign} lacks {', '.join(map(repr, absent[:3]))} of {chosen.name}'s classes"
    if trained_recipe(chosen, name):
        return ""
    return f"neither {chosen.name} nor {stated.foreign} states a small generator"


def base_of(chosen: Setting) -> str:
    """The generator that a setting fine-tunes, or ''."""
    stated = chosen.generators.minimax
    return stated.base if stated else ""


def generators_of(chosen: Setting) -> tuple[str, ...]:
    """The generators that a setting has and that can apply."""
    return tuple(name for name in chosen.generators.names() if not without_generator(chosen, name))


def without_centroids(cell: Cell, counts: Sequence[int]) -> str:
    """Why a cell has no class centroids, or ''; class sizes are known (not empty) once the dataset is in the store."""
    if not clustered(cell):
        return f"{cell.setting.name} has no generator whose latents could be clustered (docs/generators.md)"
    if counts and min(counts) < cell.ipc:
        return f"its smallest class has {min(counts)} training images, IPC is {cell.ipc}"
    return ""


def clustered(cell: Cell) -> list[str]:
    """The generators of a cell's setting whose latents are clustered."""
    return [name for name in CLUSTERED if name in generators_of(cell.setting)]


def _refuse(chosen: Setting, name: str) -> None:
    reason = without_generator(chosen, name)
    if reason:
        raise InputError(reason, "choose another generator or name this one in the setting")


def _resolve_own(name: str, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    chosen = cell.setting
    _refuse(chosen, name)
    recipe: GeneratorRecipe | None = getattr(chosen.generators, name)
    assert recipe is not None
    source = usable(engine, inputs["dataset"], "dataset")
    judge = usable(engine, inputs["teacher"], "teacher")
    unit = generator.plan(chosen, recipe, chosen, source, cell.overrides, name, engine.raw)
    made = run_named({"generator": unit}, engine)
    asked = with_overrides(recipe, cell.overrides, generator_asset(name))
    samples = generator_samples.plan(
        chosen, made["generator"], source, judge, asked.guidance_scale, asked.recognition_floor
    )
    return reference_of(generator_asset(name), cell, {**made, **run_named({"samples": samples}, engine)}, inputs)


def _resolve_pretrained(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    chosen = cell.setting
    _refuse(chosen, "pretrained")
    stated = chosen.generators.pretrained
    assert stated is not None
    source = usable(engine, inputs["dataset"], "dataset")
    judge = usable(engine, inputs["teacher"], "teacher")
    unit = generator.plan_folder(chosen, stated, engine.raw, fetch=not engine.look_only)
    made = run_named({"generator": unit}, engine)
    text = bool(made["generator"].summary["text"])
    # The papers' scales: 4 with DiT, 8 with Stable Diffusion. Nobody's floor: a subset's teacher may be a poor judge.
    samples = generator_samples.plan(chosen, made["generator"], source, judge, 8.0 if text else 4.0, 0.0)
    return reference_of("generator_pretrained", cell, {**made, **run_named({"samples": samples}, engine)}, inputs)


def _resolve_foreign(name: str, cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    """No input of this cell's setting takes part: neither its images nor, to judge the samples, its teacher."""
    chosen = cell.setting
    _refuse(chosen, name)
    other, recipe = setting(chosen.generators.foreign), trained_recipe(chosen, name)
    assert recipe is not None
    source = run_named({"dataset": dataset.plan(other, engine.raw)}, engine)["dataset"]
    unit = generator.plan(chosen, recipe, other, source, cell.overrides, name, engine.raw)
    made = run_named({"generator": unit}, engine)
    asked = with_overrides(recipe, cell.overrides, generator_asset(name))
    samples = generator_samples.plan(chosen, made["generator"], source, None, asked.guidance_scale, 0.0, other)
    return reference_of(generator_asset(name), cell, {**made, **run_named({"samples": samples}, engine)}, inputs)


def _resolve_minimax(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    chosen = cell.setting
    _refuse(chosen, "minimax")
    recipe = chosen.generators.minimax
    assert recipe is not None
    source = usable(engine, inputs["dataset"], "dataset")
    judge = usable(engine, inputs["teacher"], "teacher")
    base = usable_generator(engine, inputs[generator_asset(recipe.base)])
    made = run_named({"generator": fine_tuned.plan(chosen, recipe, base, source, cell.overrides)}, engine)
    asked = with_overrides(recipe, cell.overrides, "generator_minimax")
    samples = generator_samples.plan(
        chosen, made["generator"], source, judge, asked.guidance_scale, asked.recognition_floor
    )
    return reference_of("generator_minimax", cell, {**made, **run_named({"samples": samples}, engine)}, inputs)


def _not_fine_tuned(cell: Cell) -> frozenset[str]:
    return frozenset(generator_asset(name) for name in BASES if name != base_of(cell.setting))


def _resolve_centroids(cell: Cell, inputs: Mapping[str, Reference], engine: Engine) -> Reference:
    source = usable(engine, inputs["dataset"], "dataset")
    reason = without_centroids(cell, source.summary["train_counts"])
    if reason:
        raise InputError(f"class_centroids [{cell.partition}]: {reason}", "choose a smaller IPC or another dataset")
    units = {
        name: centroids.plan(
            cell.setting, source, usable_generator(engine, inputs[generator_asset(name)]), cell.ipc, name
        )
        for name in clustered(cell)
    }
    return reference_of(CENTROIDS, cell, run_named(units, engine), inputs)


def unclustered(cell: Cell) -> frozenset[str]:
    """The assets of those that it does not have."""
    wanted = clustered(cell)
    return frozenset(generator_asset(name) for name in CLUSTERED if name not in wanted)


_LEARNT = ("learnt", True, "the noise is predicted better than by nothing at all")
_RECONSTRUCTION = ("reconstruction", False, "the autoencoder gives images back at 24 dB or better")
_RECOGNISED = ("recognised", True, "the teacher names enough of its samples correctly")
_CONSTANT = ("no_constant_samples", True, "no sample is of one colour, as a safety checker's would be")


def _generator_stage(
    name: str,
    inputs: tuple[str, ...],
    resolve: Callable[[Cell, Mapping[str, Reference], Engine], Reference],
    checks: tuple[tuple[str, bool, str], ...],
    description: str,
    unit_kind: str = "generator",
    bases: tuple[str, ...] = (),
) -> Stage:
    """`bases` are the inputs of which each cell reads the one that its setting fine-tunes."""
    return Stage(
        asset=generator_asset(name),
        space="dataset",
        inputs=(*inputs, *bases),
        resolve=resolve,
        unit_kind=unit_kind,
        checks=checks,
        description=description,
        group="generators",
        kinds=("pytorch",),
        # The files of a pretrained one are as they are.
        takes_parameters=name != "pretrained",
        skippable=bases,
        unread=_not_fine_tuned if bases else lambda cell: frozenset(),
        examine=lambda cell, raw: examine(cell.setting, name, raw),
    )


def generator_stages() -> list[Stage]:
    """The generators, prompts and centroids, upstream before downstream."""
    return [
        prompt_bank_stage(),
        _generator_stage(
            "small",
            ("dataset", "teacher"),
            functools.partial(_resolve_own, "small"),
            (_LEARNT, _RECONSTRUCTION, _RECOGNISED, _CONSTANT),
            "A class-conditional DiT trained here on the setting's images, with classifier-free guidance. The teacher"
            " only judges its samples.",
        ),
        _generator_stage(
            "text",
            ("dataset", "teacher"),
            functools.partial(_resolve_own, "text"),
            (_LEARNT, _RECONSTRUCTION, _RECOGNISED, _CONSTANT),
            "A UNet trained here on the setting's images to follow prompts: captions name the class, what it is, and"
            " what stands out in an image. The teacher only judges its samples.",
        ),
        _generator_stage(
            "pretrained",
            ("dataset", "teacher"),
            _resolve_pretrained,
            (_RECOGNISED, _CONSTANT),
            "A folder in diffusers' layout (DiT or Stable Diffusion), local or of the hub, pinned by the digests of its"
            " files.",
        ),
        _generator_stage(
            "foreign",
            (),
            functools.partial(_resolve_foreign, "foreign"),
            (_LEARNT, _RECONSTRUCTION, _CONSTANT),
            "A DiT trained here on another setting's images, for methods that must not see this one's.",
        ),
        _generator_stage(
            "foreign_text",
            (),
            functools.partial(_resolve_foreign, "foreign_text"),
            (_LEARNT, _RECONSTRUCTION, _CONSTANT),
            "A UNet that follows prompts, trained here on another setting's images.",
        ),
        _generator_stage(
            "minimax",
            ("dataset", "teacher"),
            _resolve_minimax,
            (_LEARNT, _RECOGNISED, _CONSTANT),
            "One of the setting's generators, fine-tuned so that what it predicts is near every real image and far from"
            " its earlier predictions (Minimax diffusion). The teacher only judges its samples.",
            unit_kind="fine_tuned_generator",
            bases=tuple(generator_asset(name) for name in BASES),
        ),
        Stage(
            asset=CENTROIDS,
            space="grid",
            inputs=("dataset", *(generator_asset(name) for name in CLUSTERED)),
            resolve=_resolve_centroids,
            unit_kind="class_centroids",
            checks=(
                ("every_image_used", True, "cluster sizes add up to the training images"),
                ("no_empty_cluster", False, "every cluster has an image"),
            ),
            description="k-means of each class's latents with k = IPC, in every generator that the setting has.",
            group="generators",
            kinds=("python", "parquet"),
            skippable=tuple(generator_asset(name) for name in CLUSTERED),
            unread=unclustered,
        ),
    ]
