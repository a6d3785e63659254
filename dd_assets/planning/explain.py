"""Why a unit is not the one the store holds, in sentences.

Belongs here: comparing a stored recipe with a new one, down to the parameter, and following a changed input to its own
recipe. Does not belong: which asset partitions there are (plan.py), computing anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dd_assets.planning.digests import canonical_json, plain
from dd_assets.planning.unit import Manifest, Unit
from dd_resources.store import ArtefactStore

ABSENT = object()
SHOWN = ("finished", "host", "device", "torch")
"""What is told of the execution that gave another result."""


def explain(store: ArtefactStore, reference_units_old: Mapping[str, str] | Iterable[str], unit_new: Unit) -> list[str]:
    """What differs between `unit_new` and the most similar unit that an asset partition had.

    Empty if nothing does, or if it had that very unit, which is no longer in the store.

    reference_units_old: a Reference's `units` (key to recipe digest), or recipe digests. Parameters have dotted names
    ('protocol.optimiser.rate', list items by position); a changed input is followed through its own recipe as far as
    the store has it. Raises StoreError.
    """
    digests = reference_units_old.values() if isinstance(reference_units_old, Mapping) else reference_units_old
    digests = list(digests)
    if unit_new.digest in digests:
        same = store.lookup(unit_new.digest)
        return [f"its file {name} is gone from the store" for name in (store.lost(same) if same else ())]
    known = [manifest for digest in digests if (manifest := store.lookup(digest)) is not None]
    gone = len(digests) - len(known)
    same_kind = [manifest for manifest in known if manifest.recipe["unit"] == unit_new.name]
    if not same_kind:
        lost = f" ({gone} of its units {'is' if gone == 1 else 'are'} no longer in the store)" if gone else ""
        return [f"the partition had no unit of kind {unit_new.name}{lost}"]
    new, sources = plain(unit_new.recipe), unit_new.sources
    return min((_compare(store, manifest, new, sources) for manifest in same_kind), key=len)


def kept_beside(store: ArtefactStore, recipes: Iterable[str]) -> list[str]:
    """A line per other result of these recipes that the store keeps beside the one in use (`sync --force`)."""
    lines = []
    for recipe in recipes:
        used = store.lookup(recipe)
        for other in store.alternatives(recipe):
            if used is None or other.content != used.content:
                unit = f"{other.label or other.recipe['unit']}: {other.recipe['unit']} (recipe {recipe[:12]})"
                where = ", ".join(f"{name} {other.measurements[name]}" for name in SHOWN if name in other.measurements)
                lines.append(
                    f"{unit} has another result {other.content[:12]} ({where}) beside"
                    f" {used.content[:12] if used else 'none'}"
                )
    return lines


def _compare(
    store: ArtefactStore, old: Manifest, new: Mapping[str, Any], sources: Mapping[str, str], where: str = ""
) -> list[str]:
    """Sentences for two recipes of one kind; `where` says through which inputs they were reached."""
    lines = [
        f"{where}{word} {old.recipe[name]} → {new[name]}"
        for name, word in (
            ("digest_version", "digest version"),
            ("unit", "unit"),
            ("version", f"version of {new['unit']}"),
            ("seed", "seed"),
        )
        if old.recipe[name] != new[name]
    ]
    lines += [
        f"{where}parameter {name}: {before} → {after}"
        for name, before, after in _differences(old.recipe["parameters"], new["parameters"])
    ]
    for name in sorted({*old.recipe["inputs"], *new["inputs"]}):
        before, after = old.recipe["inputs"].get(name), new["inputs"].get(name)
        if before != after:
            lines += _input(store, f"{where}input {name}", (before, old.sources.get(name)), (after, sources.get(name)))
    return lines


def _input(
    store: ArtefactStore, what: str, old: tuple[str | None, str | None], new: tuple[str | None, str | None]
) -> list[str]:
    """Sentences for one changed input, given as (content digest, recipe digest) before and now."""
    (before, old_source), (after, new_source) = old, new
    if before is None or after is None:
        return [f"{what}: {'added' if before is None else 'no longer read'}"]
    plainly = [f"{what}: content {before[:12]} → {after[:12]}"]
    then = store.lookup(old_source) if old_source else None
    now = store.lookup(new_source) if new_source else None
    if then is None or now is None:
        return plainly
    if old_source == new_source:
        return [f"{plainly[0]}: computed again from the same recipe, with another result"]
    return _compare(store, then, now.recipe, now.sources, f"{what}: ") or plainly


def _differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted name, old value, new value) of every leaf that differs; canonical JSON decides, as in the digest."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        pairs = {key: (old.get(key, ABSENT), new.get(key, ABSENT)) for key in sorted({*old, *new})}
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = {str(index): pair for index, pair in enumerate(zip(old, new, strict=True))}
    else:
        if _shown(old) != _shown(new):
            yield name, _shown(old), _shown(new)
        return
    for key, (before, after) in pairs.items():
        yield from _differences(before, after, f"{name}.{key}" if name else key)


def _shown(value: Any) -> str:
    return "absent" if value is ABSENT else canonical_json(value)
