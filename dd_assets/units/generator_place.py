"""Where the files of a pre-trained generator, or of another's text encoder, lie on this machine.

Belongs here: a folder or a snapshot of the hub, asked for before anything is computed, and found again by whoever loads
it; whether a generator can be of use to its setting. Does not belong: the hub itself (diffusion/hub.py), the unit
(units/generator.py), what methods ask of it (planning/generation.py).
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from dd_assets.datasets import registry
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.classes import ClassRow, class_rows, imagenet_rows
from dd_assets.diffusion.hub import hub_source, ready, snapshot
from dd_assets.diffusion.layout import generator_files, reads_text
from dd_assets.diffusion.registry import GeneratorRecipe, PretrainedFolder, latent_shape
from dd_assets.errors import InputError
from dd_assets.planning.engine import MissingFiles
from dd_assets.units.prompted import folder_path
from dd_resources.raw_data import RawData, file_digest


def place_of(raw: RawData, stated: PretrainedFolder, fetch: bool = True) -> Path:
    """The folder that holds the files; those of the hub are fetched where they are missing.

    Raises InputError where they cannot be had, with `fetch` False MissingFiles where they would have to be fetched.
    """
    source = hub_source(stated)
    if source is None:
        return folder_path(raw, stated.folder)
    if not fetch and not ready(source):
        raise MissingFiles(f"{source} is to be fetched")
    return snapshot(source)


def trained_recipe(chosen: Setting, name: str) -> GeneratorRecipe | None:
    """The recipe of a generator that is trained here; None for another, or one that the setting lacks."""
    stated, others = chosen.generators, registry.settings()
    if name not in stated.names():
        return None
    if name == "foreign" and not stated.small:
        return others[stated.foreign].generators.small if stated.foreign in others else None
    return {"small": stated.small, "text": stated.text, "foreign": stated.small, "foreign_text": stated.text}.get(name)


def asked_by_prompts(chosen: Setting, name: str, raw: RawData | None = None) -> bool | None:
    """Whether a setting's generator reads prompts, and not class ids.

    None where nobody knows yet: of one that the setting lacks, and of a folder that is not (all) there.
    """
    if name == "minimax":
        return False
    recipe, folder = trained_recipe(chosen, name), chosen.generators.pretrained
    if recipe is not None:
        return recipe.reads == "text"
    if name != "pretrained" or folder is None or raw is None:
        return None
    try:
        path = place_of(raw, folder, fetch=False)
        generator_files(path, folder.variant)
    except (InputError, MissingFiles):
        return None
    return reads_text(path)


def folder_rows(chosen: Setting, stated: PretrainedFolder, text: bool) -> list[ClassRow]:
    """Which class of a pre-trained generator each label means; raises InputError where one has none."""
    if stated.classes == "imagenet" and not text:
        return imagenet_rows(chosen)
    return class_rows(chosen.classes, {title: number for number, title in enumerate(chosen.classes)}, chosen.name)


def examine(chosen: Setting, name: str, raw: RawData) -> None:
    """Raise InputError where a generator cannot come to be, or be of use to its setting, whatever is computed before.

    That is one whose files are not, or not all, on this machine and cannot come there, whose recipe does not fit the
    images, whose classes are not the setting's, or that cannot be fine-tuned. Digests nothing, fetches nothing.
    """
    recipe, folder = trained_recipe(chosen, name), chosen.generators.pretrained
    if recipe is not None:
        _examine_recipe(chosen, recipe, raw)
    if name == "pretrained" and folder is not None:
        # What is still to be fetched has told of everything that would stop it.
        with contextlib.suppress(MissingFiles):
            path = place_of(raw, folder, fetch=False)
            generator_files(path, folder.variant)
            if reads_text(path):
                _require_transformers(f"generator {folder.folder}")
            folder_rows(chosen, folder, reads_text(path))
    tuning = chosen.generators.minimax
    if name == "minimax" and tuning is not None and asked_by_prompts(chosen, tuning.base, raw):
        raise InputError(
            f"{chosen.name}'s {tuning.base} generator reads prompts, and Minimax diffusion goes on with class ids",
            "name a DiT folder, or the other `base`, in the setting's generators",
        )


def _examine_recipe(chosen: Setting, recipe: GeneratorRecipe, raw: RawData) -> None:
    latent_shape(recipe, chosen.size, chosen.channels)
    if recipe.reads == "text" and recipe.text_encoder:
        from dd_assets.diffusion.text import encoder_files

        encoder_files(folder_path(raw, recipe.text_encoder))
        _require_transformers(f"text encoder {recipe.text_encoder}")


def _require_transformers(what: str) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise InputError(
            f"{what} needs the package transformers", "pip install -c constraints.txt -e '.[text]' in the checkout"
        )


def place_again(
    raw: RawData, imported: PretrainedFolder, now: PretrainedFolder | None, digests: Mapping[str, str]
) -> Path:
    """Where an imported generator's files lie: where they were then or, if not there, where the setting says now.

    Two sources with the same files are one generator, and the store remembers only the first. Raises InputError where
    neither has these files.
    """
    try:
        return _unchanged(raw, imported, digests)
    except InputError:
        if now is None or now == imported:
            raise
        return _unchanged(raw, now, digests)


def _unchanged(raw: RawData, stated: PretrainedFolder, digests: Mapping[str, str]) -> Path:
    path = place_of(raw, stated)
    for name, digest in digests.items():
        if not (path / name).is_file() or file_digest(path / name) != digest:
            raise InputError(f"generator file {path / name} changed", "materialize generator_pretrained again")
    return path
