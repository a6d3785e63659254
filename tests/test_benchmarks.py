"""The benchmarks run: every path of the GPU script, and the graph's on a grid of one setting."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_gpu_script_runs_dry_and_goes_on_where_it_was_stopped() -> None:
    shown = _run("benchmarks.gpu", "all", "--dry")
    assert shown.count("to go on") == 2
    assert shown.rstrip().endswith("every path ran")


def test_an_up_to_date_grid_is_planned_and_synced_at_little_cost(tmp_path: Path) -> None:
    shown = _run("benchmarks.graph", "--settings", "1", "--methods", "6", "--out", str(tmp_path / "graph.json"))
    assert "| asset_partitions |" in shown
    (row,) = json.loads((tmp_path / "graph.json").read_text())["rows"]
    # Measured: 3 to 4 ms of a core for each that is found up to date (docs/results/performance.md). A second look at
    # the store or at Dagster's log for each of them would double it, and a machine may be half as fast.
    assert row["sync_cpu_s"] / row["asset_partitions"] < 0.016
