"""The field `generators` of a user's setting.

Belongs here: reading and refusing it. Does not belong: the rest of a setting (user_settings.py), recipes
(diffusion/registry.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

from dd_assets.diffusion.hub import hub_source
from dd_assets.diffusion.recipes import fine_tuning, generator_recipe
from dd_assets.diffusion.registry import FineTuning, GeneratorRecipe, Generators, PretrainedFolder
from dd_assets.errors import DDError, InputError, UnknownNameError
from dd_assets.methods.contract import with_overrides

FIELDS = ("small", "text", "pretrained", "foreign", "language_model", "minimax")
SEE = "see docs/generators.md"
Stated = TypeVar("Stated", GeneratorRecipe, PretrainedFolder, FineTuning)
NUMBER = re.compile(r"[0-9.]+[eE][-+]?[0-9]+")


def as_generator_fields(entry: Generators) -> dict[str, Any]:
    """A setting's generators in the form in which YAML states them."""
    small, text, folder, minimax = entry.small, entry.text, entry.pretrained, entry.minimax
    return {
        "small": None if small is None else asdict(small),
        "text": None if text is None else asdict(text),
        "pretrained": None if folder is None else asdict(folder),
        "foreign": entry.foreign or None,
        "language_model": entry.language_model or None,
        "minimax": None if minimax is None else asdict(minimax),
    }


def read_generators(where: str, fields: Any) -> Generators:
    """The generators that YAML states; `small`, `minimax`: a recipe's name, or fields over the base setting's.

    Raises InputError or UnknownNameError naming the field.
    """
    for key in fields:
        if key not in FIELDS:
            raise UnknownNameError.of(f"generator of {where}", str(key), FIELDS)
    foreign, writer = (fields.get(key) or "" for key in ("foreign", "language_model"))
    if not isinstance(foreign, str):
        raise InputError(f"{where}: generators, foreign: {foreign!r}", "name a setting")
    if not isinstance(writer, str):
        raise InputError(f"{where}: generators, language_model: {writer!r}", "give a path")
    text = _small(where, fields.get("text"), "text")
    return Generators(
        small=_small(where, fields.get("small"), "small"),
        text=None if text is None else replace(text, reads="text"),
        pretrained=_folder(where, fields.get("pretrained")),
        foreign=foreign,
        language_model=writer,
        minimax=_minimax(where, fields.get("minimax")),
    )


def _small(where: str, stated: Any, name: str) -> GeneratorRecipe | None:
    if stated is None:
        return None
    if isinstance(stated, str):
        return generator_recipe(stated)
    if not isinstance(stated, Mapping):
        raise InputError(f"{where}: generators, {name}: {stated!r}", f"give a recipe's name or fields; {SEE}")
    return _over(GeneratorRecipe(iterations=20_000), _numbers(stated), f"{where}, generator {name}")


def _minimax(where: str, stated: Any) -> FineTuning | None:
    if stated is None:
        return None
    if isinstance(stated, str):
        return fine_tuning(stated)
    if not isinstance(stated, Mapping):
        raise InputError(f"{where}: generators, minimax: {stated!r}", f"give a fine-tuning's name or fields; {SEE}")
    return _over(FineTuning(iterations=500), _numbers(stated), f"{where}, generator minimax")


def _over(default: Stated, fields: Mapping[str, Any], owner: str) -> Stated:
    """`default` with these fields; raises InputError or UnknownNameError that names the owner."""
    try:
        made: Stated = with_overrides(default, fields, owner)
    except DDError as error:
        if owner in error.problem:
            raise
        # What a type says of its own values does not name the setting.
        raise type(error)(f"{owner}: {error.problem}", error.remedy) from error
    return made


def _numbers(stated: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with numbers such as 1e-06 read as numbers: YAML 1.1 takes them for text without a point."""
    written = {name: value for name, value in stated.items() if isinstance(value, str) and NUMBER.fullmatch(value)}
    return {**stated, **{name: float(value) for name, value in written.items()}}


def _folder(where: str, stated: Any) -> PretrainedFolder | None:
    if stated is None:
        return None
    if isinstance(stated, str):
        stated = {"folder": stated}
    if not isinstance(stated, Mapping) or not stated.get("folder"):
        raise InputError(
            f"{where}: generators, pretrained: {stated!r}", f"give folder: <path or hub:owner/name>; {SEE}"
        )
    made = _over(PretrainedFolder(folder=""), stated, f"{where}, generator pretrained")
    hub_source(made)
    return made
