"""The store: what is committed is complete, verified on read and never overwritten."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from dd_assets.errors import CorruptArtefactError, FormatVersionError, StoreError, VerdictError
from dd_assets.planning.unit import Manifest, Product, Reference, Unit, Verdict
from dd_resources.store import ArtefactStore


def unit(seed: int = 0) -> Unit:
    return Unit(name="teacher", version=1, parameters={"epochs": 1}, inputs={}, seed=seed, label="teacher digits")


def product(data: bytes = b"weights", passed: bool = True) -> Product:
    verdict = Verdict(name="floor", passed=passed, blocking=True, message="top-1 12 %, floor 90 %")
    return Product(content="c" * 64, payloads={"w.bin": data}, verdicts=(verdict,), summary={"accuracy": 0.5})


def payload_file(store: ArtefactStore, manifest: Manifest) -> Path:
    sha = manifest.payloads["w.bin"].sha256
    return Path(store.root) / "payloads" / sha[:2] / sha


def test_commit_then_lookup_gives_the_same_manifest(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(), {"seconds": 1.5})
    found = ArtefactStore(store.root).lookup(unit().digest)
    assert found == made
    assert store.read(made, "w.bin") == b"weights"
    assert (made.seconds, made.total_bytes) == (1.5, 7)
    assert store.lookup(unit(1).digest) is None


def test_the_second_writer_reads_the_first_ones_result(store: ArtefactStore) -> None:
    first = store.commit(unit(), product(b"first"), {"seconds": 1.0})
    second = store.commit(unit(), product(b"second"), {"seconds": 2.0})
    assert second == first
    assert store.read(second, "w.bin") == b"first"


def test_equal_payloads_are_stored_once(store: ArtefactStore) -> None:
    store.commit(unit(0), product(), {})
    store.commit(unit(1), product(), {})
    assert len(store.list("payloads")) == 1
    assert len(store.list("manifests")) == 2


def test_a_flipped_byte_is_named_by_the_next_reader_and_mended_by_recomputing(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(), {})
    damaged = payload_file(store, made)
    damaged.write_bytes(b"weightt")
    with pytest.raises(CorruptArtefactError, match=r"teacher digits: payload w\.bin .* corrupted .* dd-assets discard"):
        store.read(made, "w.bin")
    store.discard(made)
    assert store.lookup(unit().digest) is None
    assert len(store.list("quarantine")) == 1
    again = store.commit(unit(), product(), {})
    assert store.read(again, "w.bin") == b"weights"


def test_a_damaged_payload_is_replaced_when_its_content_is_computed_again(store: ArtefactStore) -> None:
    made = store.commit(unit(0), product(), {})
    payload_file(store, made).write_bytes(b"broken!")
    store.commit(unit(1), product(), {})
    assert store.read(made, "w.bin") == b"weights"


def test_a_missing_payload_is_named(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(), {})
    payload_file(store, made).unlink()
    with pytest.raises(CorruptArtefactError, match=r"w\.bin .* is missing"):
        store.read(made, "w.bin")


def test_failed_blocking_verdicts_are_stored_and_refused_by_consumers(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(passed=False), {})
    with pytest.raises(VerdictError, match=r"teacher digits .* 'floor': top-1 12 %, floor 90 %"):
        made.require_usable()


def test_a_newer_store_format_is_refused(store: ArtefactStore) -> None:
    Path(store.root, "format.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(FormatVersionError, match="format 99"):
        ArtefactStore(store.root).lookup("0" * 64)


def test_a_newer_manifest_format_is_refused(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(), {})
    path = Path(store.root, "manifests", made.recipe_digest[:2], f"{made.recipe_digest}.json")
    path.write_text(json.dumps({**made.to_json(), "format": 2}))
    with pytest.raises(FormatVersionError):
        store.lookup(made.recipe_digest)


def test_a_folder_that_cannot_be_created_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"store .*file/store: .* failed"):
        ArtefactStore(str(tmp_path / "file" / "store")).open()


def _race(root: str, number: int, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    store = ArtefactStore(root)
    results.put((number, store.put_if_absent("contested", f"writer {number}".encode())))


def test_of_sixteen_racing_writers_exactly_one_wins(store: ArtefactStore) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    writers = [context.Process(target=_race, args=(store.root, n, results)) for n in range(16)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    outcomes = dict(results.get(timeout=5) for _ in writers)
    winners = [number for number, won in outcomes.items() if won]
    assert len(winners) == 1
    assert store.read_or_none("contested") == f"writer {winners[0]}".encode()
    assert not list(Path(store.root).glob(".*.tmp"))


def test_references_are_kept_apart_by_namespace_and_overwritten_in_place(store: ArtefactStore) -> None:
    one = Reference(asset="rded/synthetic_images", partition="digits|10", units={"draw0": "r"}, contents={"draw0": "c"})
    two = Reference(asset="rded/synthetic_images", partition="digits|10", units={"draw0": "s"}, contents={"draw0": "d"})
    store.write_reference("default", one)
    store.write_reference("other", two)
    assert store.read_reference("default", "rded/synthetic_images", "digits|10") == one
    store.write_reference("default", two)
    assert store.read_reference("default", "rded/synthetic_images", "digits|10") == two
    assert store.read_reference("default", "rded/synthetic_images", "digits|1") is None
