"""The commands around a sync: what they print where, which partitions they take, and how they end."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dd_assets.cli import main
from dd_assets.cli.computing import syncing
from dd_assets.planning import engine
from dd_assets.planning.plan import Target
from dd_assets.planning.sync import Outcome
from dd_assets.planning.underway import Underway
from dd_resources.store import ArtefactStore
from tests.planning.tiny import Tiny, spoil

IMAGES, SCORE = "noise/synthetic_images", "noise/score_convnet2_w64"
BOTH = f'key:"{SCORE}" or key:"random/soft_labels"'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Dagster instance of the test's own."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("quiet", [True, False])
def test_where_json_is_printed_progress_stays_out_of_it(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    with syncing(quiet=quiet) as job:
        job.say("computed  teacher [tiny]")
        for listener in engine.LISTENERS:
            listener.underway(Underway(recipe="0" * 64, label="teacher tiny", step=3, total=9, seconds=61.0))
    printed = capsys.readouterr()
    assert ("teacher tiny" in printed.out) is not quiet
    assert ("computed  teacher [tiny]" in printed.err) is quiet
    assert not (quiet and printed.out)


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """What `sync --queue` hands to a daemon that is thought to be there."""
    asked: list[Target] = []

    def submit(instance: object, definitions: object, targets: list[Target]) -> str:
        asked.extend(targets)
        return "abcdefgh"

    monkeypatch.setattr("dd_assets.planning.runs.require_daemon", lambda instance: None)
    monkeypatch.setattr("dd_assets.planning.runs.submit", submit)
    return asked


def test_queueing_ends_as_sync_does_where_something_was_refused(tiny: Tiny, submitted: list[Target]) -> None:
    spoil(tiny, (IMAGES, "tiny|1"), "draw0/shard00000")
    reference = tiny.store.read_reference("default", "random/soft_labels", "tiny|1")
    assert reference is not None
    manifest = tiny.store.lookup(next(iter(reference.units.values())))
    assert manifest is not None
    tiny.store.discard(manifest)
    done = run("sync", "--queue", "--select", BOTH, "--partition", "tiny|1")
    assert submitted == [("random/soft_labels", "tiny|1")]
    assert done.stdout.splitlines()[-1] == "1 queued, backfill abcdefgh"
    assert done.exit_code == 1
    named = f"dd-assets: refused: {IMAGES} [tiny|1]; left out because of it: {SCORE} [tiny|1] → the lines that begin"
    assert done.stderr.splitlines()[-1].startswith(named)


def test_queueing_what_is_all_blocked_ends_as_sync_does(tiny: Tiny, submitted: list[Target]) -> None:
    done = run("sync", "--queue", "--select", 'key:"noise/score_resnet18"', "--partition", "tiny|1")
    assert done.exit_code == 3
    assert "noise/score_resnet18 [tiny|1] is blocked: tiny does not score resnet18" in done.stderr
    assert not submitted


STUDY: Target = ("studies/rd3_table_7", "digits|1")


def test_a_transfer_takes_studies_along(tiny: Tiny, tmp_path: Path) -> None:
    score = tiny.store.read_reference("default", SCORE, "tiny|1")
    assert score is not None
    tiny.store.write_reference("default", dataclasses.replace(score, asset=STUDY[0], partition=STUDY[1]))
    done = run("transfer", str(tmp_path / "there"))
    assert done.exit_code == 0, done.output
    assert ArtefactStore(str(tmp_path / "there")).open().read_reference("default", *STUDY) is not None


def test_adopting_asks_for_studies_where_they_have_cells(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Target] = []

    def sync(targets: list[Target], **_: object) -> Outcome:
        asked.extend(targets)
        return Outcome()

    monkeypatch.setattr("dd_assets.cli.computing._sync", sync)
    assert run("adopt").exit_code == 0
    assert STUDY in asked
    assert (STUDY[0], "digits|50") not in asked
    asked.clear()
    assert run("sync").exit_code == 0
    assert not [asset for asset, _ in asked if asset.startswith("studies/")]


def test_a_transfer_names_what_it_kept_and_how_to_replace_it(tiny: Tiny, tmp_path: Path) -> None:
    there = ArtefactStore(str(tmp_path / "there")).open()
    own = tiny.store.read_reference("default", SCORE, "tiny|2")
    assert own is not None
    there.write_reference("default", dataclasses.replace(own, partition="tiny|1"))
    asked = ("transfer", there.root, "--select", f'key:"{SCORE}"', "--partition", "tiny|1")
    done = run(*asked)
    assert done.exit_code == 0, done.output
    said = f"1 kept as they are there, of other recipes: {SCORE} [tiny|1] → --replace takes the source's"
    assert done.stdout.splitlines()[-1] == said
    done = run(*asked, "--replace")
    assert "kept" not in done.stdout.splitlines()[-1]
    assert there.read_reference("default", SCORE, "tiny|1") == tiny.store.read_reference("default", SCORE, "tiny|1")


def test_a_transfer_makes_no_store_of_a_mistyped_place(tiny: Tiny, tmp_path: Path) -> None:
    done = run("transfer", str(tmp_path / "new"), "--from", str(tmp_path / "typo"))
    assert done.exit_code == 4
    assert done.stderr.startswith(f"dd-assets: there is no store at {tmp_path}/typo → ")
    ArtefactStore(str(tmp_path / "empty")).open()
    done = run("transfer", str(tmp_path / "new"), "--from", str(tmp_path / "empty"))
    assert done.exit_code == 3
    assert not (tmp_path / "typo").exists()
    assert not (tmp_path / "new").exists()
