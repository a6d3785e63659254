"""Recipe files, and what a sweep proposes to try.

Belongs here: reading `base` + changed parameters as a method, and seeded proposals around a recipe. Does not belong:
trying any of it.

A composition names no new part. Initialisation is the parameter `init` (or `start`), objective and selection are those
of the base method with their weights, guidance its strengths; label modes are the setting's, scored side by side.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dd_assets import randomness
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.methods.contract import OWN_STARTS, Method, variant, with_overrides
from dd_assets.yaml_files import read_yaml

FIELDS = ("name", "base", "parameters", "title")
NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
SUFFIXES = (".yaml", ".yml")
"""Of the recipe files in a folder; what else lies there is none."""
FACTORS = (0.25, 0.5, 2.0, 4.0)
"""What a proposal multiplies a strength by; the recipe itself is the first proposal, so 1 is left out."""
FIXED = ("batch", "iterations", "epsilon", "beta1", "beta2", "betas")
"""Numbers that say how much is computed, or how exactly, and not what is wanted."""


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A base method with some of its parameters changed."""

    name: str
    base: str
    parameters: Mapping[str, Any]
    title: str = ""


def read_composition(path: Path) -> Composition:
    """A recipe file; raises InputError or UnknownNameError naming the file and the field."""
    try:
        stated = read_yaml(path, "is no recipe file")
    except OSError as error:
        raise InputError(f"{path} is no recipe file: {error.strerror or error}", "see docs/sweep.md") from error
    if not isinstance(stated, dict) or not {"name", "base", "parameters"} <= stated.keys():
        raise InputError(f"{path} lacks name, base or parameters", "see docs/sweep.md")
    for key in stated:
        if key not in FIELDS:
            raise UnknownNameError.of(f"field of {path}", str(key), FIELDS)
    if not isinstance(stated["parameters"], dict) or not NAME.fullmatch(str(stated["name"])):
        raise InputError(f"{path}: name={stated['name']!r}", "small letters, digits, '_'; parameters as a mapping")
    if not isinstance(stated.get("title", ""), str):
        raise InputError(f"{path}: title={stated['title']!r}", "write text, in quotes if it looks like something else")
    return Composition(**{**stated, "name": str(stated["name"]), "base": str(stated["base"])})


def as_method(found: Composition, base: Method) -> Method:
    """The composition as a method with assets of its own; raises UnknownNameError or InputError for a parameter."""
    made = {
        data: with_overrides(recipe.parameters, found.parameters, f"recipe file {found.name}, for {data}")
        for data, recipe in base.recipes.items()
    }
    # As read, so that 1 is 1.0 where a number with a point is wanted.
    changed = {name: getattr(made["default"], name) for name in found.parameters}
    title = found.title or f"{base.title}, composed"
    varied = variant(base, found.name, title, "A recipe file's parameters (docs/sweep.md).", **changed)
    recipes = {data: dataclasses.replace(recipe, parameters=made[data]) for data, recipe in varied.recipes.items()}
    return dataclasses.replace(varied, recipes=recipes)


def composed(folder: str, known: Mapping[str, Method]) -> Iterator[tuple[str, Method]]:
    """(file, method) of each recipe file in a folder; raises UnknownNameError for a base that does not exist."""
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"DD_RECIPES={folder} is not a folder", "point it at a folder of recipe files or unset it")
    for path in sorted(path for path in place.iterdir() if path.suffix in SUFFIXES):
        found = read_composition(path)
        if found.base not in known:
            raise UnknownNameError.of(f"base of {path}", found.base, known)
        yield str(path), as_method(found, known[found.base])


def starts(methods: Mapping[str, Method], parameters: Any, base: Method) -> list[Composition]:
    """The base from each other initialisation: real images, noise, or a method's that starts from none itself.

    [] for a method that has no parameter `init`.
    """
    if "init" not in {field.name for field in dataclasses.fields(parameters)}:
        return []
    free = [
        name
        for name, entry in methods.items()
        if not entry.variant_of and entry.family in ("baseline", "selection") and entry.images_of(_any(entry)) is None
    ]
    own = [start for start in OWN_STARTS if start == "noise"]
    wanted = [start for start in dict.fromkeys([*own, *free]) if start not in (parameters.init, base.name)]
    return [Composition(name=f"{base.name}_from_{s}", base=base.name, parameters={"init": s}) for s in wanted]


def _any(entry: Method) -> Any:
    return next(iter(entry.recipes.values())).parameters


def proposals(
    parameters: Any, count: int, seed: int, name: str, reason: Callable[[Any], str | None]
) -> list[dict[str, Any]]:
    """`count` different sets of overrides: first none, then one to three strengths multiplied by FACTORS, seeded.

    Fewer where the parameters have no more; such that have a `reason` against them are no proposals. name: of the
    group; groups draw from streams of their own.
    """
    strengths = [
        field.name
        for field in dataclasses.fields(parameters)
        if isinstance(getattr(parameters, field.name), float)
        and getattr(parameters, field.name) > 0
        and field.name not in FIXED
    ]
    made: list[dict[str, Any]] = [{}]
    for attempt in range(20 * count):
        if len(made) >= count or not strengths:
            break
        order = randomness.permutation(len(strengths), seed, "sweep", name, attempt)
        taken = 1 + int(randomness.integers(min(3, len(strengths)), 1, seed, "sweep", name, attempt, "taken")[0])
        factors = randomness.integers(len(FACTORS), taken, seed, "sweep", name, attempt, "factors")
        chosen = {
            strengths[place]: getattr(parameters, strengths[place]) * FACTORS[factor]
            for place, factor in zip(order[:taken], factors, strict=True)
        }
        if chosen not in made and not reason(dataclasses.replace(parameters, **chosen)):
            made.append(chosen)
    return made[:count]
