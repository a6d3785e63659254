"""What a store holds, and what must be true of it after any fault.

Belongs here: reading a store as facts, the invariants as functions that return what is wrong, starting points that are
copies of an interrupted run. Does not belong: faults (kinds.py), the order of trials (campaign.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from dd_assets.errors import CorruptArtefactError, DDError
from dd_assets.planning.checkpoints import area_of
from dd_assets.planning.unit import Manifest
from dd_resources.device_locks import lock_folder
from dd_resources.leases import Watcher, lease_facts, leased_recipes
from dd_resources.store import ArtefactStore, payload_path

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
BETWEEN = "before {}"
"""The stage of a process that holds no lease, by the next unit: planning, Dagster's own records, references."""
LAST = "after the last unit"


@dataclass(frozen=True)
class Start:
    """A point of an undisturbed run, as a kill at that moment would have left it."""

    folder: Path
    """Holds store/ and home/."""
    units: int
    """Committed by then."""
    cpu_seconds: float
    """What the run had used by then."""


@dataclass
class Truth:
    """What an undisturbed run from nothing ends with."""

    contents: dict[str, str] = field(default_factory=dict)
    """Recipe digest to content digest."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Recipe digest to the unit's kind, in the order in which they were committed."""
    references: dict[str, object] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    starts: list[Start] = field(default_factory=list)


def manifests(store: ArtefactStore) -> dict[str, bytes]:
    """Recipe digest to the bytes of its manifest."""
    found = {path.rsplit("/", 1)[-1][:-5]: store.read_or_none(path) for path in store.list("manifests")}
    return {digest: data for digest, data in found.items() if data is not None}


def contents(store: ArtefactStore) -> dict[str, str]:
    """Recipe digest to content digest."""
    return {digest: json.loads(data)["content"] for digest, data in manifests(store).items()}


def kinds(store: ArtefactStore) -> dict[str, str]:
    """Recipe digest to the unit's kind, in the order in which they were committed."""
    ordered = sorted(store.entries("manifests"), key=lambda entry: entry.modified)
    made = {entry.path: json.loads(store.read_or_none(entry.path) or b"{}") for entry in ordered}
    return {manifest["recipe_digest"]: manifest["recipe"]["unit"] for manifest in made.values()}


def references(store: ArtefactStore) -> dict[str, object]:
    """Asset partition to content and units."""
    found = {}
    for path in store.list("references"):
        data = json.loads(store.read_or_none(path) or b"{}")
        found[f"{data['asset']} {data['partition']}"] = (data["content"], data["units"])
    return found


def stage(store: ArtefactStore, truth: Truth, process: int) -> str:
    """The kind of unit that a process computes or computed at its death, by the leases in its name."""
    for recipe in leased_recipes(store):
        if lease_facts(store, recipe).get("process") == process and recipe not in manifests(store):
            return truth.kinds.get(recipe, "?")
    done = manifests(store)
    left = [kind for recipe, kind in truth.kinds.items() if recipe not in done]
    return BETWEEN.format(left[0]) if left else LAST


def leased_kinds(store: ArtefactStore, truth: Truth) -> list[str]:
    """The kinds of unit that somebody computes now."""
    watcher = Watcher(store)
    return [truth.kinds.get(one, "?") for one in leased_recipes(store) if watcher.look(one).state == "held"]


def torn(store: ArtefactStore, excused: Collection[str] = ()) -> list[str]:
    """Manifests that cannot be read or name payloads that are missing or have other bytes.

    excused: sha256 of payloads that the trial itself damaged.
    """
    wrong = []
    for digest, data in manifests(store).items():
        try:
            manifest = Manifest.from_json(json.loads(data))
        except (ValueError, KeyError, TypeError, DDError) as error:
            wrong.append(f"manifest {digest[:12]} cannot be read: {error}")
            continue
        if manifest.recipe_digest != digest:
            wrong.append(f"manifest {digest[:12]} says it is {manifest.recipe_digest[:12]}")
        for name, payload in manifest.payloads.items():
            body = store.read_or_none(payload_path(payload.sha256))
            if payload.sha256 not in excused and (body is None or hashlib.sha256(body).hexdigest() != payload.sha256):
                wrong.append(f"manifest {digest[:12]}: payload {name} is {'missing' if body is None else 'torn'}")
    for key, (_, units) in references(store).items():  # type: ignore[misc]
        # One line for each unit: what a run has left of the missing ones is then not taken for something new.
        lacking = {unit for unit in units.values() if unit not in manifests(store)}
        if not excused:
            wrong += [f"reference {key} names unit {unit[:12]}, which is not there" for unit in sorted(lacking)]
    return wrong


def naming(found: dict[str, bytes], payloads: Collection[str]) -> set[str]:
    """Recipes of those manifests that name one of these payloads (sha256)."""
    named = {digest: Manifest.from_json(json.loads(data)).payloads.values() for digest, data in found.items()}
    return {digest for digest, own in named.items() if any(payload.sha256 in payloads for payload in own)}


def lost(before: dict[str, bytes], after: dict[str, bytes], excused: Collection[str] = ()) -> list[str]:
    """Manifests of `before` that are gone or changed."""
    gone = [digest for digest, data in before.items() if after.get(digest) != data and digest not in excused]
    return [f"committed unit {digest[:12]} was lost or changed" for digest in gone]


def held(store: ArtefactStore) -> list[str]:
    """Leases whose holder counts as alive though no command runs, and device locks that somebody holds."""
    wrong = []
    watcher = Watcher(store)
    for recipe in leased_recipes(store):
        view = watcher.look(recipe)
        if view.state == "held":
            wrong.append(f"lease of {lease_facts(store, recipe).get('label')} is held by {view.holder}")
    for path in lock_folder().glob("*.lock"):
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wrong.append(f"device lock {path.name} is held")
        finally:
            os.close(descriptor)
    return wrong


def unfinished(store: ArtefactStore, home: Path) -> list[str]:
    """What a resumed and finished run must not leave: open leases, work files, runs that never ended.

    The lease of a killed process stays where its unit was committed just before; it is dead, and `gc` removes it.
    """
    done = manifests(store)
    areas = {area_of(json.loads(manifest)["recipe"]) for manifest in done.values()}
    wrong = [f"lease of {recipe[:12]} is left" for recipe in leased_recipes(store) if recipe not in done]
    # A kill between the commit and the removal of the work area leaves it to `gc`, too.
    wrong += [f"{path} is left" for path in store.list("work") if path.split("/")[1] not in areas]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        live = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return wrong + [f"run {run.run_id[:8]} is still marked as {run.status.value}" for run in live]


def different(store: ArtefactStore, truth: Truth) -> list[str]:
    """How a finished store differs from an undisturbed run's."""
    wrong = []
    if contents(store) != truth.contents:
        mine = contents(store)
        odd = [digest for digest in truth.contents | mine if truth.contents.get(digest) != mine.get(digest)]
        wrong.append(f"{len(odd)} units differ from an undisturbed run, such as {odd[0][:12]}")
    if references(store) != truth.references:
        wrong.append("references differ from an undisturbed run")
    return wrong


def read_refusal(store: ArtefactStore, manifest: Manifest, name: str) -> str | None:
    """The text with which the store refuses a damaged payload; None if it hands it out."""
    try:
        store.read(manifest, name)
    except CorruptArtefactError as error:
        return str(error)
    return None


def copy(start: Start | None, store: ArtefactStore, home: Path) -> None:
    """Make the store and the Dagster home those of a starting point; None is an empty store and an empty home."""
    if home.is_dir():
        shutil.rmtree(home)
    if store.is_local:
        shutil.rmtree(store.root, ignore_errors=True)
    else:
        store.remove("")
    if start is None:
        return
    shutil.copytree(start.folder / "home", home)
    if store.is_local:
        shutil.copytree(start.folder / "store", store.root)
        return
    for path in (start.folder / "store").rglob("*"):
        if path.is_file():
            store.replace(str(path.relative_to(start.folder / "store")), path.read_bytes())
