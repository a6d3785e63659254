"""A small campaign with every kind of fault; the large one is `make faults` (docs/results/reliability.md)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dd_resources.store import ArtefactStore, manifest_path
from tests.faults.campaign import CANCEL, SHARES, campaign, counts, order, table, tally
from tests.faults.state import torn

TRIALS = 12


def test_at_least_half_of_all_trials_kill_and_every_kind_is_tried() -> None:
    for trials in (12, 100, 300):
        shares = counts(trials)
        assert sum(shares.values()) == trials
        assert shares["kill -9"] >= trials // 2 - (trials < 50)
        assert all(shares.values())
    assert order(300, 1, tuple(SHARES)) == order(300, 1, tuple(SHARES))
    assert order(300, 1, tuple(SHARES)) != order(300, 2, tuple(SHARES))


def test_the_table_has_sums_and_leaves_out_what_struck_too_late() -> None:
    common = {"defects": [], "hit": True}
    trials = [
        {**common, "kind": "kill -9", "stage": "teacher"},
        {**common, "kind": "kill -9", "stage": "labels"},
        {**common, "kind": CANCEL, "stage": "labels", "defects": ["x"]},
        {**common, "kind": "SIGTERM", "stage": "labels", "hit": False},
    ]
    assert tally(trials) == {"labels": {"kill -9": 1, CANCEL: 1}, "teacher": {"kill -9": 1}}
    assert table({"trials": trials}).splitlines()[2:] == [
        "| labels | 1 | 1 | 2 |",
        "| teacher | 1 | 0 | 1 |",
        "| all | 2 | 1 | 3 |",
        "| with a defect | 0 | 1 | 1 |",
    ]


def test_a_result_that_is_still_missing_is_the_same_problem_after_another_came_back(tmp_path: Path) -> None:
    store = ArtefactStore(str(tmp_path / "store"))
    units = {f"seed-{seed}": str(seed) * 64 for seed in (1, 2)}
    record = {"asset": "sre2l/score", "partition": "tried|1", "content": "c", "units": units}
    store.replace("references/default/sre2l/score/tried@1.json", json.dumps(record).encode())
    before = torn(store)
    assert [problem.split()[-5][:3] for problem in before] == ["111", "222"]
    store.replace(manifest_path("1" * 64), b"{}")
    after = [problem for problem in torn(store) if problem.startswith("reference")]
    assert after == before[1:]


@pytest.mark.slow
@pytest.mark.service
def test_a_small_campaign_finds_every_invariant_kept(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(probe)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"filling a disk needs the right to mount: {done.stderr.strip()}")
    subprocess.run(["umount", str(probe)], check=True)
    found = campaign(TRIALS, 7, tmp_path / "faults.json", tmp_path / "place")
    assert json.loads((tmp_path / "faults.json").read_text()) == found
    assert not [trial for trial in found["trials"] if trial["defects"]], table(found)
    struck = [trial for trial in found["trials"] if trial["hit"]]
    assert {trial["kind"] for trial in struck} == SHARES.keys()
    assert len(struck) >= TRIALS - 1
