"""What a generation method reads: a generator, and centroids, references and so on where its parameters ask.

Belongs here: from parameters to assets and manifests, and why a setting's networks cannot give what is asked of them.
Does not belong: the stages of those assets (generators.py, reference_latents.py, prompt_banks.py), whether a generator
can come to be (units/generator_place.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dd_assets.datasets.registry import settings
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.classes import prompts
from dd_assets.errors import InputError
from dd_assets.methods.contract import Method
from dd_assets.models.registry import architecture
from dd_assets.planning.cells import Cell, declared_parameters, usable
from dd_assets.planning.class_gaussians import CLASS_GAUSSIANS
from dd_assets.planning.engine import Engine
from dd_assets.planning.generators import (
    CENTROIDS,
    CLUSTERED,
    REFERENCE_LATENTS,
    generator_asset,
    usable_generator,
)
from dd_assets.planning.prompt_banks import PROMPT_BANK
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.units.class_gaussians import key_of
from dd_assets.units.generator_place import asked_by_prompts
from dd_resources.raw_data import RawData

ADDED = "a launch adds no edge to the graph: state it in the setting's `recipes` (docs/datasets.md)"


def misfit(method: Method, parameters: Any, chosen: Setting, raw: RawData | None = None) -> str:
    """Why a setting's generator or committee can never give what these parameters ask of it, or ''.

    That they are the setting's is presumed (Method.reason_against). What a pre-trained folder reads is known where
    `raw` says where folders lie and it is complete.
    """
    members = {choice.key: choice.architecture for choice in chosen.committee}
    looked_at = getattr(parameters, "pool", ()) or members if method.attention else ()
    blind = [name for name in looked_at if name in members and architecture(members[name]).family != "timm"]
    if blind:
        return f"{blind[0]} is no vision transformer, whose attention is read"
    name = method.generator_of(parameters)
    return _unclustered(method, parameters, name) or _misasked(method, parameters, chosen, raw) if name else ""


def _unclustered(method: Method, parameters: Any, name: str) -> str:
    """Which assets a generator has none of, although these parameters read them, or ''."""
    read = {
        "class centroids": method.reads_centroids(parameters),
        "reference latents": bool(method.references_of(parameters)),
        "class gaussians": method.reads_gaussians(parameters),
    }
    lacking = [asset for asset, wanted in read.items() if wanted and name not in CLUSTERED]
    return f"there are no {lacking[0]} of generator {name}, only of {' and '.join(CLUSTERED)}" if lacking else ""


def _misasked(method: Method, parameters: Any, chosen: Setting, raw: RawData | None) -> str:
    """Why a generator cannot be asked under the condition that these parameters state, or ''."""
    name, by_text = method.generator_of(parameters), parameters.condition == "text"
    prompted = asked_by_prompts(chosen, name, raw)
    if prompted is False and by_text:
        return f"generator {name} knows class ids and reads no prompts: set condition: class"
    if prompted and not by_text:
        return f"generator {name} reads prompts and knows no class ids: set condition: text"
    if not by_text or method.reads_prompts(parameters):
        return ""
    try:
        prompts(chosen.classes, parameters.prompt)
    except InputError as error:
        helps = error.remedy if "{name}" in parameters.prompt else "write {name} into the prompt"
        return f"{error.problem}: {helps}"
    return ""


def generation_inputs(
    method: Method, parameters: Any, inputs: Mapping[str, Reference], engine: Engine
) -> dict[str, Manifest]:
    """The generator that the parameters name, and the centroids, reference latents and prompts that they read."""
    name = method.generator_of(parameters)
    if not name:
        return {}
    if generator_asset(name) not in inputs:
        raise InputError(
            f"{method.name} does not sample from generator {name} in any recipe, so the graph has no such edge",
            f"generator can be one of {', '.join(method.generators())} here; the setting's `recipes` add others",
        )
    found = {"generator": usable_generator(engine, inputs[generator_asset(name)])}
    if method.reads_centroids(parameters):
        if CENTROIDS not in inputs or name not in inputs[CENTROIDS].units:
            raise InputError(f"{method.name}: there are no class centroids of generator {name}", ADDED)
        found["centroids"] = usable(engine, inputs[CENTROIDS], name)
    choice = method.references_of(parameters)
    if choice:
        key = f"{name}/{choice}"
        if REFERENCE_LATENTS not in inputs or key not in inputs[REFERENCE_LATENTS].units:
            raise InputError(f"{method.name}: there are no reference latents {key}", ADDED)
        found["reference_latents"] = usable(engine, inputs[REFERENCE_LATENTS], key)
    if method.reads_gaussians(parameters):
        key = key_of(parameters)
        if CLASS_GAUSSIANS not in inputs or key not in inputs[CLASS_GAUSSIANS].units:
            raise InputError(f"{method.name}: there are no class gaussians {key}", ADDED)
        found["class_gaussians"] = usable(engine, inputs[CLASS_GAUSSIANS], key)
    if method.reads_prompts(parameters):
        if PROMPT_BANK not in inputs:
            raise InputError(f"{method.name}: its images read no prompt bank", ADDED)
        found["prompts"] = usable(engine, inputs[PROMPT_BANK], parameters.bank)
    return found


def samples_of(method: Method, parameters: Any, references: Mapping[str, Reference], engine: Engine) -> Manifest | None:
    """The samples of the generator that these parameters name: what is known of its cost."""
    found = references.get(generator_asset(method.generator_of(parameters)))
    return engine.store.lookup(found.units["samples"]) if found and "samples" in found.units else None


def stated_parameters(method: Method) -> list[Any]:
    """A method's parameters in every recipe and every enabled setting."""
    own = [recipe.parameters for recipe in method.recipes.values()]
    return own + [declared_parameters(method, entry) for entry in settings().values()]


def generation_assets(method: Method) -> tuple[str, ...]:
    """The generators and what belongs to them that some recipe or setting of a method reads."""
    if not method.needs.generator:
        return (CENTROIDS,) if method.needs.centroids else ()
    stated = stated_parameters(method)
    names = sorted({method.generator_of(parameters) for parameters in stated})
    further = {
        CENTROIDS: any(method.reads_centroids(parameters) for parameters in stated),
        REFERENCE_LATENTS: any(method.references_of(parameters) for parameters in stated),
        CLASS_GAUSSIANS: any(method.reads_gaussians(parameters) for parameters in stated),
        PROMPT_BANK: any(method.reads_prompts(parameters) for parameters in stated),
    }
    return (*(generator_asset(name) for name in names), *(asset for asset, read in further.items() if read))


def ungenerated(method: Method, cell: Cell) -> frozenset[str]:
    """Generators that a cell's parameters do not name, and what of the rest they do not read."""
    if not method.needs.generator:
        return frozenset()
    parameters = declared_parameters(method, cell.setting, cell.overrides)
    read = {generator_asset(method.generator_of(parameters))}
    read |= {CENTROIDS} if method.reads_centroids(parameters) else set()
    read |= {REFERENCE_LATENTS} if method.references_of(parameters) else set()
    read |= {CLASS_GAUSSIANS} if method.reads_gaussians(parameters) else set()
    read |= {PROMPT_BANK} if method.reads_prompts(parameters) else set()
    return frozenset(generation_assets(method)) - read
