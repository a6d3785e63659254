"""What a generation method reads: a generator, and centroids, references and so on where its parameters ask.

Belongs here: from parameters to assets and manifests. Does not belong: the stages of those (generators.py,
reference_latents.py, prompt_banks.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dd_assets.datasets.registry import settings
from dd_assets.errors import InputError
from dd_assets.methods.contract import Method
from dd_assets.planning.cells import Cell, declared_parameters, usable
from dd_assets.planning.class_gaussians import CLASS_GAUSSIANS
from dd_assets.planning.engine import Engine
from dd_assets.planning.generators import CENTROIDS, REFERENCE_LATENTS, generator_asset, usable_generator
from dd_assets.planning.prompt_banks import PROMPT_BANK
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.units.class_gaussians import key_of


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
            f"generator can be one of {', '.join(method.generators())} here; a recipe or setting adds others",
        )
    found = {"generator": usable_generator(engine, inputs[generator_asset(name)])}
    if method.reads_centroids(parameters):
        if CENTROIDS not in inputs or name not in inputs[CENTROIDS].units:
            raise InputError(f"{method.name}: there are no class centroids of generator {name}", "start from noise")
        found["centroids"] = usable(engine, inputs[CENTROIDS], name)
    choice = method.references_of(parameters)
    if choice:
        key = f"{name}/{choice}"
        if REFERENCE_LATENTS not in inputs or key not in inputs[REFERENCE_LATENTS].units:
            raise InputError(f"{method.name}: there are no reference latents {key}", "name another generator")
        found["reference_latents"] = usable(engine, inputs[REFERENCE_LATENTS], key)
    if method.reads_gaussians(parameters):
        key = key_of(parameters)
        if CLASS_GAUSSIANS not in inputs or key not in inputs[CLASS_GAUSSIANS].units:
            raise InputError(f"{method.name}: there are no class gaussians {key}", "a recipe or setting adds others")
        found["class_gaussians"] = usable(engine, inputs[CLASS_GAUSSIANS], key)
    if method.reads_prompts(parameters):
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
