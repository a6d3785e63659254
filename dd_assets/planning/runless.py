"""Check results in Dagster's log without a computation behind them.

Belongs here: getting a second result of one check and partition past Dagster's index. Does not belong: which results
there are (sync.py), results of runs, which Dagster records itself.

An event without a run has the empty run id, and Dagster's table of checks is unique over (asset, check, run id,
partition), so that it takes one such result per partition and fails at the next. A further one is therefore reported
under the id of a run without steps, made for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
from dagster._core.events import DagsterEvent
from dagster._core.utils import make_new_run_id
from sqlalchemy.exc import IntegrityError

JOB = "reported_checks"
"""What the run is called under which later results stand."""


@dataclass
class CheckReports:
    """One pass over partitions; its later results share one run."""

    instance: dg.DagsterInstance
    _run_id: str = ""

    def report(self, result: dg.AssetCheckEvaluation) -> None:
        """Record a result as the latest of its check and partition."""
        try:
            self.instance.report_runless_asset_event(result)
        except IntegrityError:
            self.instance.report_dagster_event(
                DagsterEvent(
                    event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
                    job_name=JOB,
                    event_specific_data=result,
                ),
                run_id=self._run(),
            )

    def _run(self) -> str:
        if not self._run_id:
            self._run_id = make_new_run_id()
            self.instance.add_run(dg.DagsterRun(job_name=JOB, run_id=self._run_id, status=dg.DagsterRunStatus.SUCCESS))
        return self._run_id
