"""The unit: the smallest thing worth remembering, and the manifest that remembers it.

Belongs here: the typed descriptions of a unit, a verdict, a product and a manifest, and their JSON form.
Does not belong: how any unit is computed (dd_assets/units) or where it is stored (dd_resources/store.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dd_assets.errors import FormatVersionError, VerdictError
from dd_assets.planning.digests import DIGEST_VERSION, plain, text_digest

MANIFEST_FORMAT = 1


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

    def require_usable(self) -> None:
        """Raise VerdictError if a blocking verdict failed."""
        for verdict in self.verdicts:
            if verdict.blocking and not verdict.passed:
                raise VerdictError(
                    f"{self.label or self.recipe['unit']} (recipe {self.recipe_digest[:12]}) was stored with a failed"
                    f" verdict '{verdict.name}': {verdict.message}",
                    "mend its inputs or recipe and materialize it again",
                )

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {"format": MANIFEST_FORMAT, **plain(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Read the stored form; raises FormatVersionError for another format, or one without the unit's sources."""
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
        return cls(**fields)


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
        """Read the stored form."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})
