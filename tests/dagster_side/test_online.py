"""Labels that are never stored, through the command line: planned, computed by real runs, reused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dd_assets.planning.unit import Reference
from dd_resources.store import ArtefactStore
from tests.test_cli import run

ONLINE = Path(__file__).with_name("online.yaml")
ASKED = ("--select", "random/score_convnet2_w64", "--partition", "online|2")


@pytest.mark.slow
def test_a_setting_with_online_labels_syncs_and_is_then_reused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    first, again = (run(tmp_path, "sync", *ASKED, DD_DATASETS=str(ONLINE)) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "5 computed" in first.stdout
    assert "0 heavy calls" in again.stdout
    store = ArtefactStore(str(tmp_path / "store")).open()
    labels: Reference | None = store.read_reference("default", "random/soft_labels", "online|2")
    assert labels is not None
    tables = [manifest for digest in labels.units.values() if (manifest := store.lookup(digest)) is not None]
    assert [tuple(manifest.payloads) for manifest in tables] == [("batches.parquet",)] * 3
    (row,) = json.loads(run(tmp_path, "leaderboard", "--json", DD_DATASETS=str(ONLINE)).stdout)
    assert (row["label"], row["seeds"]) == ("soft", 3)
    assert row["label_bytes"] < 5000
