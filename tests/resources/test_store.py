"""The store: what is committed is complete, verified on read and never overwritten, on a folder and on S3."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dd_assets.errors import CorruptArtefactError, FormatVersionError, StoreError, VerdictError
from dd_assets.planning.unit import Reference, Unit
from dd_resources.store import ArtefactStore, manifest_path
from tests.resources.samples import payload, product, race, unit


def test_commit_then_lookup_gives_the_same_manifest(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(), {"seconds": 1.5})
    found = ArtefactStore(store.root, store.storage_options).lookup(unit().digest)
    assert found == made
    assert store.read(made, "w.bin") == b"weights"
    assert (made.seconds, made.total_bytes) == (1.5, 7)
    assert store.lookup(unit(1).digest) is None


def test_a_manifest_gives_its_unit_back(store: ArtefactStore) -> None:
    whole = Unit(
        name="images/rded",
        version=3,
        parameters={"method": {"crops": (2, 3)}},
        inputs={"teacher": "t" * 64},
        seed=4,
        sources={"teacher": "s" * 64},
        setting="digits",
        label="rded digits|10",
    )
    store.commit(whole, product(), {})
    found = store.lookup(whole.digest)
    assert found is not None
    again = found.unit()
    assert again.digest == whole.digest
    assert (again.sources, again.setting, again.label) == (whole.sources, whole.setting, whole.label)


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
    store.replace(payload(made), b"weightt")
    with pytest.raises(CorruptArtefactError, match=r"teacher digits: payload w\.bin .* corrupted .* dd-assets discard"):
        store.read(made, "w.bin")
    store.discard(made)
    assert store.lookup(unit().digest) is None
    assert len(store.list("quarantine")) == 1
    again = store.commit(unit(), product(), {})
    assert store.read(again, "w.bin") == b"weights"


def test_a_damaged_payload_is_replaced_when_its_content_is_computed_again(store: ArtefactStore) -> None:
    made = store.commit(unit(0), product(), {})
    store.replace(payload(made), b"broken!")
    store.commit(unit(1), product(), {})
    assert store.read(made, "w.bin") == b"weights"


def test_a_missing_payload_is_named(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(), {})
    store.remove(payload(made))
    with pytest.raises(CorruptArtefactError, match=r"w\.bin .* is missing"):
        store.read(made, "w.bin")


def test_failed_blocking_verdicts_are_stored_and_refused_by_consumers(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(passed=False), {})
    with pytest.raises(VerdictError, match=r"teacher digits .* 'floor': top-1 12 %, floor 90 %"):
        made.require_usable()


def test_a_newer_store_format_is_refused(store: ArtefactStore) -> None:
    store.replace("format.json", json.dumps({"format": 99}).encode())
    with pytest.raises(FormatVersionError, match="format 99"):
        ArtefactStore(store.root, store.storage_options).lookup("0" * 64)


def test_a_newer_manifest_format_is_refused(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(), {})
    store.replace(manifest_path(made.recipe_digest), json.dumps({**made.to_json(), "format": 2}).encode())
    with pytest.raises(FormatVersionError):
        store.lookup(made.recipe_digest)


def test_a_manifest_from_before_sources_is_refused_with_a_way_out(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(), {})
    old = {name: value for name, value in made.to_json().items() if name not in ("sources", "setting")}
    store.replace(manifest_path(made.recipe_digest), json.dumps(old).encode())
    with pytest.raises(FormatVersionError, match=r"teacher digits.* sources and setting → delete that file"):
        store.lookup(made.recipe_digest)


def test_a_folder_that_cannot_be_created_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"store .*file/store: .* failed"):
        ArtefactStore(str(tmp_path / "file" / "store")).open()


def test_a_part_of_a_file_is_read_by_its_first_byte_and_their_number(store: ArtefactStore) -> None:
    store.replace("digits", b"0123456789")
    store.replace("empty", b"")
    assert store.read_or_none("digits", 0, 3) == b"012"
    assert store.read_or_none("digits", 7, 3) == b"789"
    assert store.read_or_none("digits", 4) == b"456789"
    assert store.read_or_none("empty") == b""
    assert store.read_or_none("absent", 2, 3) is None


def test_of_sixteen_racing_writers_exactly_one_wins(store: ArtefactStore) -> None:
    outcomes = race(store, lambda opened, number: opened.put_if_absent("contested", f"writer {number}".encode()))
    winners = [number for number, won in outcomes.items() if won]
    assert len(winners) == 1
    assert store.read_or_none("contested") == f"writer {winners[0]}".encode()
    assert [entry.path for entry in store.entries("") if entry.path.endswith(".tmp")] == []


def test_of_sixteen_racing_commits_all_read_the_same_result(store: ArtefactStore) -> None:
    outcomes = race(store, lambda opened, number: opened.commit(unit(), product(b"%d" % number), {"writer": number}))
    published = store.lookup(unit().digest)
    assert published is not None
    assert all(manifest == published for manifest in outcomes.values())
    assert store.read(published, "w.bin") == b"%d" % published.measurements["writer"]


def _in_worker(store: ArtefactStore) -> tuple[bytes | None, bool]:
    return store.read_or_none("given"), store.put_if_absent("made by worker", b"w")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_store_in_use_travels_to_worker_processes(store: ArtefactStore, method: str) -> None:
    store.replace("given", b"g")
    if method == "fork":
        # With the parent's connection, whose event loop thread does not exist in the child, this would hang.
        outcome = race(store, lambda inherited, number: _in_worker(inherited), count=1)[0]
    else:
        with multiprocessing.get_context(method).Pool(1) as pool:
            outcome = pool.apply_async(_in_worker, (store,)).get(60)
    assert outcome == (b"g", True)
    # A child that closed the parent's sockets would leave the parent waiting for this answer.
    started = time.monotonic()
    assert store.list("given") == ["given"]
    assert time.monotonic() - started < 20
    assert store.read_or_none("made by worker") == b"w"


def test_a_pickled_store_leaves_its_connection_behind(store: ArtefactStore) -> None:
    store.replace("given", b"g")
    copy = pickle.loads(pickle.dumps(store))
    assert copy._connected is None
    assert copy.read_or_none("given") == b"g"


def test_threads_share_one_connection(store: ArtefactStore) -> None:
    seen = [store._fs]
    thread = threading.Thread(target=lambda: seen.append(store._fs))
    thread.start()
    thread.join()
    assert seen[0] is seen[1]


def test_new_files_of_others_are_listed_by_a_process_that_listed_before(store: ArtefactStore) -> None:
    # With s3fs's listings cache the second answer of `here` would be the first one again.
    here = ArtefactStore(store.root, store.storage_options)
    assert here.list("work") == []
    there = ArtefactStore(store.root, {**store.storage_options, "skip_instance_cache": True})
    there.replace("work/a/1", b"x")
    assert here.list("work") == ["work/a/1"]
    there.remove("work/a/1")
    there.replace("work/a/2", b"x")
    assert here.list("work") == ["work/a/2"]
    folder = "/".join((store.root, "work", "a"))
    assert len(here._fs.ls(folder)) == 1
    there.replace("work/a/3", b"x")
    assert len(here._fs.ls(folder)) == 2


def test_removing_a_folder_takes_all_below_it_and_nothing_beside_it(store: ArtefactStore) -> None:
    for path in ("work/aa/1", "work/aa/deep/2", "work/aab/3"):
        store.replace(path, b"x")
    store.remove("work/aa")
    store.remove("work/aa")
    assert store.list("work") == ["work/aab/3"]


def test_entries_have_size_and_age(store: ArtefactStore) -> None:
    store.replace("work/a", b"12345")
    (entry,) = store.entries("work")
    (fresh,) = store.entries("format.json")
    assert (entry.path, entry.bytes) == ("work/a", 5)
    assert abs(entry.modified - fresh.modified) < 60
    assert entry.modified > 1.7e9


def test_references_are_kept_apart_by_namespace_and_overwritten_in_place(store: ArtefactStore) -> None:
    one = Reference(asset="rded/synthetic_images", partition="digits|10", units={"draw0": "r"}, contents={"draw0": "c"})
    two = Reference(asset="rded/synthetic_images", partition="digits|10", units={"draw0": "s"}, contents={"draw0": "d"})
    store.write_reference("default", one)
    store.write_reference("other", two)
    assert store.read_reference("default", "rded/synthetic_images", "digits|10") == one
    store.write_reference("default", two)
    assert store.read_reference("default", "rded/synthetic_images", "digits|10") == two
    assert store.read_reference("default", "rded/synthetic_images", "digits|1") is None
    board = Reference(asset="leaderboard", partition="", units={"rows": "r"}, contents={"rows": "c"})
    store.write_reference("default", board)
    assert store.referenced("default") == {("rded/synthetic_images", "digits|10"), ("leaderboard", "")}
    assert store.referenced("nobody") == set()


@pytest.mark.slow
def test_ten_thousand_artefacts_are_listed(store: ArtefactStore) -> None:
    paths = [f"manifests/{number % 256:02x}/{number:064x}.json" for number in range(10_000)]
    if store.is_local:
        for path in paths:
            target = Path(store.root, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"{}")
    else:
        store._fs.pipe({f"{store.root}/{path}": b"{}" for path in paths})
    assert store.list("manifests") == sorted(paths)


def test_another_result_of_a_recipe_lies_beside_the_first_under_its_own_content(store: ArtefactStore) -> None:
    first = store.commit(unit(), product(b"first"), {"host": "a"})
    other = replace(product(b"second"), content="d" * 64)
    for _ in range(2):
        store.keep_beside(unit(), other, {"host": "b"})
    (kept,) = store.alternatives(unit().digest)
    assert (kept.content, kept.measurements["host"]) == ("d" * 64, "b")
    assert store.read(kept, "w.bin") == b"second"
    assert store.lookup(unit().digest) == first
    assert store.read(first, "w.bin") == b"first"
    assert store.alternatives(unit(1).digest) == []


def test_a_file_that_is_gone_is_named(store: ArtefactStore) -> None:
    made = store.commit(unit(), product(), {})
    assert store.lost(made) == []
    store.remove(payload(made))
    assert store.lost(made) == ["w.bin"]
    assert store.lost(made, {made.payloads["w.bin"].sha256}) == []
