"""Runs whose process is gone are found and marked; what would never be started is not submitted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from dd_assets.planning.runs import PROCESS_TAG, NoDaemonError, mark_dead_runs, process_tags, require_daemon

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance in a folder, as the command line has."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def run_of(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    run = dg.DagsterRun(job_name="noise_job", status=STARTED, tags=tags)
    return instance.add_run(run).run_id


def status(instance: dg.DagsterInstance, run: str) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run)
    assert found is not None
    return found.status


def tags_of_a_process_that_ended() -> dict[str, str]:
    code = "import json; from dd_assets.planning.runs import process_tags; print(json.dumps(process_tags()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_run_whose_process_ended_is_marked_failed_and_its_slots_are_freed(instance: dg.DagsterInstance) -> None:
    dead, alive = run_of(instance, tags_of_a_process_that_ended()), run_of(instance, process_tags())
    of_a_daemon = run_of(instance, {})
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    assert storage.claim_concurrency_slot("gpu", dead, "sre2l__synthetic_images").is_claimed
    assert mark_dead_runs(instance) == [dead]
    assert status(instance, dead) == FAILURE
    assert status(instance, alive) == status(instance, of_a_daemon) == STARTED
    assert storage.get_concurrency_info("gpu").active_slot_count == 0
    assert mark_dead_runs(instance) == []


def test_the_ui_does_not_show_which_process_a_run_was_in() -> None:
    from dagster._core.storage.tags import HIDDEN_TAG_PREFIX

    assert all(name.startswith(HIDDEN_TAG_PREFIX) for name in process_tags())


def test_a_process_of_another_machine_is_not_judged(instance: dg.DagsterInstance) -> None:
    facts = json.loads(tags_of_a_process_that_ended()[PROCESS_TAG])
    run_of(instance, {PROCESS_TAG: json.dumps({**facts, "machine": "another boot"})})
    assert mark_dead_runs(instance) == []


def test_without_a_daemon_nothing_is_submitted(instance: dg.DagsterInstance) -> None:
    with pytest.raises(NoDaemonError, match=r"no daemon of .* has been seen lately \(.*BACKFILL.* → start one with"):
        require_daemon(instance)
