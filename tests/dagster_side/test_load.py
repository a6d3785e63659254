"""The load benchmark on four partitions: all of them run, and what it reports was really seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import load

pytestmark = [pytest.mark.service, pytest.mark.slow]


def test_a_small_backfill_drains_while_the_pages_answer(tmp_path: Path) -> None:
    rows = load.measure(tmp_path, partitions=4, seconds=300)
    last = rows[-1]
    assert last["runs_ended"] == "3/3"
    assert 0 < last["graphql_p50_s"] <= last["graphql_p95_s"] < 60
    assert last["log_kB_per_run"] > 1
    for name in load.PROCESSES:
        assert 50 < last[f"{name}_MB"] < 2000, name
