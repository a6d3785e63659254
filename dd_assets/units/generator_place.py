"""Where the files of a pre-trained generator, or of another's text encoder, lie on this machine.

Belongs here: a folder or a snapshot of the hub, asked for before anything is computed, and found again by whoever loads
it. Does not belong: the hub itself (diffusion/hub.py), the unit (units/generator.py).
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.hub import hub_source, ready, snapshot
from dd_assets.diffusion.layout import generator_files, reads_text
from dd_assets.diffusion.registry import PretrainedFolder
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


def examine(chosen: Setting, name: str, raw: RawData) -> None:
    """Raise InputError where a generator needs files that are not, or not all, on this machine and cannot come there.

    Digests nothing, fetches nothing.
    """
    stated = chosen.generators
    recipe = {"small": stated.small, "text": stated.text, "foreign_text": stated.text}.get(name)
    if recipe is not None and recipe.reads == "text" and recipe.text_encoder:
        from dd_assets.diffusion.text import encoder_files

        encoder_files(folder_path(raw, recipe.text_encoder))
        _require_transformers(f"text encoder {recipe.text_encoder}")
    if name == "pretrained" and stated.pretrained is not None:
        # What is still to be fetched has told of everything that would stop it.
        with contextlib.suppress(MissingFiles):
            path = place_of(raw, stated.pretrained, fetch=False)
            generator_files(path, stated.pretrained.variant)
            if reads_text(path):
                _require_transformers(f"generator {stated.pretrained.folder}")


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
