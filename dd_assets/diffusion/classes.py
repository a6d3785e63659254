"""One table: dataset label, generator class, prompt.

Belongs here: which class of a generator each label of a setting means, and what a prompt calls it; light, no torch.
Does not belong: names and WordNet ids themselves (datasets/class_names), text encoders.

Repositories of these methods have had labels off by a folder order here (generation reference §1.9). Labels are the
setting's own, by position; a generator's classes are found by WordNet id or by name, never by position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dd_assets.datasets.names import class_folders
from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class of a setting as a generator knows it."""

    label: int
    name: str
    generator_class: int


def class_rows(labels: Sequence[str], known: Mapping[str, int], whose: str) -> list[ClassRow]:
    """A row per dataset label, in order; raises InputError for names twice or unknown to the generator."""
    _refuse_twice(labels, f"class names of {whose}")
    absent = [name for name in labels if name not in known]
    if absent:
        raise InputError(
            f"the generator of {whose} knows no class {', '.join(map(repr, absent[:5]))}",
            f"it knows {', '.join(list(known)[:10])}",
        )
    return [ClassRow(label=n, name=name, generator_class=known[name]) for n, name in enumerate(labels)]


def imagenet_rows(chosen: Setting) -> list[ClassRow]:
    """The rows of a setting whose folders are WordNet ids, for a generator of ImageNet-1K's 1,000 classes.

    Two folders of one class, or a class without a WordNet id of ImageNet-1K, raise InputError.
    """
    ids = {folder: number for number, folder in enumerate(class_folders("imagenet1k").values())}
    stated = chosen.options.get("folders")
    table = class_folders(stated) if isinstance(stated, str) else stated
    if not isinstance(table, Mapping):
        raise InputError(
            f"{chosen.name} names no WordNet ids for its classes",
            "give its reader the option `folders`, or the generator `classes: same`",
        )
    folders = [str(table.get(name, "")) for name in chosen.classes]
    _refuse_twice(folders, f"folders of {chosen.name}")
    found = class_rows(folders, ids, chosen.name)
    _refuse_twice(chosen.classes, f"class names of {chosen.name}")
    return [
        ClassRow(label=row.label, name=name, generator_class=row.generator_class)
        for row, name in zip(found, chosen.classes, strict=True)
    ]


def prompts(names: Sequence[str], template: str) -> tuple[str, ...]:
    """A prompt per class, '{name}' standing for its name; raises InputError where two classes get the same one.

    Underscores are read as spaces. D4M keyed its prototypes by the prompt, so that ImageNet's two cranes and two
    maillots became one class each; here the label is the key and equal prompts are refused.
    """
    made = tuple(template.replace("{name}", name.replace("_", " ")) for name in names)
    _refuse_twice(made, "prompts")
    return made


def _refuse_twice(values: Sequence[str], what: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise InputError(f"{what}: {twice[0]!r} stands for {Counter(values)[twice[0]]} classes", "make them differ")
