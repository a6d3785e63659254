"""What a folder in diffusers' layout must hold.

Belongs here: finding its files and naming what is missing or cut off; light, no torch. Does not belong: loading it
(folders.py), where it comes from (hub.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dd_assets.errors import InputError

INDEX = "model_index.json"
PARTS = {
    "DiTPipeline": ("transformer", "vae", "scheduler"),
    "StableDiffusionPipeline": ("unet", "vae", "scheduler", "text_encoder", "tokenizer"),
}
WEIGHTS = {"text_encoder": "model"}
"""Stem of the weights file where it is not diffusers' own."""
OWN_WEIGHTS = "diffusion_pytorch_model"
CONFIGS = {"scheduler": ("scheduler_config.json",), "tokenizer": ("tokenizer_config.json",)}
WORDS = ("vocab.json", "merges.txt")
"""Of a tokenizer, unless tokenizer.json holds both."""
SHARD = "-?????-of-?????"
"""The number in a shard's name, as a shell pattern."""
FURTHER = ("added_tokens.json", "special_tokens_map.json")
"""Of a tokenizer too where they are there: they change what it gives."""
HUB = "download it, for example: hf download facebook/DiT-XL-2-256 --local-dir <folder> (docs/generators.md)"


def generator_files(path: Path, variant: str = "") -> list[Path]:
    """The files that a folder's generator consists of, sorted; safety checkers and examples take no part.

    Raises InputError naming the folder, or all missing or incomplete parts of it at once.
    """
    kind = _kind(path)
    found, wrong = [path / INDEX], []
    for part in PARTS[kind]:
        wanted: tuple[str, ...] = CONFIGS.get(part, ("config.json",))
        if part == "tokenizer":
            wanted += ("tokenizer.json",) if (path / part / "tokenizer.json").is_file() else WORDS
            found += [path / part / file for file in FURTHER if (path / part / file).is_file()]
        for file in wanted:
            (found.append(path / part / file) if (path / part / file).is_file() else wrong.append(f"{part}/{file}"))
        if part not in CONFIGS:
            files, missing = _weights(path / part, WEIGHTS.get(part, OWN_WEIGHTS), variant)
            found += files
            wrong += [f"{part}/{text}" for text in missing]
    if wrong:
        raise InputError(f"generator folder {path} ({kind}) lacks {'; '.join(wrong)}", HUB)
    return sorted(found)


def generator_patterns(path: Path, variant: str = "") -> list[str]:
    """Shell patterns, relative to the folder, of all that `generator_files` would take; its index must be there."""
    return [INDEX, *(f"{part}/{name}" for part in PARTS[_kind(path)] for name in _names(part, variant))]


def reads_text(path: Path) -> bool:
    """Whether a complete folder's generator is asked by prompts."""
    return str(_read(path / INDEX)["_class_name"]) == "StableDiffusionPipeline"


def _kind(path: Path) -> str:
    index = path / INDEX
    if not path.is_dir():
        raise InputError(f"generator folder {path} does not exist", HUB)
    if not index.is_file():
        raise InputError(f"generator folder {path} has no {INDEX}", HUB)
    kind = str(_read(index).get("_class_name", ""))
    if kind not in PARTS:
        raise InputError(f"{index} names pipeline {kind!r}", f"supported: {', '.join(PARTS)}")
    return kind


def _names(part: str, variant: str) -> Iterator[str]:
    yield from CONFIGS.get(part, ("config.json",))
    if part == "tokenizer":
        yield from ("tokenizer.json", *WORDS, *FURTHER)
    if part not in CONFIGS:
        stem, between = WEIGHTS.get(part, OWN_WEIGHTS), f".{variant}" if variant else ""
        yield from _weight_names(stem, between)
        # Of shards the variant stands before the number in newer files, behind it in older ones.
        yield from dict.fromkeys((f"{stem}{between}{SHARD}.safetensors", f"{stem}{SHARD}{between}.safetensors"))


def _weight_names(stem: str, between: str) -> tuple[str, str]:
    """(the one file, the index of several)."""
    return f"{stem}{between}.safetensors", f"{stem}.safetensors.index{between}.json"


def _weights(folder: Path, stem: str, variant: str) -> tuple[list[Path], list[str]]:
    """(files, what is wrong) of a part's safetensors, in one file or in shards that an index names."""
    whole, index = (folder / name for name in _weight_names(stem, f".{variant}" if variant else ""))
    if whole.is_file():
        return [whole], [f"{whole.name} ({reason})" for reason in [_cut_off(whole)] if reason]
    if index.is_file():
        shards = sorted({str(name) for name in _read(index).get("weight_map", {}).values()})
        # A name with a path in it could lead to files that are no part of the folder.
        missing = [name for name in shards if Path(name).name != name or not (folder / name).is_file()]
        short = [f"{name} ({_cut_off(folder / name)})" for name in shards if name not in missing]
        return [index, *(folder / name for name in shards)], [*missing, *(text for text in short if "()" not in text)]
    pickles = sorted(file.name for file in folder.glob("*.bin")) if folder.is_dir() else []
    note = f" (there is {pickles[0]}, a pickle, which is never read)" if pickles else ""
    return [], [f"{whole.name}{note}"]


def _cut_off(file: Path) -> str:
    """Why a safetensors file cannot be whole, from its header and its size, or ''."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if 8 + length > size:
            return "incomplete download"
        try:
            header: dict[str, Any] = json.loads(stream.read(length))
        except ValueError:
            return "no safetensors file"
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return "incomplete download" if 8 + length + max(ends, default=0) > size else ""


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON: {error}", HUB) from error
    if not isinstance(found, dict):
        raise InputError(f"{file} is not a JSON object", HUB)
    return found
