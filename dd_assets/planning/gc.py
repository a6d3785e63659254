"""Garbage collection: removing what no deployment, pin, running computation or recent work needs.

Belongs here: what is reachable, what is not and why, and removing it in an order that harms nobody midway.
Does not belong: damaged payloads (the store quarantines those on `discard`), deciding to run (it is a dry run unless
asked otherwise).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from dd_assets.errors import CorruptArtefactError, InputError
from dd_assets.planning.unit import Manifest, Reference
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
    store has leases this waits up to `lease_seconds` to tell live from dead. Raises StoreError; CorruptArtefactError
    for a reference or pin that cannot be read, before anything is removed.
    """
    store.open()
    now = time.time()
    limit = now - younger_than_days * DAY
    live = _live_recipes(store, lease_seconds)
    leased = [lease_facts(store, recipe) for recipe in live]
    kept = _Reachable(store)
    kept.add(_referenced(store), _pinned(store), live, *(facts.get("sources", ()) for facts in leased))
    manifests = [entry for entry in store.entries("manifests") if not _is_temporary(entry)]
    kept.add(_recipe_of(entry) for entry in manifests if entry.modified >= limit)
    unreachable = [entry for entry in manifests if _recipe_of(entry) not in kept.recipes]
    others = _alternatives(store, kept, limit)
    removals = [
        *(_removal(entry, "manifest that nothing reaches") for entry in unreachable),
        *others,
        *_payloads(store, kept, limit, frozen=bool(live)),
        *_work(store, limit, live | {facts.get("area", "") for facts in leased}),
        *_leftovers(store, limit),
    ]
    if not dry_run:
        for path, _, _ in removals:
            store.remove(path)
    return removals


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
    """Recipes to keep, closed over their inputs, and the payloads their manifests name."""

    store: ArtefactStore
    recipes: set[str] = field(default_factory=set)
    payloads: set[str] = field(default_factory=set)

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


def _alternatives(store: ArtefactStore, kept: _Reachable, limit: float) -> list[Removal]:
    """Other results of recipes that nothing reaches; the payloads of those that stay are kept."""
    removals = []
    for entry in store.entries(ALTERNATIVES):
        if entry.path.split("/")[1] in kept.recipes or entry.modified >= limit:
            if not _is_temporary(entry):
                kept.payloads.update(_shas(Manifest.from_json(_json(store, entry.path))))
        else:
            removals.append(_removal(entry, "other result of a recipe that nothing reaches"))
    return removals


def _payloads(store: ArtefactStore, kept: _Reachable, limit: float, frozen: bool) -> list[Removal]:
    """Payloads no kept manifest names; none while a computation runs, whose commit may be about to name an old one."""
    if frozen:
        return []
    return [
        _removal(entry, "payload that no manifest names")
        for entry in store.entries("payloads")
        if entry.path.rsplit("/", 1)[-1] not in kept.payloads and entry.modified < limit and not _is_temporary(entry)
    ]


def _work(store: ArtefactStore, limit: float, live: set[str]) -> list[Removal]:
    """Work areas and dead leases: of committed units at once, of others when they have lain for long."""
    removals = []
    for folder, what in (("work", "work area"), ("lease", "dead lease")):
        for entry in store.entries(folder):
            recipe = entry.path.split("/")[1]
            if recipe in live:
                continue
            if store.read_or_none(manifest_path(recipe)) is not None:
                removals.append(_removal(entry, f"{what} of a committed unit"))
            elif entry.modified < limit:
                removals.append(_removal(entry, f"{what} that nobody holds"))
    return removals


def _leftovers(store: ArtefactStore, limit: float) -> list[Removal]:
    """Files of killed writers, and quarantined payloads, that have lain for long."""
    found = [entry for folder in ("manifests", "payloads", "references") for entry in store.entries(folder)]
    return [
        *(_removal(e, "left by a killed writer") for e in found if _is_temporary(e) and e.modified < limit),
        *(_removal(e, "damaged payload in quarantine") for e in store.entries("quarantine") if e.modified < limit),
    ]


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
        recipes += Reference.from_json(_json(store, path)).units.values()
    return recipes


def _pinned(store: ArtefactStore) -> list[str]:
    return [str(recipe) for path in store.list("pins") for recipe in _json(store, path)["recipes"]]


def _json(store: ArtefactStore, path: str) -> dict:
    data = store.read_or_none(path)
    try:
        return dict(json.loads(data or b""))
    except ValueError as error:
        raise CorruptArtefactError(f"{path} in store {store.root} is not readable", "mend or delete it") from error


def _shas(manifest: Manifest) -> list[str]:
    return [payload.sha256 for payload in manifest.payloads.values()]


def _recipe_of(entry: Entry) -> str:
    return entry.path.rsplit("/", 1)[-1].removesuffix(".json")


def _is_temporary(entry: Entry) -> bool:
    return entry.path.rsplit("/", 1)[-1].startswith(".")


def _removal(entry: Entry, reason: str) -> Removal:
    return entry.path, entry.bytes, reason
