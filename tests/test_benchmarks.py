"""The benchmarks run: every path of the GPU script, the graph's on a grid of one setting, a table from scores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import evaluation, iterations

PROJECT = Path(__file__).resolve().parents[1]


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_gpu_script_runs_dry_and_goes_on_where_it_was_stopped() -> None:
    shown = _run("benchmarks.gpu", "all", "--dry")
    assert shown.count("to go on") == 2
    assert shown.rstrip().endswith("every path ran")


@pytest.mark.slow
def test_an_up_to_date_grid_is_planned_and_synced_at_little_cost(tmp_path: Path) -> None:
    shown = _run("benchmarks.graph", "--settings", "1", "--methods", "6", "--out", str(tmp_path / "graph.json"))
    assert "| asset_partitions |" in shown
    (row,) = json.loads((tmp_path / "graph.json").read_text())["rows"]
    # Measured: 2.1 to 2.5 ms of a core for each that is up to date (docs/results/performance.md). A second look at
    # the store or at Dagster's log for each of them would double it, and a machine may be half as fast.
    assert row["sync_cpu_s"] / row["asset_partitions"] < 0.016


def test_a_methods_beginning_is_its_own_row_without_iterations_else_the_one_it_starts_from() -> None:
    names = ("sre2l", "sre2l_quarter", "noise", "edc", "edc_quarter", "edc_init", "rded", "dwa_quarter", "dwa", "cvdd")
    rows = {
        name: {
            "method": name,
            "accuracy_mean": place / 100,
            "accuracy_std": 0.01,
            "device_seconds": 10.0 ** (place - 3),
        }
        for place, name in enumerate(names)
    }
    found = iterations.stages(rows)
    # dwa has no row for its real images here, cvdd none of a quarter.
    assert {name: [row["method"] for row in members] for name, members in found.items()} == {
        "sre2l": ["noise", "sre2l_quarter", "sre2l"],
        "edc": ["edc_init", "edc_quarter", "edc"],
    }
    lines = iterations.table(found).splitlines()[2:]
    assert lines[0] == "| `edc` | 5.0 ± 1.0 (`edc_init`) | 4.0 ± 1.0 | 3.0 ± 1.0 | 1 |"
    assert lines[1].startswith("| `sre2l` | 2.0 ± 1.0 (`noise`) |")
    assert "CPU-seconds" in iterations.chart(found, "t")


def test_an_evaluation_is_compared_with_the_quickest_baselines_that_were_timed() -> None:
    found = {"A, 0 workers": [(1.0, 10.0)], "A, 2 workers": [(0.5, 10.0)], "dd-assets, bf16": [(0.1, 5.0), (0.1, 5.0)]}
    rows = evaluation.rows_of(found)
    assert [row["whole_s"] for row in rows] == pytest.approx([480.0, 280.0, 80.0])
    assert [row["faster_than_A"] for row in rows] == pytest.approx([280 / 480, 1.0, 3.5])
    assert not any("faster_than_B" in row for row in rows)
    (alone,) = evaluation.rows_of({"dd-assets, bf16_products": [(0.1, 5.0)]})
    assert set(alone) == {"arm", "epoch_s", "scoring_s", "whole_s"}
