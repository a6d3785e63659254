"""Garbage collection: removing what no deployment, pin, running computation or recent work needs.

Belongs here: what is reachable, what is not and why, and removing it in an order that harms nobody midway.
Does not belong: damaged payloads (the store quarantines those on `discard`), deciding to run (it is a dry run unless
asked otherwise).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dd_assets.errors import CorruptArtefactError, InputError
from dd_assets.planning.unit import Manifest
from dd_resources.files import Entry
from dd_resources.leases import DEFAULT_SECONDS, Watcher, lease_facts, leased_recipes
from dd_resources.store import ALTERNATIVES, ArtefactStore, manifest_path

DAY = 86_400.0
LOOKS_PER_TIMEOUT = 4

Removal = tuple[str, int, str]
"""(path relative to the store, bytes, why it goes)."""


def collect(
    store: ArtefactStore,
    younger_than_days: float = 14,
    dry_run: bool = True,
    lease_seconds: float = DEFAULT_SECONDS,
) -> list[Removal]:
    """What can go, in the order of removal; with `dry_run=False` it is removed.

    Kept: units that references of any namespace or pins name, units whose lease is alive and what they read,
    everything younger than that many days (by the store's own clock stamps), and the inputs of all these,
    transitively; other results of a recipe (`sync --force`) stay as long as the recipe itself. Manifests go before the
    payloads they name, so that an interruption leaves files nobody names and never a name without its file. If the
    store has leases this waits up to `lease_seconds` to tell live from dead. Deciding and removing take long on a large
    store, in which runs go on: what came to be needed meanwhile stays, and is not in the answer. Raises StoreError;
    InputError for days below zero; CorruptArtefactError for a reference or pin that cannot be read, before anything is
    removed.
    """
    if not younger_than_days >= 0:
        raise InputError(f"what is younger than {younger_than_days:g} days cannot stay", "give a number of days from 0")
    store.open()
    before = _leases(store)
    kept = _Reachable(store, time.time() - younger_than_days * DAY)
    kept.look(_live_recipes(store, lease_seconds))
    unreachable = [entry for entry in kept.manifests if _recipe_of(entry) not in kept.recipes]
    naming = [*(_removal(entry, "manifest that nothing reaches") for entry in unreachable), *kept.others]
    rest = [*_payloads(store, kept), *_work(store, kept), *_leftovers(store, kept.limit)]
    if dry_run:
        return [*naming, *rest]
    return [removal for part in (naming, rest) for removal in _remove(store, kept, part, before)]


def _remove(
    store: ArtefactStore, kept: _Reachable, removals: Sequence[Removal], before: Mapping[str, Mapping[str, Any]]
) -> list[Removal]:
    """Remove what is still not needed after a last look; `before` are the leases that there were at the first one."""
    if removals:
        kept.look({recipe for recipe, facts in _leases(store).items() if facts != before.get(recipe)})
    going = [removal for removal in removals if not kept.needs(removal[0])]
    for path, _, _ in going:
        store.remove(path)
    return going


def pin(store: ArtefactStore, name: str, recipes: Iterable[str]) -> None:
    """Keep these units, and all they were made from, whatever references say; raises InputError for a bad name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(f"{name!r} cannot name a pin", "use letters, digits, '.', '_' and '-'")
    chosen = sorted(set(recipes))
    for recipe in chosen:
        if store.lookup(recipe) is None:
            raise InputError(f"recipe {recipe[:12]} is not in store {store.root}", "pin what `plan` calls fresh")
    store.replace(f"pins/{name}.json", json.dumps({"recipes": chosen}).encode())


def unpin(store: ArtefactStore, name: str) -> None:
    """Drop a pin; nothing happens if there is none of that name."""
    store.remove(f"pins/{name}.json")


@dataclass
class _Reachable:
    """Recipes to keep, closed over their inputs, and the payloads their manifests name; it only ever grows."""

    store: ArtefactStore
    limit: float
    """What was written since then stays."""
    recipes: set[str] = field(default_factory=set)
    payloads: set[str] = field(default_factory=set)
    live: set[str] = field(default_factory=set)
    """Recipes that are being computed."""
    busy: set[str] = field(default_factory=set)
    """Those and the names of their work areas."""
    manifests: list[Entry] = field(default_factory=list)
    """All there were at the last look."""
    others: list[Removal] = field(default_factory=list)
    """Other results, of recipes that nothing reached at the last look."""

    def look(self, live: set[str]) -> None:
        """Keep what the store says is needed now, given the recipes that are being computed."""
        leased = [lease_facts(self.store, recipe) for recipe in live]
        self.live |= live
        self.busy |= live | {facts.get("area", "") for facts in leased}
        self.add(_referenced(self.store), _pinned(self.store), live, *(facts.get("sources", ()) for facts in leased))
        self.manifests = [entry for entry in self.store.entries("manifests") if not _is_temporary(entry)]
        self.add(_recipe_of(entry) for entry in self.manifests if entry.modified >= self.limit)
        self.others = _alternatives(self.store, self)

    def needs(self, path: str) -> bool:
        """Whether a file that was to go is needed after all."""
        folder, group, name = path.split("/")[0], path.split("/")[1], path.rsplit("/", 1)[-1].removesuffix(".json")
        needed = {
            "manifests": name in self.recipes,
            ALTERNATIVES: group in self.recipes,
            "payloads": bool(self.live) or name in self.payloads,
            "work": group in self.busy,
            "lease": group in self.busy,
        }
        return not name.startswith(".") and needed.get(folder, False)

    def add(self, *groups: Iterable[str]) -> None:
        """Keep these recipes and all they were made from."""
        pending = [recipe for group in groups for recipe in group]
        while pending:
            recipe = pending.pop()
            if recipe in self.recipes:
                continue
            self.recipes.add(recipe)
            manifest = self.store.lookup(recipe)
            if manifest is not None:
                self.payloads.update(_shas(manifest))
                pending.extend(manifest.sources.values())


def _alternatives(store: ArtefactStore, kept: _Reachable) -> list[Removal]:
    """Other results of recipes that nothing reaches; the payloads of those that stay are kept."""
    removals = []
    for entry in store.entries(ALTERNATIVES):
        if entry.path.split("/")[1] in kept.recipes or entry.modified >= kept.limit:
            if not _is_temporary(entry):
                kept.payloads.update(_shas(Manifest.from_json(_json(store, entry.path))))
        else:
            removals.append(_removal(entry, "other result of a recipe that nothing reaches"))
    return removals


def _payloads(store: ArtefactStore, kept: _Reachable) -> list[Removal]:
    """Payloads no kept manifest names; none while a computation runs, whose commit may be about to name an old one."""
    if kept.live:
        return []
    return [
        _removal(entry, "payload that no manifest names")
        for entry in store.entries("payloads")
        if entry.path.rsplit("/", 1)[-1] not in kept.payloads
        and entry.modified < kept.limit
        and not _is_temporary(entry)
    ]


def _work(store: ArtefactStore, kept: _Reachable) -> list[Removal]:
    """Work areas and dead leases: of committed units at once, of others when they have lain for long."""
    removals = []
    for folder, what in (("work", "work area"), ("lease", "dead lease")):
        for entry in store.entries(folder):
            recipe = entry.path.split("/")[1]
            if recipe in kept.busy:
                continue
            if store.read_or_none(manifest_path(recipe)) is not None:
                removals.append(_removal(entry, f"{what} of a committed unit"))
            elif entry.modified < kept.limit:
                removals.append(_removal(entry, f"{what} that nobody holds"))
    return removals


def _leftovers(store: ArtefactStore, limit: float) -> list[Removal]:
    """Files of killed writers, and quarantined payloads, that have lain for long."""
    found = [entry for folder in ("manifests", "payloads", "references") for entry in store.entries(folder)]
    return [
        *(_removal(e, "left by a killed writer") for e in found if _is_temporary(e) and e.modified < limit),
        *(_removal(e, "damaged payload in quarantine") for e in store.entries("quarantine") if e.modified < limit),
    ]


def _leases(store: ArtefactStore) -> dict[str, dict[str, Any]]:
    """What the holder of each leased recipe said last."""
    return {recipe: lease_facts(store, recipe) for recipe in leased_recipes(store)}


def _live_recipes(store: ArtefactStore, seconds: float) -> set[str]:
    """Recipes whose lease is not found dead within `seconds` of watching."""
    watcher = Watcher(store, seconds)
    undecided = {recipe for recipe in leased_recipes(store) if watcher.look(recipe).state == "held"}
    bodies = {recipe: lease_facts(store, recipe) for recipe in undecided}
    live: set[str] = set()
    while undecided:
        time.sleep(seconds / LOOKS_PER_TIMEOUT)
        # A body that changed was written by somebody alive; no need to watch that one any longer.
        beaten = {recipe for recipe in undecided if lease_facts(store, recipe) != bodies[recipe]}
        dead = {recipe for recipe in undecided - beaten if watcher.look(recipe).state != "held"}
        live |= beaten
        undecided -= beaten | dead
    return live


def _referenced(store: ArtefactStore) -> list[str]:
    recipes: list[str] = []
    for path in store.list("references"):
        units = _json(store, path).get("units")
        if not isinstance(units, dict):
            raise CorruptArtefactError(f"{path} in store {store.root} names no units", "mend or delete it")
        recipes += map(str, units.values())
    return recipes


def _pinned(store: ArtefactStore) -> list[str]:
    recipes: list[str] = []
    for path in store.list("pins"):
        stated = _json(store, path).get("recipes")
        if not isinstance(stated, list):
            raise CorruptArtefactError(f"{path} in store {store.root} lists no recipes", "mend or delete it")
        recipes += map(str, stated)
    return recipes


def _json(store: ArtefactStore, path: str) -> dict:
    data = store.read_or_none(path)
    try:
        return dict(json.loads(data or b""))
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptArtefactError(f"{path} in store {store.root} is not readable", "mend or delete it") from error


def _shas(manifest: Manifest) -> list[str]:
    return [payload.sha256 for payload in manifest.payloads.values()]


def _recipe_of(entry: Entry) -> str:
    return entry.path.rsplit("/", 1)[-1].removesuffix(".json")


def _is_temporary(entry: Entry) -> bool:
    return entry.path.rsplit("/", 1)[-1].startswith(".")


def _removal(entry: Entry, reason: str) -> Removal:
    return entry.path, entry.bytes, reason
