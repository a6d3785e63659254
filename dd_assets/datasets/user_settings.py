"""Settings that a user writes in YAML.

Belongs here: reading the file DD_DATASETS names, merging an entry over its base, refusing what cannot work.
Does not belong: the defaults themselves (catalogue.py), files on disk (readers/).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.generator_settings import as_generator_fields, read_generators
from dd_assets.datasets.setting import (
    DEFAULT_IPC,
    IMAGENET_STATISTICS,
    PRIOR_SOURCES,
    Setting,
    TeacherChoice,
    tune_variant,
)
from dd_assets.diffusion.registry import GENERATORS
from dd_assets.errors import DDError, InputError, UnknownNameError
from dd_assets.evaluation.preset import changed
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.methods.contract import with_overrides
from dd_assets.methods.registry import method
from dd_assets.models.registry import TeacherRecipe, architecture
from dd_assets.studies.registry import study
from dd_assets.yaml_files import read_yaml

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SEE = "see docs/datasets.md for the fields and their types"
FIELDS = (
    "base",
    "data",
    "reader",
    "options",
    "classes",
    "size",
    "channels",
    "mean",
    "std",
    "hflip",
    "ipc",
    "teacher",
    "committee",
    "priors",
    "recipes",
    "studies",
    "generators",
    "tune",
    "students",
    "labels",
    "trainings",
    "draws",
    "first_seed",
    "views",
    "protocol",
)
REQUIRED = ("reader", "classes", "size", "teacher", "students")
MERGED = ("options", "teacher", "protocol", "generators")
"""Fields whose entries replace the base's one by one; any other field replaces the base's as a whole."""
TEACHER_FIELDS = ("architecture", "recipe", "weights", "seed", "name")
MAX_SIZE = 1024


def read_settings(path: Path) -> list[Setting]:
    """The settings of a YAML file, in its order; raises InputError or UnknownNameError naming the entry and field."""
    try:
        if not path.is_file():
            raise InputError(f"DD_DATASETS={path} is not a file", "point it at a YAML file of settings or unset it")
        content = read_yaml(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", "correct it or DD_DATASETS") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must map setting names to their fields", "see docs/datasets.md")
    found: list[Setting] = []
    for name, fields in content.items():
        where = f"{path}: {name}"
        entry = _setting(where, str(name), fields)
        tune = fields.get("tune", False)
        if not isinstance(tune, bool):
            raise InputError(
                f"{where}: tune={tune!r}", "give true for a further setting with a validation part, or false"
            )
        found += [entry, tune_variant(entry)] if tune else [entry]
    return found


def _setting(where: str, name: str, fields: Any) -> Setting:
    if not NAME.fullmatch(name):
        raise InputError(f"{where} is not a usable name", "letters, digits, '_', '-' and '.', at most 64")
    if name == "all":
        # What the store calls the reference of an asset without partitions.
        raise InputError(f"{where} is not a usable name", "'all' stands for every dataset: choose another")
    if not isinstance(fields, dict):
        raise InputError(f"{where} must be a mapping of fields", "see docs/datasets.md")
    for key in fields:
        if key not in FIELDS:
            raise UnknownNameError.of(f"field of {where}", str(key), FIELDS)
    for key in MERGED:
        if not isinstance(fields.get(key, {}), dict):
            raise InputError(f"{where}: {key} must be a mapping", SEE)
    merged = _over_base(where, fields)
    lacking = [key for key in REQUIRED if key not in merged]
    if lacking:
        raise InputError(f"{where} lacks {', '.join(lacking)}", "add them or name a base; see docs/datasets.md")
    try:
        return _build(where, name, merged)
    except DDError as error:
        if where in error.problem:
            raise
        # Registries of methods, networks and generators know neither the file nor the setting that names an entry.
        raise type(error)(f"{where}: {error.problem}", error.remedy) from error
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{where}: {error}", SEE) from error


def _over_base(where: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields laid over those of their base; another reader starts with no options of the base's."""
    if "base" not in fields:
        return dict(fields)
    name = str(fields["base"])
    if name not in CATALOGUE:
        raise UnknownNameError.of(f"base of {where}", name, CATALOGUE)
    base = as_fields(CATALOGUE[name])
    if fields.get("reader", base["reader"]) != base["reader"]:
        base["options"] = {}
    for key, value in fields.items():
        base[key] = _laid_over(base[key], value) if key in MERGED else value
    return base


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged


def as_fields(entry: Setting) -> dict[str, Any]:
    """A setting in the form in which YAML states it."""
    protocol = asdict(entry.protocol)
    protocol.pop("views")
    return {
        "base": entry.name,
        "data": entry.data,
        "reader": entry.reader,
        "options": dict(entry.options),
        "classes": list(entry.classes),
        "size": entry.size,
        "channels": entry.channels,
        "mean": list(entry.normalisation.mean),
        "std": list(entry.normalisation.std),
        "hflip": entry.hflip,
        "ipc": list(entry.ipc),
        "teacher": asdict(entry.teacher),
        "committee": [asdict(choice) for choice in entry.committee],
        "priors": entry.priors,
        "recipes": {name: dict(values) for name, values in entry.recipes.items()},
        "studies": {name: dict(axes) for name, axes in entry.studies.items()},
        "generators": as_generator_fields(entry.generators),
        "students": list(entry.students),
        "labels": list(entry.labels),
        "trainings": entry.trainings,
        "draws": entry.draws,
        "first_seed": entry.first_seed,
        "views": entry.protocol.views.preset,
        "protocol": protocol,
    }


def _build(where: str, name: str, fields: Mapping[str, Any]) -> Setting:
    channels = _whole(where, "channels", fields.get("channels", 3), 1, 3)
    hflip = fields.get("hflip", True)
    if channels == 2 or not isinstance(hflip, bool):
        raise InputError(f"{where}: channels={channels}, hflip={hflip!r}", "channels 1 or 3, hflip true or false")
    preset = str(fields.get("views", "rd3"))
    if preset not in VIEW_PRESETS:
        raise UnknownNameError.of(f"view preset of {where}", preset, VIEW_PRESETS)
    views = VIEW_PRESETS[preset] if hflip else replace(VIEW_PRESETS[preset], hflip=0.0)
    chosen = Setting(
        name=name,
        data=str(fields.get("data", name)),
        reader=str(fields["reader"]),
        options=_options(where, fields.get("options", {})),
        classes=_classes(where, fields["classes"]),
        size=_whole(where, "size", fields["size"], 4, MAX_SIZE),
        channels=channels,
        normalisation=_normalisation(where, fields, channels),
        hflip=hflip,
        ipc=tuple(
            _whole(where, "ipc", value, 1, 10**6) for value in _listed(where, "ipc", fields.get("ipc", DEFAULT_IPC))
        ),
        teacher=_teacher(where, fields["teacher"]),
        committee=_committee(where, fields.get("committee", ())),
        priors=fields.get("priors", "measured"),
        recipes=_recipes(where, fields.get("recipes", {})),
        studies=_studies(where, fields.get("studies", {})),
        generators=read_generators(where, fields.get("generators", {})),
        students=tuple(str(student) for student in _listed(where, "students", fields["students"])),
        labels=tuple(_listed(where, "labels", fields.get("labels", ("soft", "hard")))),
        trainings=_whole(where, "trainings", fields.get("trainings", 3), 1, 1000),
        draws=_whole(where, "draws", fields.get("draws", 0), 0, 1000),
        first_seed=_whole(where, "first_seed", fields.get("first_seed", 0), 0, 2**31),
        protocol=_protocol(where, Protocol(views=views), fields.get("protocol", {})),
    )
    factor = chosen.protocol.views.shuffle_factor
    if chosen.size % factor:
        raise InputError(
            f"{where}: patch shuffle by {factor} would lose pixels at {chosen.size} px",
            "choose `views: rded_factor`, or a `shuffle_factor` that divides the size below `views` of `protocol`",
        )
    if chosen.priors not in PRIOR_SOURCES:
        raise UnknownNameError.of(f"priors of {where}", str(chosen.priors), PRIOR_SOURCES)
    for network in (*(choice.architecture for choice in (chosen.teacher, *chosen.committee)), *chosen.students):
        architecture(network).require_size(chosen.size)
    for label in chosen.labels:
        if label not in ("soft", "hard"):
            raise UnknownNameError.of(f"label of {where}", label, ("soft", "hard"))
    return chosen


def _protocol(where: str, base: Protocol, stated: Any) -> Protocol:
    """The protocol with the stated fields; what stands below its `views` changes those of the setting's preset."""
    if not isinstance(stated, dict):
        raise InputError(f"{where}: protocol must be a mapping of fields", SEE)
    views = stated.get("views", {})
    with_overrides(base.views, views, f"{where}, protocol, views")
    if views.get("hflip", 0) > base.views.hflip:
        raise InputError(
            f"{where}, protocol, views: hflip={views['hflip']} is above {base.views.hflip}",
            "give less; where a mirrored image keeps its class the setting has `hflip: true`",
        )
    protocol = with_overrides(base, {**stated, "views": base.views}, f"{where}, protocol")
    protocol.require_read()
    return changed(protocol, {"views": views})


def _options(where: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """The reader's options; raises InputError for a value that YAML took for a date or another type of its own."""
    for name, value in stated.items():
        if not _is_plain(value):
            raise InputError(f"{where}, options: {name} is a {type(value).__name__}", f'quote it: {name}: "{value}"')
    return dict(stated)


def _is_plain(value: Any) -> bool:
    """Whether a value is text, a number, true or false, nothing, or a list or mapping of such."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float))


def _recipes(where: str, stated: Any) -> dict[str, dict[str, Any]]:
    """Parameters by method.

    Raises UnknownNameError or InputError for a method, parameter or generator that does not exist: an edge of the graph
    is made of the last.
    """
    if not isinstance(stated, dict) or not all(isinstance(values, dict) for values in stated.values()):
        raise InputError(f"{where}: recipes must map methods to parameters", SEE)
    for name, values in stated.items():
        chosen = method(str(name))
        made = with_overrides(chosen.recipe_for("default").parameters, values, f"{where}, recipes, {name}")
        generator, known = chosen.generator_of(made), {*GENERATORS, *chosen.generators()}
        if generator and generator not in known:
            raise UnknownNameError.of(f"generator of {name}", generator, known)
    return {str(name): dict(values) for name, values in stated.items()}


def _studies(where: str, stated: Any) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Axes by study; raises UnknownNameError or InputError for a study, axis or value that does not exist."""
    if not isinstance(stated, dict) or not all(isinstance(axes, dict) for axes in stated.values()):
        raise InputError(f"{where}: studies must map studies to axes", SEE)
    for name, axes in stated.items():
        known: dict[str, Callable[[Any], object]] = {
            "method": method,
            "ipc": lambda value: _whole(where, "ipc", value, 1, 10**6),
            "student": architecture,
            "variants": study(str(name)).variant,
        }
        for axis, values in axes.items():
            if axis not in known:
                raise UnknownNameError.of(f"axis of {where}, studies, {name}", str(axis), known)
            for value in _listed(where, f"{axis} of {name}", values):
                known[axis](value)
    return {str(name): {axis: tuple(values) for axis, values in axes.items()} for name, axes in stated.items()}


def _listed(where: str, field: str, value: Any) -> list[Any]:
    """A list with at least one entry and none twice."""
    if not isinstance(value, (list, tuple)) or not value or len({str(entry) for entry in value}) != len(value):
        raise InputError(f"{where}: {field}={value!r}", "give a list of one or more different entries, [a, b]")
    return list(value)


def _whole(where: str, field: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{where}: {field}={value!r}", f"give a whole number from {low} to {high}")
    return value


def _classes(where: str, value: Any) -> tuple[str, ...]:
    """Class names; numbers become text, but true, false and null are YAML's reading of yes, no and ~."""
    names = _listed(where, "classes", value)
    if len(names) < 2:
        raise InputError(f"{where}: one class", "name two or more")
    for name in names:
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise InputError(f"{where}: class {name!r} is no text", f'quote it: "{name}"')
        text = str(name)
        if not text.strip() or text in (".", "..") or any(mark in text for mark in "/\\") or not text.isprintable():
            raise InputError(f"{where}: class {text!r}", "names must not be empty, '..', or hold '/', '\\' or controls")
    return tuple(str(name) for name in names)


def _normalisation(where: str, fields: Mapping[str, Any], channels: int) -> Normalisation:
    default = IMAGENET_STATISTICS if channels == 3 else Normalisation(mean=(0.5,), std=(0.5,))
    mean, std = (
        tuple(float(value) for value in fields.get(field, getattr(default, field))) for field in ("mean", "std")
    )
    fits = len(mean) == len(std) == channels
    if not fits or not all(0 <= value <= 1 for value in mean) or not all(0 < value <= 1 for value in std):
        raise InputError(
            f"{where}: mean={list(mean)}, std={list(std)} for {channels} channels",
            "one number per channel, in units where white is 1 (divide by 255)",
        )
    return Normalisation(mean=mean, std=std)


def _teacher(where: str, fields: Mapping[str, Any]) -> TeacherChoice:
    for key in fields:
        if key not in TEACHER_FIELDS:
            raise UnknownNameError.of(f"teacher field of {where}", str(key), TEACHER_FIELDS)
    if "architecture" not in fields:
        raise InputError(f"{where}: its teacher lacks an architecture", "name one, such as resnet18")
    weights = fields.get("weights")
    if weights is not None and not isinstance(weights, str):
        raise InputError(f"{where}: weights={weights!r}", "name a .safetensors file or leave it out")
    recipe = with_overrides(TeacherRecipe(epochs=50), fields.get("recipe", {}), f"{where}, teacher recipe")
    return TeacherChoice(
        architecture=str(fields["architecture"]),
        recipe=recipe,
        weights=weights,
        seed=_whole(where, "teacher seed", fields.get("seed", 0), 0, 2**31),
        name=str(fields.get("name", "")),
    )


def _committee(where: str, members: Any) -> tuple[TeacherChoice, ...]:
    """Members, each stated as a teacher is; their names (by default the architectures) must differ."""
    if not isinstance(members, (list, tuple)) or not all(isinstance(fields, dict) for fields in members):
        raise InputError(f"{where}: committee must be a list of teachers", SEE)
    chosen = tuple(_teacher(f"{where}, committee", fields) for fields in members)
    twice = [key for key, count in Counter(choice.key for choice in chosen).items() if count > 1]
    if twice:
        raise InputError(f"{where}: two members of the committee are called {twice[0]}", "give one of them a `name`")
    return chosen
