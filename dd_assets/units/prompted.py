"""What a generator that reads prompts has beside one that knows classes: definitions and a text encoder.

Belongs here: both as parts of a `generator` unit. Does not belong: the unit (units/generator.py), encoders
(diffusion/text.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.registry import GeneratorRecipe
from dd_assets.diffusion.wording import definitions
from dd_assets.errors import InputError
from dd_assets.planning.digests import text_digest
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Unit
from dd_resources.raw_data import RawData, file_digest


def folder_path(raw: RawData, folder: str) -> Path:
    """Where a folder lies: absolute, or below DD_DATA_ROOT, which must then be local."""
    if not Path(folder).is_absolute() and "://" in raw.root:
        raise InputError(f"generator folder {folder!r} below {raw.root}", "give an absolute path on this machine")
    return Path(raw.root) / folder


def prompted(stated: GeneratorRecipe, images: Setting) -> dict[str, Any]:
    """What the captions of a generator that reads text are made of; it knows no class ids."""
    if stated.reads == "class":
        return {}
    return {"class_ids": [], "definitions": list(definitions(images.data, images.classes))}


def encoder_input(stated: GeneratorRecipe, raw: RawData | None) -> dict[str, str]:
    """The digest of a text encoder's folder, where the recipe names one."""
    if stated.reads == "class" or not stated.text_encoder:
        return {}
    assert raw is not None, "a text encoder's folder lies below the raw data"
    return {"text_encoder": text_digest(_folder_digests(folder_path(raw, stated.text_encoder)))}


def _folder_digests(path: Path) -> dict[str, str]:
    from dd_assets.diffusion.text import encoder_files

    return {str(file.relative_to(path)): file_digest(file) for file in encoder_files(path)}


def text_metadata(unit: Unit) -> dict[str, str] | None:
    """What the stored file says of its text encoder: None without one, {} for hashed words."""
    given = unit.parameters
    if given.get("reads", "class") == "class":
        return None
    folder = given.get("text_encoder", "")
    return {"folder": folder, "digest": unit.inputs["text_encoder"]} if folder else {}


def named(unit: Unit, work: Work) -> Any:
    """What the prompts of a training are made of, or None; raises InputError for a folder that changed."""
    from dd_assets.diffusion.producing import Named
    from dd_assets.diffusion.text import HashedText, SentenceText

    text, given = text_metadata(unit), unit.parameters
    if text is None:
        return None
    encoder = SentenceText(checked(work.raw, text), work.device) if text else HashedText(work.device)
    return Named(classes=tuple(given["trained_classes"]), definitions=tuple(given["definitions"]), encoder=encoder)


def checked(raw: RawData, text: Mapping[str, str]) -> Path:
    """The folder of a text encoder; raises InputError where it is not the one that the generator was trained with."""
    path = folder_path(raw, text["folder"])
    if text_digest(_folder_digests(path)) != text["digest"]:
        raise InputError(f"text encoder {path} changed", "materialize the generator again")
    return path
