"""The `prompt_bank` unit: what the prompts of a setting's classes are made of.

Belongs here: planning it, keeping it. Does not belong: how phrases are made (diffusion/prompt_bank.py). It has no
dataset among its inputs: names of classes are all it knows of them.
"""

from __future__ import annotations

import json
from pathlib import Path

from dd_assets.datasets.registry import setting
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.wording import Bank, definitions
from dd_assets.errors import InputError
from dd_assets.planning.digests import ContentHasher, plain, text_digest
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Product, Unit, Verdict
from dd_assets.units.kinds import kind_of
from dd_assets.units.prompted import folder_path
from dd_resources.raw_data import RawData, file_digest

BANK = "prompt_bank.json"
BANKS = ("measured", "open")
"""For generators trained here, whose captions have exactly these words; for those that have read the world."""


def plan(chosen: Setting, kind: str, raw: RawData) -> Unit:
    """A bank of one kind; an open one is the language model's where the setting names one.

    Raises InputError where that folder is incomplete.
    """
    folder = chosen.generators.language_model if kind == "open" else ""
    return Unit(
        name="prompt_bank",
        version=kind_of("prompt_bank").version,
        parameters={
            "kind": kind,
            "written": bool(folder),
            "classes": list(chosen.classes),
            "definitions": list(definitions(chosen.data, chosen.classes)),
            "channels": chosen.channels,
        },
        inputs={"language_model": _digest(folder_path(raw, folder))} if folder else {},
        seed=0,
        setting=chosen.name,
        label=f"prompt bank {kind} {chosen.name}",
    )


def _digest(path: Path) -> str:
    from dd_assets.diffusion.prompt_bank import model_files

    return text_digest({str(file.relative_to(path)): file_digest(file) for file in model_files(path)})


def compute(unit: Unit, work: Work) -> Product:
    """Templates, or the language model's phrases."""
    from dd_assets.diffusion.prompt_bank import LanguageModel, template_bank, written_bank

    given = unit.parameters
    if given["written"]:
        path = folder_path(work.raw, setting(unit.setting).generators.language_model)
        if _digest(path) != unit.inputs["language_model"]:
            raise InputError(f"language model {path} changed after it was planned", "start again")
        bank = written_bank(LanguageModel(path, work.device), given["classes"], given["definitions"])
    else:
        bank = template_bank(given["kind"], given["channels"], given["definitions"])
    subjects = [f"{name}, {meaning}".lower() for name, meaning in zip(given["classes"], bank.definitions, strict=True)]
    return Product(
        content=ContentHasher("prompt_bank").value("bank", plain(bank)).hexdigest(),
        payloads={BANK: json.dumps(plain(bank), indent=1).encode()},
        verdicts=(
            Verdict(
                name="classes_told_apart",
                passed=len(set(subjects)) == len(subjects),
                blocking=True,
                message=f"{len(set(subjects))} different subjects for {len(subjects)} classes",
            ),
        ),
        summary={
            "source": "a language model" if given["written"] else "templates",
            "defined": sum(bool(meaning) for meaning in bank.definitions),
            "classes": len(subjects),
            "combinations": min(bank.combinations(label) for label in range(len(subjects))),
        },
    )


def load(work: Work, input_name: str = "prompts") -> Bank:
    """The bank that is a unit's input."""
    stated = json.loads(work.input_bytes(input_name, BANK))
    return Bank(
        definitions=tuple(stated["definitions"]),
        contents=tuple(map(tuple, stated["contents"])),
        styles=tuple(map(tuple, stated["styles"])),
    )
