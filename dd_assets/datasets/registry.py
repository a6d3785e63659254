"""The dataset axis: which settings exist and what each consists of.

Belongs here: settings as data (built-in and from the user's YAML); light, no torch, no image decoding.
Does not belong: reading images (readers.py), method parameters (methods/<name>/recipe.py).

A setting is data, resolution and backbone roles under one name; settings that share data share content digests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.evaluation.protocol import VIEW_PRESETS, Protocol
from dd_assets.models.registry import TeacherRecipe, architecture

DEFAULT_IPC = (1, 10, 50, 100)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
IMAGENET_STATISTICS = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CIFAR10_STATISTICS = Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


@dataclass(frozen=True, kw_only=True)
class TeacherChoice:
    """The teacher's architecture, and either how it is trained or which file it comes from."""

    architecture: str
    recipe: TeacherRecipe
    """Training values; of an imported teacher only `accuracy_floor` is used."""
    weights: str | None = None
    """A .safetensors file, relative to DD_DATA_ROOT or absolute; None trains the teacher here."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One entry of the dataset axis."""

    name: str
    data: str
    """The dataset's name as method recipes know it (digits, cifar10…)."""
    reader: str
    """An entry of READERS in readers.py."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The reader's own options (paths relative to DD_DATA_ROOT, split sizes…)."""
    classes: tuple[str, ...]
    size: int
    channels: int = 3
    normalisation: Normalisation = IMAGENET_STATISTICS
    hflip: bool = True
    """Whether a mirrored image keeps its class."""
    ipc: tuple[int, ...] = DEFAULT_IPC
    teacher: TeacherChoice
    students: tuple[str, ...]
    labels: tuple[str, ...] = ("soft", "hard")
    protocol: Protocol

    def student(self, name: str) -> str:
        """The name if this setting scores that student; raises UnknownNameError."""
        if name not in self.students:
            raise UnknownNameError.of(f"student of {self.name}", name, self.students)
        return name


def _digits() -> Setting:
    views = replace(VIEW_PRESETS["rd3"], hflip=0.0)
    return Setting(
        name="digits",
        data="digits",
        reader="digits",
        classes=tuple("0123456789"),
        size=8,
        channels=1,
        # Mean and standard deviation of the training split's pixels, in [0, 1].
        normalisation=Normalisation(mean=(0.305,), std=(0.376,)),
        hflip=False,
        teacher=TeacherChoice(
            architecture="convnet2_w64",
            recipe=TeacherRecipe(
                epochs=20,
                batch=64,
                learning_rate=0.1,
                pad_crop=1,
                hflip=False,
                accuracy_floor=0.97,
                source="own: 1,438 training images, 8x8; five settings compared, all above 99 %, 4 to 60 epochs",
            ),
        ),
        students=("convnet2_w64", "resnet18"),
        protocol=Protocol(views=views),
    )


@cache
def settings() -> dict[str, Setting]:
    """All enabled settings by name: `digits` and those of the YAML file that DD_DATASETS names."""
    known = {"digits": _digits()}
    path = os.environ.get("DD_DATASETS")
    for entry in _user_settings(Path(path)) if path else ():
        if entry.name in known:
            raise InputError(f"{path}: the name {entry.name!r} is taken", "give the setting another name")
        known[entry.name] = entry
    return known


def setting(name: str) -> Setting:
    """The setting of that name; raises UnknownNameError."""
    if name not in settings():
        raise UnknownNameError.of("dataset", name, settings())
    return settings()[name]


def ipc_values() -> tuple[int, ...]:
    """The IPC axis: the union of all settings' values, ascending."""
    return tuple(sorted({ipc for entry in settings().values() for ipc in entry.ipc}))


def _user_settings(path: Path) -> list[Setting]:
    import yaml

    if not path.is_file():
        raise InputError(f"DD_DATASETS={path} is not a file", "point it at a YAML file of settings or unset it")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}".replace("\n", " "), "mend the line named") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must map setting names to their fields", "see docs/datasets.md")
    return [_user_setting(path, str(name), fields) for name, fields in content.items()]


_FIELDS = {"data", "reader", "options", "classes", "size", "channels", "mean", "std", "hflip", "ipc", "teacher"} | {
    "students",
    "labels",
    "views",
    "protocol",
}


def _user_setting(path: Path, name: str, fields: Any) -> Setting:
    where = f"{path}: {name}"
    if not NAME.fullmatch(name):
        raise InputError(f"{where} is not a usable name", "letters, digits, '_', '-' and '.', at most 64")
    if not isinstance(fields, dict):
        raise InputError(f"{where} must be a mapping of fields", "see docs/datasets.md")
    for key in fields:
        if key not in _FIELDS:
            raise UnknownNameError.of(f"field of {where}", key, _FIELDS)
    missing = [key for key in ("reader", "classes", "size", "teacher", "students") if key not in fields]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}", "add them; see docs/datasets.md")
    try:
        return _build_setting(name, fields)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{where}: {error}", "see docs/datasets.md for the fields and their types") from error


def _build_setting(name: str, fields: dict[str, Any]) -> Setting:
    teacher = dict(fields["teacher"])
    recipe = TeacherRecipe(**({"epochs": 50} | dict(teacher.get("recipe", {}))))
    channels = int(fields.get("channels", 3))
    default = IMAGENET_STATISTICS if channels == 3 else Normalisation(mean=(0.5,), std=(0.5,))
    hflip = bool(fields.get("hflip", True))
    preset = fields.get("views", "rd3")
    if preset not in VIEW_PRESETS:
        raise UnknownNameError.of(f"view preset of {name}", preset, VIEW_PRESETS)
    views = VIEW_PRESETS[preset] if hflip else replace(VIEW_PRESETS[preset], hflip=0.0)
    chosen = Setting(
        name=name,
        data=str(fields.get("data", name)),
        reader=str(fields["reader"]),
        options=dict(fields.get("options", {})),
        classes=tuple(str(entry) for entry in fields["classes"]),
        size=int(fields["size"]),
        channels=channels,
        normalisation=Normalisation(
            mean=tuple(float(v) for v in fields.get("mean", default.mean)),
            std=tuple(float(v) for v in fields.get("std", default.std)),
        ),
        hflip=hflip,
        ipc=tuple(int(v) for v in fields.get("ipc", DEFAULT_IPC)),
        teacher=TeacherChoice(architecture=teacher["architecture"], recipe=recipe, weights=teacher.get("weights")),
        students=tuple(fields["students"]),
        labels=tuple(fields.get("labels", ("soft", "hard"))),
        protocol=Protocol(views=views, **dict(fields.get("protocol", {}))),
    )
    for network in (chosen.teacher.architecture, *chosen.students):
        architecture(network)
    if not chosen.ipc or min(chosen.ipc) < 1:
        raise ValueError("ipc must list numbers of at least 1")
    return chosen
