"""Garbage collection: what is needed stays, what is not goes, and a dry run changes nothing."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from dd_assets.cli import main
from dd_assets.errors import CorruptArtefactError, InputError, StoreError
from dd_assets.planning import gc
from dd_assets.planning.gc import collect, pin, unpin
from dd_assets.planning.unit import Manifest, Product, Reference, Unit
from dd_resources import leases
from dd_resources.leases import acquire
from dd_resources.store import ArtefactStore
from tests.resources.test_files import cannot_list

LONG_AGO = time.time() - 30 * 86_400


def commit(store: ArtefactStore, name: str, *sources: Manifest, data: bytes | None = None) -> Manifest:
    """A unit of that name that reads the given ones, with one payload."""
    unit = Unit(
        name=name,
        version=1,
        parameters={},
        inputs={f"input{n}": source.content for n, source in enumerate(sources)},
        sources={f"input{n}": source.recipe_digest for n, source in enumerate(sources)},
    )
    return store.commit(unit, Product(content=unit.digest[::-1], payloads={"p": data or name.encode()}), {})


def refer(store: ArtefactStore, manifest: Manifest, namespace: str = "default") -> None:
    """Let an asset partition of a deployment point at a unit."""
    name = manifest.recipe["unit"]
    units, contents = {"unit": manifest.recipe_digest}, {"unit": manifest.content}
    store.write_reference(namespace, Reference(asset=name, partition="digits", units=units, contents=contents))


def age(store: ArtefactStore, paths: Iterable[str] | None = None) -> None:
    """Make files (all of them by default) a month old."""
    for path in paths if paths is not None else [entry.path for entry in store.entries("")]:
        os.utime(Path(store.root, path), (LONG_AGO, LONG_AGO))


def names_left(store: ArtefactStore) -> set[str]:
    """Unit names of the manifests that are left; each must still be complete."""
    left = set()
    for path in store.list("manifests"):
        manifest = store.lookup(path.rsplit("/", 1)[-1].removesuffix(".json"))
        assert manifest is not None
        assert store.read(manifest, "p")
        left.add(manifest.recipe["unit"])
    return left


def test_references_of_all_namespaces_and_their_inputs_stay_and_the_rest_goes(store: ArtefactStore) -> None:
    root = commit(store, "dataset")
    used, dropped = commit(store, "teacher", root), commit(store, "old_teacher", root)
    mine, other = commit(store, "images", used), commit(store, "images_of_others")
    commit(store, "old_images", dropped)
    refer(store, mine)
    refer(store, other, "other deployment")
    age(store)
    removed = collect(store, dry_run=False)
    assert names_left(store) == {"dataset", "teacher", "images", "images_of_others"}
    assert len(store.list("payloads")) == 4
    reasons = [reason for _, _, reason in removed]
    assert reasons == ["manifest that nothing reaches"] * 2 + ["payload that no manifest names"] * 2
    assert {size for path, size, _ in removed if path.startswith("payloads")} == {len("old_images"), len("old_teacher")}
    assert collect(store, dry_run=False) == []


def test_a_dry_run_lists_the_same_and_removes_nothing(store: ArtefactStore) -> None:
    commit(store, "old")
    age(store)
    before = store.list("")
    planned = collect(store)
    assert len(planned) == 2
    assert store.list("") == before
    assert collect(store, dry_run=False) == planned


def test_what_is_young_stays_with_the_old_things_it_was_made_from(store: ArtefactStore) -> None:
    old = commit(store, "teacher")
    commit(store, "forgotten")
    age(store)
    commit(store, "images", old)
    collect(store, dry_run=False)
    assert names_left(store) == {"teacher", "images"}
    collect(store, younger_than_days=0, dry_run=False)
    assert names_left(store) == set()


def test_a_young_payload_without_manifest_stays_since_its_commit_may_be_under_way(store: ArtefactStore) -> None:
    store.put_payload(b"just written")
    assert collect(store) == []
    age(store, store.list("payloads"))
    assert [reason for _, _, reason in collect(store)] == ["payload that no manifest names"]


def test_a_payload_that_a_kept_unit_shares_stays(store: ArtefactStore) -> None:
    refer(store, commit(store, "kept", data=b"same"))
    commit(store, "dropped", data=b"same")
    age(store)
    assert [path.split("/")[0] for path, _, _ in collect(store, dry_run=False)] == ["manifests"]
    assert names_left(store) == {"kept"}


def test_pins_keep_units_and_their_inputs(store: ArtefactStore) -> None:
    paper = commit(store, "score", commit(store, "teacher"))
    pin(store, "paper-v1", [paper.recipe_digest])
    age(store)
    assert collect(store) == []
    unpin(store, "paper-v1")
    collect(store, dry_run=False)
    assert names_left(store) == set()
    with pytest.raises(InputError, match="cannot name a pin"):
        pin(store, "../evil", [])
    with pytest.raises(InputError, match="is not in store"):
        pin(store, "gone", [paper.recipe_digest])


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holders look as if they ran on another machine."""
    monkeypatch.setattr(leases, "_machine", lambda: "")


def test_a_live_lease_keeps_its_work_area_its_inputs_and_all_payloads(store: ArtefactStore, elsewhere: None) -> None:
    source = commit(store, "teacher")
    commit(store, "dropped")
    recipe = "a" * 64
    # A teacher's area is shared by recipes that differ in their floor, so that it has a name of its own.
    for area in (recipe, "b" * 64, "c" * 64):
        store.replace(f"work/{area}/checkpoint", b"state")
    lease = acquire(store, recipe, facts={"sources": [source.recipe_digest], "area": "b" * 64}, seconds=0.3)
    assert lease is not None
    age(store)
    with lease:
        removed = collect(store, dry_run=False, lease_seconds=0.3)
        assert [path.split("/")[0] for path, _, _ in removed] == ["manifests", "work"]
        assert names_left(store) == {"teacher"}
        assert len(store.list("payloads")) == 2
        assert sorted(store.list("work")) == [f"work/{area}/checkpoint" for area in (recipe, "b" * 64)]


def test_a_dead_lease_and_its_old_work_area_go(store: ArtefactStore, elsewhere: None) -> None:
    source = commit(store, "teacher")
    recipe = "a" * 64
    assert acquire(store, recipe, facts={"sources": [source.recipe_digest]}) is not None
    store.replace(f"work/{recipe}/checkpoint", b"state")
    assert collect(store, lease_seconds=0.2) == [], "young work areas are resumed by the next run"
    age(store)
    removed = collect(store, dry_run=False, lease_seconds=0.2)
    assert {reason for _, _, reason in removed} >= {"work area that nobody holds", "dead lease that nobody holds"}
    assert store.list("work") == store.list("lease") == store.list("manifests") == []


def test_a_work_area_left_after_commit_goes_at_once(store: ArtefactStore) -> None:
    made = commit(store, "teacher")
    store.replace(f"work/{made.recipe_digest}/checkpoint", b"state")
    (removed,) = collect(store, dry_run=False)
    assert removed == (f"work/{made.recipe_digest}/checkpoint", 5, "work area of a committed unit")


def test_files_of_killed_writers_and_quarantined_payloads_go_when_old(store: ArtefactStore) -> None:
    refer(store, commit(store, "teacher"))
    leftover = Path(store.root, "payloads", "00", ".1234.tmp")
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_bytes(b"half")
    store.replace("quarantine/abc-1", b"bad")
    assert collect(store) == []
    age(store)
    assert [reason for _, _, reason in collect(store, dry_run=False)] == [
        "left by a killed writer",
        "damaged payload in quarantine",
    ]
    assert not leftover.exists()
    assert names_left(store) == {"teacher"}


@pytest.mark.parametrize("body", [b"{half", b"[1]", b"{}", b'{"units": ["a"]}'])
def test_a_reference_that_cannot_be_read_stops_everything(store: ArtefactStore, body: bytes) -> None:
    commit(store, "old")
    age(store)
    store.replace("references/default/teacher/digits.json", body)
    before = store.list("")
    with pytest.raises(CorruptArtefactError, match=r"references/default/teacher/digits\.json"):
        collect(store, dry_run=False)
    assert store.list("") == before


@pytest.mark.parametrize("body", [b"[1]", b"7", b"{}", b'{"recipes": "abc"}', b"null"])
def test_a_pin_that_lists_nothing_stops_everything(store: ArtefactStore, body: bytes) -> None:
    commit(store, "old")
    age(store)
    store.replace("pins/mine.json", body)
    with pytest.raises(CorruptArtefactError, match=r"pins/mine\.json"):
        collect(store, dry_run=False)
    assert names_left(store) == {"old"}


def test_a_removal_cut_short_leaves_no_manifest_without_its_payload(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        commit(store, f"old{number}")
    age(store)
    real, done = store.remove, []

    def cut_short(relative: str) -> None:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(relative)
        real(relative)

    monkeypatch.setattr(store, "remove", cut_short)
    with pytest.raises(KeyboardInterrupt):
        collect(store, dry_run=False)
    for path in store.list("manifests"):
        named = json.loads(store.read_or_none(path) or b"")["payloads"]["p"]["sha256"]
        assert store.read_or_none(f"payloads/{named[:2]}/{named}") is not None
    assert len(store.list("payloads")) == 2


def test_other_results_stay_with_their_recipe_and_go_with_it(store: ArtefactStore) -> None:
    kept, dropped = commit(store, "teacher"), commit(store, "old_teacher")
    refer(store, kept)
    for manifest in (kept, dropped):
        other = Product(content="e" * 64, payloads={"p": b"another result of " + manifest.recipe_digest.encode()})
        store.keep_beside(manifest.unit(), other, {})
    age(store)
    removed = collect(store, dry_run=False)
    assert [reason for _, _, reason in removed] == [
        "manifest that nothing reaches",
        "other result of a recipe that nothing reaches",
        "payload that no manifest names",
        "payload that no manifest names",
    ]
    assert store.alternatives(dropped.recipe_digest) == []
    (other,) = store.alternatives(kept.recipe_digest)
    assert store.read(other, "p") == b"another result of " + kept.recipe_digest.encode()


def once_decided(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Let something happen when all is decided and nothing is removed yet."""
    real = gc._leftovers

    def last(store: ArtefactStore, limit: float) -> list[gc.Removal]:
        action()
        return real(store, limit)

    monkeypatch.setattr(gc, "_leftovers", last)


def test_what_came_into_use_after_the_decision_stays(store: ArtefactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    root = commit(store, "dataset")
    adopted, pinned = commit(store, "teacher", root), commit(store, "score")
    read, dropped = commit(store, "images"), commit(store, "old")
    other = Product(content="e" * 64, payloads={"p": b"another result"})
    for manifest in (adopted, dropped):
        store.keep_beside(manifest.unit(), other, {})
    age(store)

    def come_into_use() -> None:
        refer(store, adopted)
        pin(store, "paper", [pinned.recipe_digest])
        commit(store, "labels", read)

    once_decided(monkeypatch, come_into_use)
    removed = collect(store, dry_run=False)
    assert names_left(store) == {"dataset", "teacher", "score", "images", "labels"}
    assert [path.split("/")[0] for path, _, _ in removed] == ["manifests", "alternatives", "payloads"]
    (beside,) = store.alternatives(adopted.recipe_digest)
    assert store.read(beside, "p") == b"another result"


def test_what_a_computation_reads_that_began_after_the_decision_stays(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, recipe = commit(store, "teacher"), "a" * 64
    commit(store, "old")
    for area in (recipe, "b" * 64, "c" * 64):
        store.replace(f"work/{area}/checkpoint", b"state")
    age(store)
    facts = {"sources": [source.recipe_digest], "area": "b" * 64}
    once_decided(monkeypatch, lambda: acquire(store, recipe, facts=facts))
    removed = collect(store, dry_run=False)
    assert [path.split("/")[0] for path, _, _ in removed] == ["manifests", "work"]
    assert names_left(store) == {"teacher"}
    assert sorted(store.list("work")) == [f"work/{area}/checkpoint" for area in (recipe, "b" * 64)]
    assert len(store.list("lease")) == 1


def test_a_payload_that_is_named_again_while_manifests_go_stays(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, "old", data=b"same")
    age(store)
    real = store.remove

    def remove(relative: str) -> None:
        real(relative)
        if relative.startswith("manifests"):
            commit(store, "new", data=b"same")

    monkeypatch.setattr(store, "remove", remove)
    assert [path.split("/")[0] for path, _, _ in collect(store, dry_run=False)] == ["manifests"]
    assert names_left(store) == {"new"}


def test_references_that_cannot_be_listed_stop_everything(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk or the network there is no sign that nothing is referenced."""
    refer(store, commit(store, "teacher"))
    age(store)
    with monkeypatch.context() as failing:
        cannot_list(failing, "references/default", errno.EIO)
        with pytest.raises(StoreError, match="listing references failed"):
            collect(store, dry_run=False)
    assert names_left(store) == {"teacher"}


@pytest.mark.parametrize("days", ["-1", "nan"])
def test_an_age_that_would_keep_nothing_young_is_refused(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch, days: str
) -> None:
    commit(store, "young")
    with pytest.raises(InputError, match=r"younger than .* days cannot stay → "):
        collect(store, younger_than_days=float(days), dry_run=False)
    monkeypatch.setenv("DD_STORE", store.root)
    done = CliRunner().invoke(main, ["gc", "--delete", "--younger-than", days])
    assert done.exit_code != 0
    assert names_left(store) == {"young"}
