"""The unit: the smallest thing worth remembering, and the manifest that remembers it.

Belongs here: the typed descriptions of a unit, a verdict, a product and a manifest, and their JSON form.
Does not belong: how any unit is computed (dd_assets/units) or where it is stored (dd_resources/store.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dd_assets.errors import CorruptArtefactError, DDError, FormatVersionError, VerdictError
from dd_assets.planning.digests import DIGEST_VERSION, plain, text_digest

MANIFEST_FORMAT = 1
DIGEST = re.compile(r"[0-9a-f]{64}")
PATH_PART = re.compile(r"[0-9A-Za-z]{1,64}")
"""What a digest that becomes part of a path may be at most."""


RECIPE: tuple[tuple[str, Any], ...] = (
    ("unit", str),
    ("version", int),
    ("parameters", dict),
    ("inputs", dict),
    ("seed", (int, type(None))),
)
"""Fields of a recipe and their types."""


@contextmanager
def _stored(what: str) -> Iterator[None]:
    """Turns what a damaged stored form raises while it is read into CorruptArtefactError."""
    try:
        yield
    except DDError:
        raise
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        problem = f"{type(error).__name__} {' '.join(str(error).split())[:200]}"
        raise CorruptArtefactError(f"{what} is damaged: {problem}", "delete that file and run again") from error


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)


@dataclass(frozen=True)
class Unit:
    """One computation, completely described; equal recipes are computed once."""

    name: str
    """The kind, such as 'teacher' or 'images/sre2l'; never an asset or partition key."""
    version: int
    """Bumped by hand when the computation changes its results."""
    parameters: Mapping[str, Any]
    """Everything that decides the result, resolved, JSON-able."""
    inputs: Mapping[str, str]
    """Input name to content digest."""
    seed: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Input name to the recipe digest it comes from: where to read it, not part of the recipe."""
    setting: str = field(default="", compare=False)
    """The dataset setting whose raw data it reads; the recipe holds that data's content digest instead."""
    label: str = field(default="", compare=False)
    """For people: which asset partition asked first. Not part of the recipe."""

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The JSON form that is hashed."""
        return {
            "digest_version": DIGEST_VERSION,
            "unit": self.name,
            "version": self.version,
            "parameters": plain(self.parameters),
            "seed": self.seed,
            "inputs": dict(self.inputs),
        }

    @cached_property
    def digest(self) -> str:
        """The recipe digest (sha256, hex)."""
        return text_digest(self.recipe)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judgement on a result, reached before it was committed."""

    name: str
    passed: bool
    blocking: bool
    message: str
    figures: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Product:
    """What a computation hands over to be committed."""

    content: str
    """Content digest over meaning."""
    payloads: Mapping[str, bytes]
    """File name to bytes."""
    verdicts: tuple[Verdict, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Small facts that follow from the content (accuracy, rows, counts), JSON-able."""
    measurements: Mapping[str, Any] = field(default_factory=dict)
    """Facts about this execution (steps, memory); never part of a digest."""


@dataclass(frozen=True, kw_only=True)
class Payload:
    """One stored file of a manifest."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record that a unit exists; published last, by one conditional write."""

    recipe_digest: str
    recipe: Mapping[str, Any]
    content: str
    payloads: Mapping[str, Payload]
    verdicts: tuple[Verdict, ...]
    summary: Mapping[str, Any]
    measurements: Mapping[str, Any]
    label: str
    sources: Mapping[str, str] = field(default_factory=dict)
    """The unit's `sources`: input name to the recipe digest that was read."""
    setting: str = ""
    """The unit's `setting`."""

    def unit(self) -> Unit:
        """The unit that this manifest remembers, with all it takes to compute it again."""
        return Unit(
            name=self.recipe["unit"],
            version=self.recipe["version"],
            parameters=self.recipe["parameters"],
            inputs=self.recipe["inputs"],
            seed=self.recipe["seed"],
            sources=self.sources,
            setting=self.setting,
            label=self.label,
        )

    @property
    def total_bytes(self) -> int:
        """Bytes of all payloads."""
        return sum(payload.bytes for payload in self.payloads.values())

    @property
    def seconds(self) -> float:
        """Wall seconds of the computation that was committed."""
        return float(self.measurements.get("seconds", 0.0))

    @property
    def device_seconds(self) -> float:
        """CPU-seconds of a unit computed on a CPU, wall seconds of one on a GPU."""
        if str(self.measurements.get("device", "cpu")).startswith("cpu"):
            return float(self.measurements.get("cpu_seconds", self.seconds))
        return self.seconds

    def require_usable(self) -> None:
        """Raise VerdictError if a blocking verdict failed."""
        require_usable([self])

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {"format": MANIFEST_FORMAT, **plain(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Read the stored form.

        Raises FormatVersionError for another format, or one without the unit's sources; CorruptArtefactError for one
        whose fields are not what they should be, such as a payload whose name is a path.
        """
        with _stored(f"manifest {str(data.get('recipe_digest'))[:12]!r}" if isinstance(data, Mapping) else "manifest"):
            return cls._from_json(data)

    @classmethod
    def _from_json(cls, data: Mapping[str, Any]) -> Manifest:
        if data.get("format") != MANIFEST_FORMAT:
            raise FormatVersionError(
                f"manifest format {data.get('format')!r} is not {MANIFEST_FORMAT}", "use the version that wrote it"
            )
        missing = [name for name in cls.__dataclass_fields__ if name not in data]
        if missing:
            raise FormatVersionError(
                f"manifest {str(data.get('recipe_digest'))[:12]} ({data.get('label') or 'no label'}) was written before"
                f" manifests named {' and '.join(missing)}",
                "delete that file below manifests/, or set DD_STORE to a new place, and run again",
            )
        fields = {name: data[name] for name in cls.__dataclass_fields__}
        fields["payloads"] = {name: Payload(**item) for name, item in data["payloads"].items()}
        fields["verdicts"] = tuple(Verdict(**item) for item in data["verdicts"])
        made = cls(**fields)
        _require(bool(DIGEST.fullmatch(made.recipe_digest)), "its recipe digest is not one")
        _require(all(DIGEST.fullmatch(item.sha256) for item in made.payloads.values()), "a payload has no sha256")
        _require(all(isinstance(item.bytes, int) for item in made.payloads.values()), "a payload has no size")
        _require(all(PATH_PART.fullmatch(source) for source in made.sources.values()), "a source is no digest")
        _require(isinstance(made.content, str) and isinstance(made.label, str), "its content or label is no text")
        for name in ("recipe", "summary", "measurements"):
            _require(isinstance(getattr(made, name), dict), f"its {name} is no mapping")
        _require(all(isinstance(made.recipe[name], kind) for name, kind in RECIPE), "its recipe is not one")
        return made


def require_usable(manifests: Iterable[Manifest]) -> None:
    """Raise VerdictError if a blocking verdict of one of these failed; its remedy names the recipes of all such."""
    failed = [
        (one, verdict) for one in manifests for verdict in one.verdicts if verdict.blocking and not verdict.passed
    ]
    if failed:
        first, verdict = failed[0]
        recipes = list(dict.fromkeys(one.recipe_digest[:12] for one, _ in failed))
        more = f" (and {len(recipes) - 1} more)" if len(recipes) > 1 else ""
        # With neither another input nor another version the recipe is the same, and what is stored under it is final.
        raise VerdictError(
            f"{first.label or first.recipe['unit']} (recipe {recipes[0]}) was stored with a failed verdict"
            f" '{verdict.name}': {verdict.message}{more}",
            "mend its inputs or recipe, or raise the version of mended code, and run again; where the recipe stays the"
            f" same, `dd-assets discard {' '.join(recipes)}` before that",
        )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An asset partition: a named list of units, and one content digest over them."""

    asset: str
    """'/'-joined asset key."""
    partition: str
    units: Mapping[str, str]
    """Unit key within the asset ('draw0', 'draw0/seed0/batch10'…) to recipe digest."""
    contents: Mapping[str, str]
    """The same keys to content digests."""
    declared: bool = True
    """False if a parameter was overridden at launch; the leaderboard keeps such results apart."""

    @cached_property
    def content(self) -> str:
        """Digest over the units' contents: Dagster's data version of the partition."""
        return text_digest([DIGEST_VERSION, "asset", dict(self.contents)])

    @cached_property
    def recipe(self) -> str:
        """Digest over the units' recipes."""
        return text_digest([DIGEST_VERSION, "asset", dict(self.units)])

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {"format": MANIFEST_FORMAT, **plain(self), "content": self.content, "recipe": self.recipe}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reference:
        """Read the stored form; raises CorruptArtefactError for one whose units are not digests by name."""
        with _stored("reference"):
            made = cls(**{name: data[name] for name in cls.__dataclass_fields__})
            _require(isinstance(made.asset, str) and isinstance(made.partition, str), "its asset is no text")
            _require(made.units.keys() == made.contents.keys(), "its units and contents differ")
            _require(all(PATH_PART.fullmatch(digest) for digest in made.units.values()), "a unit is no digest")
            _require(all(isinstance(content, str) for content in made.contents.values()), "a content is no text")
            _require(isinstance(made.declared, bool), "it does not say whether it was declared")
            return made
