"""The contract every method signs: what it states about itself.

Belongs here: light, typed descriptions; nothing that imports torch, pandas or Dagster. Does not belong: what a
synthesis receives and returns (request.py), any one method's numbers (its `recipe.py`) or computation (`synthesis.py`).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dd_assets.bounds import Range
from dd_assets.datasets.arrays import Normalisation
from dd_assets.diffusion.registry import GENERATORS
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.later import later

Family = Literal["baseline", "selection", "optimisation", "generation"]
Precision = Literal["fp32", "bf16"]
OWN_STARTS = ("noise", "real")
"""Values of a parameter `init` that name no method."""
ENTRIES = {int: "whole numbers", float: "numbers", str: "words"}
"""Types of a list's entries that are checked, and what to call them."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a synthesis reads; the asset's dependencies are derived from this."""

    teacher: bool = False
    committee: bool = False
    """The members of `parameters.pool`, a tuple of names; the empty tuple stands for the setting's whole committee."""
    statistics: bool = False
    """What those members see in the real images (units/statistics.py)."""
    priors: bool = False
    """How well each of those members teaches (units/priors.py)."""
    real_images: bool = False
    generator: bool = False
    """The generator that `parameters.generator` names, one of the setting's or an asset `generator_<name>`."""
    centroids: bool = False
    """The k-means centroids of each class in that generator's latents (units/centroids.py). Parameters that start from
    centroids, or ask the teacher to choose, need those in any case (diffusion/contract.py)."""
    reference_latents: bool = False
    """Real latents of the choice that a property `parameters.choice` names (units/reference_latents.py)."""
    prompts: bool = False
    """The setting's prompt bank of the kind `parameters.bank`, where `parameters.diversify` is set."""
    influence: bool = False
    """A surrogate's kept epochs and the class gradients there (units/surrogate.py, units/class_gradients.py)."""

    def names(self) -> list[str]:
        """The needs that are set, as words for listings."""
        return [entry.name for entry in dataclasses.fields(self) if getattr(self, entry.name)]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a method may know of a dataset setting before any computation."""

    setting: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    size: int
    channels: int
    normalisation: Normalisation
    hflip: bool
    """Whether a mirrored image still belongs to its class (False for digits)."""
    committee: tuple[str, ...] = ()
    """Names of the setting's further teachers, in its order; what a method uses of them is an input of its units."""
    generators: tuple[str, ...] = ()
    """Names of the setting's generators; the one that a method samples from is an input of its units."""


@dataclass(frozen=True, kw_only=True)
class UnderNetworks:
    """What the parameters of every method have in common that optimises images under networks."""

    precision: Literal["fp32", "bf16"] = later("fp32")
    """bf16: mixed precision, about 1.5 times as fast on processors that have it; other images come of it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Parameters for one dataset, with where each set of values comes from."""

    parameters: Any
    """A frozen dataclass of JSON-able fields, the method's own type."""
    source: str
    """Paper table, repository path, or 'own: ...' for values found here."""
    expected: str = ""
    """Published or measured accuracy, with its setting."""
    cost: str = ""
    """Hardware and time."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One published method or baseline."""

    name: str
    title: str
    family: Family
    paper: str
    """Citation with arXiv number or venue."""
    code: str
    """Original repository and commit, or 'none'."""
    differs: str
    """What differs here and why."""
    fidelity: Literal["code", "text"]
    """Checked against the original code, or re-derived from text."""
    summary: str
    """Two sentences and the formula, for the asset description."""
    version: int
    """Bumped by hand when the same parameters would give other images."""
    draws: int
    """Synthesis seeds per cell."""
    per_index: bool
    """True if image k of a class does not depend on IPC: shards are then single IPC indices, shared by all IPCs."""
    needs: Needs
    recipes: Mapping[str, Recipe]
    """Dataset (the setting's `data`) to recipe; 'default' is the fallback for any other dataset."""
    synthesis: str
    """'module:function' of type `Synthesis`, imported only when it runs."""
    ranges: Mapping[str, Range] = field(default_factory=dict)
    """Parameters that are numbers to what each may be; asked before `refuse`, which may rely on them."""
    refuse: Callable[[Any, Facts, int], str | None] = field(default=lambda parameters, facts, ipc: None)
    """(parameters, facts, ipc) to the reason why this cell cannot apply, or None."""
    networks_at_once: int = 1
    """How many networks an iteration keeps activations of, for the memory estimate."""
    through: tuple[Literal["denoiser", "decoder"], ...] = ()
    """The parts of its generator that a guidance's gradient passes through, for the estimates of memory and time."""
    variant_of: str = ""
    """The method whose parameters this one changes (`variant`), or ''."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What it changes."""
    attention: bool = False
    """Whether it looks where its committee members look, which must be vision transformers with a class token."""
    compared: bool = False
    """Of a variant: what it changes shows in the images' variety, so they are measured as the method's own are."""

    @property
    def is_ablation(self) -> bool:
        """Whether it is a switch of another method, and not that method's initial images, which are always a row."""
        return bool(self.variant_of) and self.changes.get("iterations") != 0

    @property
    def has_diversity(self) -> bool:
        """Whether there is a `<method>/diversity`: not of every switch, so that the graph stays readable."""
        return self.compared or not self.is_ablation

    def recipe_for(self, data: str) -> Recipe:
        """The recipe for a dataset; 'default' where the paper has none for it."""
        return self.recipes.get(data) or self.recipes["default"]

    def shards_by_index(self, parameters: Any) -> bool:
        """Whether shards are single IPC indices under these parameters.

        A parameter type that can change the answer (a batch layout) decides with a `per_index` property of its own;
        images of a class that are drawn at once (a property `joint`) are one shard in any case.
        """
        return not getattr(parameters, "joint", False) and bool(getattr(parameters, "per_index", self.per_index))

    def images_of(self, parameters: Any) -> str | None:
        """The method whose image set these parameters start from, or None for noise and real images.

        A parameter type takes part with a field `init`: "noise", "real" or the name of a method.
        """
        start = getattr(parameters, "init", "noise")
        return None if start in OWN_STARTS else start

    def starts(self) -> list[str]:
        """Every method that some recipe starts from, sorted: edges of the graph."""
        found = {self.images_of(recipe.parameters) for recipe in self.recipes.values()}
        return sorted(name for name in found if name)

    def generator_of(self, parameters: Any) -> str:
        """The generator these parameters sample from, '' for a method without one."""
        return str(parameters.generator) if self.needs.generator else ""

    def reads_centroids(self, parameters: Any) -> bool:
        """Whether these parameters read class centroids: the method does, or its images start from them."""
        return self.needs.centroids or self._start_of(parameters) in ("centroid", "nearest")

    def reads_gaussians(self, parameters: Any) -> bool:
        """Whether these parameters start from the distributions of each class's inverted latents."""
        return self._start_of(parameters) == "gaussian"

    def reads_teacher(self, parameters: Any) -> bool:
        """Whether these parameters ask the teacher: the method does, or its sampling lets it choose."""
        return self.needs.teacher or bool(getattr(parameters, "asks_teacher", False))

    def _start_of(self, parameters: Any) -> str:
        """Where the sampling starts, "noise" for a method without one."""
        return str(getattr(parameters, "start", "noise")) if self.needs.generator else "noise"

    def reads_prompts(self, parameters: Any) -> bool:
        """Whether these parameters compose prompts from the setting's bank."""
        return self.needs.prompts and bool(parameters.diversify)

    def references_of(self, parameters: Any) -> str:
        """Which choice of real latents these parameters read (their property `choice`), '' for none.

        Starts from random real latents read those of whole classes.
        """
        if self.needs.reference_latents:
            return str(parameters.choice)
        return "class" if self._start_of(parameters) == "random" else ""

    def generators(self) -> list[str]:
        """Every generator that some recipe samples from, sorted: edges of the graph."""
        return sorted({self.generator_of(recipe.parameters) for recipe in self.recipes.values()} - {""})

    def pool(self, parameters: Any, facts: Facts) -> tuple[str, ...]:
        """The committee members these parameters use, in order; () without a committee."""
        return tuple(parameters.pool) or facts.committee if self.needs.committee else ()

    def reason_against(self, parameters: Any, facts: Facts, ipc: int) -> str | None:
        """Why a cell cannot apply: a generator or committee members the setting lacks, a mosaic that does not fill the
        image, numbers outside their ranges, or the method's own reason.

        What the generator and the members are is not looked at (planning/generation.py, `misfit`).
        """
        wanted_generator = self.generator_of(parameters)
        if wanted_generator in GENERATORS and wanted_generator not in facts.generators:
            return (
                f"{facts.setting} has no generator {wanted_generator}; it has {', '.join(facts.generators) or 'none'}"
                " (docs/generators.md)"
            )
        pool = self.pool(parameters, facts)
        absent = [name for name in pool if name not in facts.committee]
        if absent or (self.needs.committee and not pool):
            wanted = ", ".join(absent) or "any member"
            return f"the committee of {facts.setting} lacks {wanted}; it has {', '.join(facts.committee) or 'none'}"
        if self._start_of(parameters) == "random" and self.references_of(parameters) != "class":
            return "start random reads real latents of whole classes, the references are those of centroids: change one"
        if getattr(parameters, "init", "") == "real" and not self.needs.real_images:
            return "it has no choice of real images of its own: set init to random, which has one"
        stitched = no_mosaic(parameters, facts.size) if self.needs.generator else None
        unusable = out_of_range(parameters, self.ranges) or no_crop(parameters) or stitched
        return unusable or self.refuse(parameters, facts, ipc)


def out_of_range(parameters: Any, ranges: Mapping[str, Range]) -> str | None:
    """The first of these fields whose number is outside its range, with the range, or None."""
    for name, allowed in ranges.items():
        value = getattr(parameters, name)
        if not allowed.holds(value):
            return f"{name}={value}: {allowed.words} is wanted"
    return None


def no_crop(parameters: Any) -> str | None:
    """Why `crop_scale_min` and `crop_scale_max`, shares of the image's area, are no crops, where there are any."""
    low, high = (getattr(parameters, f"crop_scale_{end}", 1.0) for end in ("min", "max"))
    return None if 0 < low <= high <= 1 else f"crops from {low} to {high} of the area: a range within (0, 1] is wanted"


def no_mosaic(parameters: Any, size: int) -> str | None:
    """Why `mosaic` cells per axis do not fill an image of `size` pixels, where there are any."""
    cells = getattr(parameters, "mosaic", 0)
    return f"{size} px is not a multiple of mosaic {cells}" if cells > 0 and size % cells else None


def variant(base: Method, name: str, title: str, differs: str, **changes: Any) -> Method:
    """`base` under another name with the given parameters changed in every recipe; same synthesis, own images."""
    recipes = {
        data: dataclasses.replace(
            recipe,
            parameters=dataclasses.replace(recipe.parameters, **changes),
            source=f"{', '.join(f'{key}={value!r}' for key, value in changes.items())}; otherwise {recipe.source}",
            expected="",
            cost="",
        )
        for data, recipe in base.recipes.items()
    }
    return dataclasses.replace(
        base,
        name=name,
        title=title,
        differs=f"{differs} Otherwise: {base.differs}",
        recipes=recipes,
        variant_of=base.name,
        changes=changes,
    )


def with_overrides(parameters: Any, overrides: Mapping[str, Any], owner: str) -> Any:
    """`parameters` with fields replaced; raises UnknownNameError or InputError naming the field.

    A list becomes a tuple, and its entries what the field's own are. A word must be one of its field's Literal.
    """
    if not isinstance(overrides, Mapping):
        raise InputError(
            f"{owner}: {overrides!r} is no mapping of fields to values", "write fields below it or leave it out"
        )
    known = {item.name: item for item in dataclasses.fields(parameters)}
    words = _words(parameters.__class__)
    changes: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in known:
            raise UnknownNameError.of(f"parameter of {owner}", name, known)
        current = getattr(parameters, name)
        if isinstance(current, tuple) and isinstance(value, (list, tuple)):
            changes[name] = _as_entries(name, value, _kind_of_entries(current, known[name]), owner)
            continue
        kinds = _kinds(current, words.get(name, ()))
        if not any(_same_kind(value, kind) for kind in kinds):
            named = " or ".join(kind.__name__ for kind in kinds)
            raise InputError(f"{owner}: {name}={value!r} is not a {named}", f"give a value like {current!r}")
        # 20 and 20.0 are one value, and have to be one in recipe digests, too.
        changes[name] = _as_float(name, value, owner) if isinstance(current, float) else value
    made = dataclasses.replace(parameters, **changes)
    # After what a type says of its own values, which knows more of them.
    for name in (name for name in changes if name in words):
        value = getattr(made, name)
        for word in value if isinstance(value, tuple) else (value,):
            if word not in words[name]:
                raise UnknownNameError.of(f"{name} of {owner}", str(word), map(str, words[name]))
    return made


@cache
def _words(kind: type) -> dict[str, tuple[Any, ...]]:
    """The values of each field of a dataclass, or of its entries, that is annotated with a closed list."""
    try:
        hints = get_type_hints(kind)
    except NameError:
        # A plug-in may import a name for its type checker alone.
        return {}
    return {name: words for name, hint in hints.items() if (words := _closed(hint))}


def _closed(hint: Any) -> tuple[Any, ...]:
    """The values that an annotation lists, also in a tuple or with None; () where others may be."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) not in (Union, UnionType, tuple):
        return ()
    parts = [(None,) if part is NoneType else _closed(part) for part in get_args(hint) if part is not Ellipsis]
    return tuple(word for part in parts for word in part) if all(parts) else ()


def _kinds(current: Any, words: Sequence[Any]) -> list[type]:
    """The types that a field's value may have: that of its current one and, outside tuples, of its closed list."""
    return list(dict.fromkeys(map(type, (current,) if isinstance(current, tuple) else (current, *words))))


def _same_kind(value: Any, kind: type) -> bool:
    """Whether a value is of a type, as which a whole number counts for a float, and true and false for no number."""
    return type(value) is kind or (kind is float and type(value) is int)


def _kind_of_entries(current: tuple[Any, ...], field: dataclasses.Field[Any]) -> type | None:
    """The type of a tuple's entries, of an empty one by its annotation; None for any that is not of `ENTRIES`."""
    if current:
        return type(current[0]) if type(current[0]) in ENTRIES else None
    return next((kind for kind in ENTRIES if str(field.type) == f"tuple[{kind.__name__}, ...]"), None)


def _as_entries(name: str, values: Sequence[Any], kind: type | None, owner: str) -> tuple[Any, ...]:
    """The values as a tuple of that type; raises InputError for an entry of another."""
    if kind is not None and not all(_same_kind(value, kind) for value in values):
        raise InputError(
            f"{owner}: {name}={list(values)!r} is no list of {kind.__name__}", f"give a list of {ENTRIES[kind]}"
        )
    return tuple(_as_float(name, value, owner) if kind is float else value for value in values)


def _as_float(name: str, value: float, owner: str) -> float:
    """The value as a float; raises InputError for what is not finite, of which no digest can be made."""
    if not abs(value) <= sys.float_info.max:
        raise InputError(f"{owner}: {name} is infinite, too large or no number", "give a finite number")
    return float(value)
