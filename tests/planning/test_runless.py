"""Results of checks that no run computed, in instances as people have them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from dd_assets.planning.runless import JOB, CheckReports

KEY = dg.AssetCheckKey(dg.AssetKey(["rded", "synthetic_images"]), "up_to_date")


def result(partition: str, passed: bool) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=KEY.asset_key, check_name=KEY.name, passed=passed, metadata={}, partition=partition
    )


def test_the_latest_result_of_a_partition_stands_however_often_one_is_reported(tmp_path: Path) -> None:
    """Dagster alone ends the second pass with an IntegrityError, having taken the first."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for passed in (True, False, True, False):
            reports = CheckReports(instance)
            for partition in ("digits|1", "digits|10"):
                reports.report(result(partition, passed))
        history = instance.event_log_storage.get_asset_check_execution_history(KEY, limit=20)
        assert len(history) == 8
        statuses = [(record.partition, record.status.value) for record in history[:4]]
        assert statuses == [
            ("digits|10", "FAILED"),
            ("digits|1", "FAILED"),
            ("digits|10", "SUCCEEDED"),
            ("digits|1", "SUCCEEDED"),
        ]
        # One run a pass, and none for the first, which needs none.
        runs = {run.run_id: run for run in instance.get_runs()}
        assert [run.job_name for run in runs.values()] == [JOB] * 3
        assert all(run.status == dg.DagsterRunStatus.SUCCESS for run in runs.values())
        assert {record.run_id for record in history} == {"", *runs}
