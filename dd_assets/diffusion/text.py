"""Text encoders of generators trained here: a prompt to one vector.

Belongs here: the hashed encoder of our own, a sentence encoder from a local folder. Does not belong: Stable Diffusion's
(folders.py), what prompts say (wording.py).

The hashed encoder is no language model: it knows which words and pairs of words stand in a prompt and nothing of what
they mean. Two prompts are alike as far as they share words, which is enough for a generator whose captions are made of
a fixed vocabulary, and for no other.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dd_assets import randomness
from dd_assets.diffusion.generator import TextEncoder
from dd_assets.errors import InputError
from dd_assets.shapes import Float

HASHED_WIDTH = 128
"""Numbers per prompt; at that width the directions of two n-grams have a cosine of 0 ± .09."""
WORD = re.compile(r"[a-z0-9]+")
REQUIRED = ("config.json", "model.safetensors", "tokenizer_config.json")
"""What a sentence encoder's folder must have (transformers' layout)."""
POOLING, MEAN = "1_Pooling/config.json", "pooling_mode_mean_tokens"
"""Where sentence-transformers states how a prompt's tokens become one vector, and its word for what is done here."""


class HashedText:
    """n-grams through a fixed seeded projection: the sum of a random direction per n-gram, at unit variance."""

    width = HASHED_WIDTH

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, prompts: Sequence[str]) -> Float[Tensor, "n 1 d"]:
        """Float (n, 1, width); the empty prompt is 0."""
        return torch.stack([_hashed(prompt, self.width) for prompt in prompts])[:, None].to(self.device)


def ngrams(prompt: str) -> list[str]:
    """The different words of a prompt and pairs of neighbours, sorted; a comma divides neighbours, case does not count.

    So "dark, wide" and "wide, dark" are one prompt, and "leaning left" is more than its two words.
    """
    found: set[str] = set()
    for phrase in prompt.lower().split(","):
        spoken = WORD.findall(phrase)
        found |= {*spoken, *(" ".join(pair) for pair in itertools.pairwise(spoken))}
    return sorted(found)


@functools.lru_cache(maxsize=4096)
def _direction(ngram: str, width: int) -> Tensor:
    return torch.from_numpy(randomness.normal(width, 0, "hashed_text", ngram))


def _hashed(prompt: str, width: int) -> Tensor:
    found = ngrams(prompt)
    if not found:
        return torch.zeros(width)
    total = torch.stack([_direction(ngram, width) for ngram in found]).sum(dim=0)
    return total * (math.sqrt(width) / total.norm())


class SentenceText:
    """A sentence encoder of `transformers`: the mean of the last hidden states over a prompt's tokens."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """Raises InputError where the folder lacks a file; nothing is fetched."""
        from transformers import AutoModel, AutoTokenizer

        encoder_files(path)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = AutoModel.from_pretrained(path, local_files_only=True, use_safetensors=True)
        self.model = model.to(device).eval().requires_grad_(False)
        self.width, self.device = int(model.config.hidden_size), device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Float[Tensor, "n 1 d"]:
        """Float (n, 1, width) at unit variance; the empty prompt is 0, as that of the hashed encoder."""
        given = self.tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt").to(self.device)
        states = self.model(**given).last_hidden_state.float()
        mask = given["attention_mask"][..., None].float()
        mean = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        scaled = mean * (math.sqrt(self.width) / mean.norm(dim=1, keepdim=True).clamp(min=1e-12))
        said = torch.tensor([bool(prompt.strip()) for prompt in prompts], device=self.device)
        return (scaled * said[:, None])[:, None]


def encoder_files(path: Path) -> list[Path]:
    """The files of a sentence encoder's folder, sorted; raises InputError naming what it lacks, or another pooling."""
    missing = [name for name in REQUIRED if not (path / name).is_file()]
    if missing:
        raise InputError(
            f"text encoder {path} lacks {', '.join(missing)}", "download the whole folder (docs/generators.md)"
        )
    pooling = path / POOLING
    if pooling.is_file() and not json.loads(pooling.read_text("utf-8")).get(MEAN, True):
        raise InputError(
            f"text encoder {path} is made for another pooling than the mean over tokens ({POOLING})",
            "take a sentence encoder with mean pooling",
        )
    return sorted(file for file in path.rglob("*") if file.is_file() and ".cache" not in file.relative_to(path).parts)


Locate = Callable[[Mapping[str, Any]], Path]
"""From what a generator's metadata says of its text encoder to the folder, checked."""


def encoder_of(stated: Mapping[str, Any], locate: Locate | None, device: str) -> TextEncoder:
    """The encoder that a generator's metadata names: {} is the hashed one, otherwise a `folder`.

    Raises InputError where a folder is named and the caller cannot say where it lies.
    """
    if not stated:
        return HashedText(device)
    if locate is None:
        raise InputError(f"the generator's text encoder lies in folder {stated['folder']!r}", "say where that is")
    return SentenceText(locate(stated), device)
