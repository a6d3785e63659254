"""What `sync` says of a run that failed: the project's own error before its cause, and what ended a run at its start.

Belongs here: reading Dagster's events of failed runs. Does not belong: the faults themselves (tests/faults).
"""

from collections.abc import Callable

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from dd_assets.errors import DDError, InputError, StoreError, VerdictError
from dd_assets.machine import TERMINATED
from dd_assets.planning.run_failures import RunFailedError, RunInterruptedError, failures, is_refusal


def _outcome(of_resource: Callable[[], None], of_step: Callable[[], None] = lambda: None) -> DDError:
    """The error for a run whose resource and step do this."""

    @dg.resource
    def store(context: dg.InitResourceContext) -> None:
        of_resource()

    @dg.op(required_resource_keys={"store"})
    def step(context: dg.OpExecutionContext) -> None:
        of_step()

    @dg.job(resource_defs={"store": store})
    def job() -> None:
        step()

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    (error,) = failures(result).values()
    return error


def _away() -> None:
    try:
        raise ConnectionError("Could not connect to the endpoint URL")
    except ConnectionError as error:
        raise StoreError("store s3://bucket: reading format.json failed: Could not connect", "check it") from error


def _away_in_an_asset() -> None:
    """As an asset's shell tells Dagster of it (assets/shell.py)."""
    try:
        _away()
    except StoreError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _nothing() -> None:
    pass


def test_the_projects_own_error_stands_before_what_caused_it() -> None:
    for error in (_outcome(_away), _outcome(_nothing, _away), _outcome(_nothing, _away_in_an_asset)):
        assert isinstance(error, RunFailedError)
        assert "store s3://bucket: reading format.json failed: Could not connect → check it; run " in str(error)
        assert str(error).endswith(" in `dd-assets ui` has the details")
        assert str(error).count("→") == 1
        assert error.exit_code == StoreError.exit_code


def test_of_foreign_errors_the_innermost_is_told() -> None:
    def fail() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise RuntimeError("outer") from error

    error = _outcome(_nothing, fail)
    assert "KeyError: 'inner' → run " in str(error)
    assert error.exit_code == 1


def test_a_blocking_check_that_failed_has_the_exit_code_of_verdicts() -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("floor", asset="judged", blocking=True)])
    def judged() -> dg.MaterializeResult:  # type: ignore[type-arg]
        failed = dg.AssetCheckResult(check_name="floor", passed=False, description="top-1 12 %, floor 90 %")
        return dg.MaterializeResult(check_results=[failed])

    with dg.DagsterInstance.ephemeral() as instance:
        found = failures(dg.materialize([judged], instance=instance, raise_on_error=False))
    (error,) = found.values()
    assert list(found) == ["judged"]
    assert "judged: verdict 'floor' failed: top-1 12 %, floor 90 % → run " in str(error)
    assert error.exit_code == VerdictError.exit_code


def test_every_failed_step_has_its_own_error_and_only_a_refusal_lets_others_go_on() -> None:
    def failing(name: str, error: DDError) -> dg.AssetsDefinition:
        @dg.asset(key=["m", name])
        def made() -> None:
            raise dg.Failure(str(error), allow_retries=False) from error

        return made

    assets = [failing("images", InputError("no images", "add some")), failing("labels", StoreError("gone", "look"))]
    with dg.DagsterInstance.ephemeral() as instance:
        found = failures(dg.materialize(assets, instance=instance, raise_on_error=False))
    assert {asset: is_refusal(error) for asset, error in found.items()} == {"m/images": True, "m/labels": False}
    assert "m__images: no images → add some; run " in str(found["m/images"])


def test_the_asset_of_a_step_is_the_one_that_it_makes_whatever_its_name() -> None:
    @dg.asset(key=["own__method", "images"])
    def made() -> None:
        raise dg.Failure("no images", allow_retries=False) from InputError("no images")

    with dg.DagsterInstance.ephemeral() as instance:
        found = failures(dg.materialize([made], instance=instance, raise_on_error=False))
    assert list(found) == ["own__method/images"]


@pytest.mark.parametrize("end", [DagsterExecutionInterruptedError(), SystemExit(TERMINATED)])
def test_a_run_ended_at_its_start_says_so(end: BaseException) -> None:
    def ended() -> None:
        raise end

    error = _outcome(ended)
    assert isinstance(error, RunInterruptedError)
    assert error.exit_code == TERMINATED
    assert "ended by SIGTERM or Ctrl-C" in str(error)


def test_an_error_of_another_kind_at_the_start_is_told_too() -> None:
    def fail() -> None:
        raise InputError("no such device: gpu7", "use cpu")

    assert "no such device: gpu7 → use cpu" in str(_outcome(fail))
