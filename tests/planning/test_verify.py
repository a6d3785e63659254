"""Verification with real units on real digits: recomputed in another process, compared, never committed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dd_assets.datasets.registry import setting
from dd_assets.errors import InputError, MachineError, UnknownNameError
from dd_assets.methods.registry import method
from dd_assets.planning.engine import Engine, StoreCheckpoints
from dd_assets.planning.explain import kept_beside
from dd_assets.planning.unit import Manifest, Unit
from dd_assets.planning.verify import RecomputationError, verify
from dd_assets.units import dataset, image_set, images, kinds
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore, manifest_path
from tests.planning import counting

RAW = RawData()


def _engine(store: ArtefactStore) -> Engine:
    return Engine(store, RAW, Compute(device="cpu", workers=1))


@pytest.fixture
def made(store: ArtefactStore) -> Manifest:
    """The digits dataset unit, committed."""
    return _engine(store).run([dataset.plan(setting("digits"), RAW)])[0]


def rewrite(store: ArtefactStore, manifest: Manifest, **changes) -> Manifest:
    """Replace the stored manifest, as damage or another machine's result would."""
    changed = replace(manifest, **changes)
    store.replace(manifest_path(manifest.recipe_digest), json.dumps(changed.to_json()).encode())
    return changed


def test_a_stored_content_that_the_recipe_does_not_give_is_found_and_nothing_is_written(
    store: ArtefactStore, made: Manifest
) -> None:
    tampered = rewrite(store, made, content="f" * 64, summary={**made.summary, "train_counts": [1]})
    before = store.entries("")
    # With look-up on, the tampered manifest would be found and called the same.
    found = verify(store, RAW, tampered, device="cpu")
    assert not found.same
    assert (found.content_old, found.content_new) == ("f" * 64, made.content)
    assert found.differs == ("summary train_counts differs",)
    assert found.seconds > 0
    assert store.entries("") == before


def test_another_result_is_kept_beside_the_first_and_nothing_stored_is_lost(
    store: ArtefactStore, made: Manifest
) -> None:
    # As if another machine had computed what is stored; recomputed here, the recipe means something else.
    foreign = rewrite(store, made, content="f" * 64, measurements={**made.measurements, "torch": "1.0", "host": "old"})
    before = {entry.path for entry in store.entries("")}
    found = verify(store, RAW, foreign, device="cpu", keep=True)
    assert (found.same, found.content_old, found.content_new) == (False, "f" * 64, made.content)
    assert (found.then["torch"], found.then["host"]) == ("1.0", "old")
    assert found.now["torch"] != "1.0"
    assert f"host was old, is {found.now['host']}" in found.differs
    assert before < {entry.path for entry in store.entries("")}
    used = store.lookup(made.recipe_digest)
    assert used is not None
    assert used.content == "f" * 64, "the first result is no longer the one in use"
    (other,) = store.alternatives(made.recipe_digest)
    assert (other.content, other.summary) == (made.content, made.summary)
    assert store.read(other, "contact_sheet.png") == store.read(made, "contact_sheet.png")
    assert other.measurements["torch"] == found.now["torch"]
    (line,) = kept_beside(store, [made.recipe_digest])
    assert line.startswith(f"dataset digits: dataset (recipe {made.recipe_digest[:12]}) has another result")
    assert line.endswith(f"beside {'f' * 12}")
    # Asked again, the same other result is not kept twice; once it is the one in use it is not 'another' any more.
    verify(store, RAW, foreign, device="cpu", keep=True)
    assert len(store.alternatives(made.recipe_digest)) == 1
    rewrite(store, made)
    assert kept_beside(store, [made.recipe_digest]) == []


@pytest.mark.slow
def test_a_result_that_is_the_same_is_not_kept_again(store: ArtefactStore, made: Manifest) -> None:
    before = store.entries("")
    assert verify(store, RAW, made, device="cpu", keep=True).same
    assert store.entries("") == before


@pytest.mark.slow
def test_a_sound_unit_is_the_same(store: ArtefactStore, made: Manifest) -> None:
    result = verify(store, RAW, made, device="cpu")
    assert result.same
    assert result.content_old == result.content_new == made.content
    assert result.differs == ()


@pytest.mark.slow
def test_images_are_computed_again_from_the_stored_json_form_of_their_recipe(
    store: ArtefactStore, made: Manifest
) -> None:
    chosen, random = setting("digits"), method("random")
    facts = dataset.facts(chosen, made)
    parameters = random.recipe_for(chosen.data).parameters
    shards = images.plan(random, chosen, facts, 1, [{"dataset": made}] * random.draws, parameters)[0]
    parts = _engine(store).run(shards)
    whole = _engine(store).run([image_set.plan(parts, chosen.classes, 1, 0, "random digits|1")])[0]
    for manifest in (parts[0], whole):
        found = store.lookup(manifest.recipe_digest)
        assert found is not None
        result = verify(store, RAW, found, device="cpu")
        assert result.same, result


INJECT = "from dd_assets.units import kinds\nfrom tests.planning import counting\nkinds.kinds = counting.table\n"


@pytest.mark.slow
def test_a_checkpoint_is_neither_read_nor_removed(
    store: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "kinds", counting.table)
    (tmp_path / "sitecustomize.py").write_text(INJECT, "utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{counting.PROJECT}")
    log = tmp_path / "log"
    (counted,) = _engine(store).run([counting.unit(log=str(log), steps=4, pause=0, every=2)])
    area = StoreCheckpoints(store, counted.recipe_digest)
    # Resumed from here, the sum would be 999.
    area.save({"step": np.array(4), "total": np.array(999)})
    assert verify(store, RAW, counted, device="cpu").same
    steps = counting.steps_logged(log)
    assert [step for _, step in steps] == [0, 1, 2, 3] * 2
    assert len({process for process, _ in steps}) == 2, "it was not a fresh process"
    kept = area.load()
    assert kept is not None
    assert kept["total"] == 999


def test_an_input_that_is_gone_or_another_is_refused(store: ArtefactStore, made: Manifest) -> None:
    reader = Unit(
        name="image_set",
        version=1,
        parameters={},
        inputs={"shard0": made.content},
        sources={"shard0": made.recipe_digest},
    )
    manifest = replace(made, recipe=reader.recipe, recipe_digest=reader.digest, sources=dict(reader.sources))
    rewrite(store, made, content="e" * 64)
    with pytest.raises(InputError, match=r"its input shard0 .* is now eeeeeeeeeeee"):
        verify(store, RAW, manifest)
    store.remove(manifest_path(made.recipe_digest))
    with pytest.raises(InputError, match=r"its input shard0 .* is no longer in the store"):
        verify(store, RAW, manifest)


def test_a_unit_over_references_is_refused(store: ArtefactStore, made: Manifest) -> None:
    board = Unit(name="leaderboard", version=1, parameters={"namespace": "default"}, inputs={"a/b": "c"}, label="board")
    with pytest.raises(InputError, match="board summarises what its deployment holds"):
        verify(store, RAW, replace(made, recipe=board.recipe, recipe_digest=board.digest, setting="", label="board"))


def test_a_recipe_that_was_edited_is_refused(store: ArtefactStore, made: Manifest) -> None:
    with pytest.raises(InputError, match="does not hash to its own recipe digest"):
        verify(store, RAW, replace(made, recipe={**made.recipe, "version": 9}))


@pytest.mark.slow
def test_a_failing_recomputation_says_why(store: ArtefactStore, made: Manifest, tmp_path: Path) -> None:
    gone = Unit(name="dataset", version=1, parameters={}, inputs={"source": "s"}, setting="no-such-setting")
    manifest = replace(made, recipe=gone.recipe, recipe_digest=gone.digest, setting="no-such-setting")
    with pytest.raises(UnknownNameError, match=r"no-such-setting"):
        verify(store, RawData(str(tmp_path)), manifest, device="cpu")


def test_a_recomputation_that_gets_no_memory_says_so(
    store: ArtefactStore, made: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts tell by the exit code: 8 for this, 1 for code that is broken."""
    ends = {
        "_ArrayMemoryError: Unable to allocate 9.3 GiB for an array": MachineError,
        "ValueError: broken": RecomputationError,
    }
    for stderr, kind in ends.items():
        done = subprocess.CompletedProcess([], 1, stdout="", stderr=f"Traceback\n{stderr}\n")
        monkeypatch.setattr(subprocess, "run", lambda *_, done=done, **__: done)
        with pytest.raises(kind, match=stderr.split(": ")[1]):
            verify(store, RAW, made, device="cpu")
