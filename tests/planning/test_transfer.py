"""Results moved between stores: the same digests, all that went in, nothing half there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dd_assets.errors import CorruptArtefactError, InputError
from dd_assets.planning.gc import collect
from dd_assets.planning.transfer import transfer
from dd_assets.planning.unit import Manifest, Product, Reference, Unit
from dd_resources.store import ArtefactStore, manifest_path, payload_path

SPACE = "mine"


def _commit(store: ArtefactStore, name: str, *sources: Manifest, text: str = "") -> Manifest:
    unit = Unit(
        name=name,
        version=1,
        parameters={"rate": 0.1, "steps": 3},
        inputs={source.recipe["unit"]: source.content for source in sources},
        sources={source.recipe["unit"]: source.recipe_digest for source in sources},
        seed=0,
        label=name,
    )
    return store.commit(unit, Product(content=f"content of {name}{text}", payloads={"file": name.encode()}), {})


@pytest.fixture
def source(tmp_path: Path) -> tuple[ArtefactStore, list[Reference], dict[str, Manifest]]:
    """A diamond: root, two of it, and one of both; a reference to the last."""
    store = ArtefactStore(str(tmp_path / "source")).open()
    root = _commit(store, "root")
    left, right = _commit(store, "left", root), _commit(store, "right", root)
    last = _commit(store, "last", left, right)
    reference = Reference(
        asset="score", partition="digits|1", units={"a": last.recipe_digest}, contents={"a": last.content}
    )
    return store, [reference], {"root": root, "left": left, "right": right, "last": last}


def test_everything_upstream_comes_along_with_its_digests(source, tmp_path: Path) -> None:
    store, references, made = source
    there = ArtefactStore(str(tmp_path / "there")).open()
    order: list[str] = []
    done = transfer(store, there, references, SPACE, order.append)
    assert (done.references, done.units, done.already, done.bytes) == (1, 4, 0, len("rootleftrightlast"))
    names = [line.split()[0] for line in order]
    assert (names[0], names[-1]) == ("root", "last")
    for name, manifest in made.items():
        copied = there.lookup(manifest.recipe_digest)
        assert copied == manifest
        assert there.read(copied, "file") == name.encode()
    assert there.read_reference(SPACE, "score", "digits|1") == references[0]


def test_again_copies_nothing(source, tmp_path: Path) -> None:
    store, references, _ = source
    there = ArtefactStore(str(tmp_path / "there")).open()
    transfer(store, there, references, SPACE)
    done = transfer(store, there, references, SPACE)
    assert (done.units, done.already, done.bytes) == (0, 4, 0)


def test_damage_is_found_on_the_way_and_not_passed_on(source, tmp_path: Path) -> None:
    store, references, made = source
    there = ArtefactStore(str(tmp_path / "there")).open()
    damaged = made["right"].payloads["file"].sha256
    (tmp_path / "source" / payload_path(damaged)).write_bytes(b"RIGHT")
    with pytest.raises(CorruptArtefactError, match=r"right: payload file .* is corrupted in store"):
        transfer(store, there, references, SPACE)
    assert there.lookup(made["right"].recipe_digest) is None
    assert there.lookup(made["last"].recipe_digest) is None
    assert there.read_reference(SPACE, "score", "digits|1") is None


def test_a_recipe_that_does_not_hash_to_its_name_is_refused(source, tmp_path: Path) -> None:
    """Whoever edits a parameter in a manifest would otherwise pass another computation off under the old recipe."""
    store, references, made = source
    path = tmp_path / "source" / manifest_path(made["left"].recipe_digest)
    stated = json.loads(path.read_text())
    stated["recipe"]["parameters"]["rate"] = 0.2
    path.write_text(json.dumps(stated))
    with pytest.raises(CorruptArtefactError, match="states a recipe with another digest"):
        transfer(store, ArtefactStore(str(tmp_path / "there")).open(), references, SPACE)


def test_another_content_of_the_same_recipe_is_never_replaced(source, tmp_path: Path) -> None:
    store, references, made = source
    there = ArtefactStore(str(tmp_path / "there")).open()
    theirs = _commit(there, "root", text=" on another machine")
    with pytest.raises(InputError, match="with another content"):
        transfer(store, there, references, SPACE)
    assert there.lookup(made["root"].recipe_digest) == theirs


def test_a_missing_unit_is_named_before_anything_is_copied(source, tmp_path: Path) -> None:
    store, references, made = source
    there = ArtefactStore(str(tmp_path / "there")).open()
    lost = dataclasses.replace(references[0], units={"a": made["last"].recipe_digest, "b": "0" * 64})
    with pytest.raises(InputError, match="unit 000000000000 is not in store"):
        transfer(store, there, [lost], SPACE)
    assert list(there.list("manifests")) == []


def test_what_the_destination_lost_or_has_damaged_is_sent_again(source, tmp_path: Path) -> None:
    store, references, made = source
    there = ArtefactStore(str(tmp_path / "there")).open()
    transfer(store, there, references, SPACE)
    there.remove(payload_path(made["left"].payloads["file"].sha256))
    done = transfer(store, there, references, SPACE)
    assert (done.units, done.already, done.bytes) == (1, 3, len("left"))
    # Of a unit that is not there yet a payload may be, of another one with the same bytes.
    there.remove(manifest_path(made["last"].recipe_digest))
    there.replace(payload_path(made["last"].payloads["file"].sha256), b"LAST")
    done = transfer(store, there, references, SPACE)
    assert (done.units, done.already) == (1, 3)
    for name, manifest in made.items():
        assert there.lookup(manifest.recipe_digest) == manifest
        assert there.read(manifest, "file") == name.encode()
    assert len(there.list("quarantine")) == 1


def test_a_manifest_there_that_names_other_lost_files_gives_way(source, tmp_path: Path) -> None:
    """The content digest is over meaning: the files behind it may have other bytes on another machine."""
    store, references, made = source
    there = ArtefactStore(str(tmp_path / "there")).open()
    theirs = there.commit(
        made["root"].unit(), Product(content=made["root"].content, payloads={"file": b"ROOT"}), {"host": "there"}
    )
    assert transfer(store, there, references, SPACE).already == 1
    assert there.lookup(theirs.recipe_digest) == theirs
    there.remove(payload_path(theirs.payloads["file"].sha256))
    assert transfer(store, there, references, SPACE).already == 3
    assert there.lookup(theirs.recipe_digest) == made["root"]
    assert there.read(made["root"], "file") == b"root"


def test_the_destinations_own_references_stay_unless_told_otherwise(source, tmp_path: Path) -> None:
    """They were overwritten, and gc then removed the newer results behind them."""
    store, references, made = source
    there = ArtefactStore(str(tmp_path / "there")).open()
    newer = _commit(there, "newer")
    theirs = dataclasses.replace(references[0], units={"a": newer.recipe_digest}, contents={"a": newer.content})
    there.write_reference(SPACE, theirs)
    done = transfer(store, there, references, SPACE)
    assert (done.references, done.units, done.kept) == (0, 0, [("score", "digits|1")])
    assert there.read_reference(SPACE, "score", "digits|1") == theirs
    assert collect(there, younger_than_days=0, dry_run=True) == []
    done = transfer(store, there, references, SPACE, replace=True)
    assert (done.references, done.units, done.kept) == (1, 4, [])
    assert there.read_reference(SPACE, "score", "digits|1") == references[0]
    assert there.lookup(made["last"].recipe_digest) == made["last"]


def test_an_equal_reference_is_no_other(source, tmp_path: Path) -> None:
    store, references, _ = source
    there = ArtefactStore(str(tmp_path / "there")).open()
    transfer(store, there, references, SPACE)
    assert (transfer(store, there, references, SPACE).references, transfer(store, there, references, SPACE).kept) == (
        1,
        [],
    )
