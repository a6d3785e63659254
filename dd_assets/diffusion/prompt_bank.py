"""Prompt banks: from templates, or written by a local language model.

Belongs here: both ways to make a `wording.Bank`. Does not belong: the words of the templates (wording.py), storage
(units/prompt_bank.py), which prompt an image gets (methods/prism_dfkd).

No image takes part: class names, a table of definitions and, where one is configured, a language model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from dd_assets.diffusion.wording import LOOKS, SCENES, Bank, measured_words, words
from dd_assets.errors import InputError

CONTENTS, STYLES = len(SCENES), len(LOOKS)
"""Phrases per class that a language model has to write: as many as the templates have."""
LONGEST = 12
"""Words per phrase at most; what is longer is no phrase but a story."""
TOKENS = 400
"""New tokens per answer."""
NUMBERING = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])?\s*")
REQUIRED = ("config.json", "tokenizer_config.json")

Complete = Callable[[str], str]
"""A language model: a text to how it goes on."""


def template_bank(kind: str, channels: int, defined: Sequence[str]) -> Bank:
    """The same phrases for every class: "measured" has the words of captions.py, "open" scenes and looks."""
    contents, styles = measured_words(channels) if kind == "measured" else (SCENES, LOOKS)
    count = len(defined)
    return Bank(definitions=tuple(defined), contents=(contents,) * count, styles=(styles,) * count)


def written_bank(complete: Complete, classes: Sequence[str], defined: Sequence[str]) -> Bank:
    """Definitions where the table has none, contents and styles of each class, as a language model writes them.

    Raises InputError naming the class where it writes fewer different phrases than the templates have: a bank that
    shrinks in silence would be another method.
    """
    meanings, contents, styles = [], [], []
    for name, known in zip(classes, defined, strict=True):
        said = words(name)
        meaning = known or _phrases(complete(f"In a few words and without a comma, {said} is"), 1, said)[0]
        subject = f"{said} ({meaning})"
        scenes = complete(f"{CONTENTS} different short scenes, poses or surroundings in which to show {subject}:\n1.")
        looks = complete(f"{STYLES} different short styles, lightings or viewpoints of a photograph of {subject}:\n1.")
        meanings.append(meaning)
        contents.append(tuple(_phrases(scenes, CONTENTS, said)))
        styles.append(tuple(_phrases(looks, STYLES, said)))
    return Bank(definitions=tuple(meanings), contents=tuple(contents), styles=tuple(styles))


def _phrases(text: str, wanted: int, name: str) -> list[str]:
    """The first `wanted` different lines of an answer, without numbers, commas and full stops."""
    lines = (NUMBERING.sub("", line).replace(",", "").strip(" .;:\"'") for line in text.splitlines())
    found = list(dict.fromkeys(line for line in lines if line and len(line.split()) <= LONGEST))
    if len(found) < wanted:
        raise InputError(
            f"the language model wrote {len(found)} phrases about {name!r}, {wanted} are needed",
            "use a larger one, or leave `language_model` out for the templates",
        )
    return found[:wanted]


class LanguageModel:
    """A causal language model of `transformers` from a local folder, decoded greedily: equal in, equal out."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """Raises InputError where the folder lacks a file; nothing is fetched."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model_files(path)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(path, local_files_only=True, use_safetensors=True)
        self.model = model.to(device).eval().requires_grad_(False)
        self.device = device

    @torch.no_grad()
    def __call__(self, prompt: str) -> str:
        """What it writes after the prompt, at most TOKENS tokens."""
        given = self.tokenizer(prompt, return_tensors="pt").to(self.device)
        out = self.model.generate(**given, do_sample=False, max_new_tokens=TOKENS)
        return str(self.tokenizer.decode(out[0, given["input_ids"].shape[1] :], skip_special_tokens=True))


def model_files(path: Path) -> list[Path]:
    """The files of a language model's folder, sorted; raises InputError naming what it lacks."""
    missing = [name for name in REQUIRED if not (path / name).is_file()]
    if not list(path.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise InputError(
            f"language model {path} lacks {', '.join(missing)}", "download the whole folder (docs/generators.md)"
        )
    return sorted(file for file in path.rglob("*") if file.is_file() and ".cache" not in file.relative_to(path).parts)
