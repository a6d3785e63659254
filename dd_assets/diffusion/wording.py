"""Prompts as words: class definitions, what can be asked of an image, and how both become one line.

Belongs here: the table of definitions, the two vocabularies of the template bank, composing; light, no torch.
Does not belong: measuring images (captions.py), embedding words (text.py), banks as results (units/prompt_bank.py).

A prompt is a list of phrases divided by commas: what the class is called, what it is, a content, a style.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).parent.parent / "datasets" / "definitions.csv"

CONTENT = {"slant": ("leaning left", "leaning right"), "spread": ("narrow", "wide")}
"""What stands out in an image's shape, low and high end of a measured axis (captions.py)."""
STYLE = {"tone": ("dark", "bright"), "contrast": ("soft", "crisp")}
"""What stands out in its rendering."""
COLOUR = {"warmth": ("cold", "warm")}
"""Further style of images with three channels."""

SCENES = (
    "close up",
    "seen from afar",
    "seen from the side",
    "seen from above",
    "outdoors in daylight",
    "indoors",
    "in front of a plain background",
    "in its usual surroundings",
    "together with other objects",
    "with people nearby",
    "several of them",
    "partly hidden",
)
"""Content for generators that have seen the world."""
LOOKS = (
    "a photograph",
    "a sharp photograph with soft light",
    "a snapshot with hard shadows",
    "a photograph at dusk",
    "a photograph on an overcast day",
    "a grainy photograph",
    "a wide-angle photograph",
    "a photograph with a blurred background",
)
"""Style for them; photographs all, because the real images are."""


@dataclass(frozen=True, kw_only=True)
class Bank:
    """What prompts of each class are made of."""

    definitions: tuple[str, ...]
    """One per class, in the setting's order; '' where none is known."""
    contents: tuple[tuple[str, ...], ...]
    """Per class."""
    styles: tuple[tuple[str, ...], ...]

    def combinations(self, label: int) -> int:
        """How many different (content, style) a class has."""
        return len(self.contents[label]) * len(self.styles[label])

    def phrases(self, label: int, number: int) -> tuple[str, str]:
        """Content and style of combination `number`, counted in the order of styles within contents."""
        content, style = divmod(number, len(self.styles[label]))
        return self.contents[label][content], self.styles[label][style]


@cache
def _table() -> dict[tuple[str, str], str]:
    with open(TABLE, encoding="utf-8", newline="") as file:
        return {(row["data"], row["class"]): row["definition"] for row in csv.DictReader(file)}


def definitions(data: str, classes: Sequence[str]) -> tuple[str, ...]:
    """What each class of a dataset is, in a few words of our own; '' where the table has none."""
    return tuple(_table().get((data, name), "") for name in classes)


def words(name: str) -> str:
    """A class name as it is said: underscores are spaces."""
    return name.replace("_", " ")


def compose(*phrases: str) -> str:
    """One prompt: the phrases that are not empty, divided by commas."""
    return ", ".join(phrase for phrase in phrases if phrase)


def measured_words(channels: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Contents and styles that captions of images with that many channels can have."""
    styles = {**STYLE, **(COLOUR if channels == 3 else {})}
    return tuple(w for pair in CONTENT.values() for w in pair), tuple(w for pair in styles.values() for w in pair)
