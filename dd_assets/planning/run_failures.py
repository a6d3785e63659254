"""What Dagster's events say of a run that failed.

Belongs here: the project's error for each step that failed, and for a run that ended before its first. Does not belong:
what goes on after it (sync.py), runs that died without a word (runs.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
from dagster._utils.error import SerializableErrorInfo

from dd_assets.errors import REFUSALS, DDError, VerdictError
from dd_assets.machine import TERMINATED, names_no_memory, no_memory


class RunFailedError(DDError):
    """A Dagster run failed; the text is a step's failure, the exit code that of the project's error there."""

    def __init__(self, problem: str, remedy: str = "", exit_code: int = DDError.exit_code) -> None:
        super().__init__(problem, remedy)
        self.exit_code = exit_code


class RunInterruptedError(DDError):
    """A Dagster run was asked to end."""

    exit_code = TERMINATED


INTERRUPTED = "DagsterExecutionInterruptedError"
"""What Dagster raises within a step when SIGTERM or SIGINT comes."""
SYSTEM_EXIT = f"SystemExit: {TERMINATED}"
"""What machine.py raises when SIGTERM comes outside of Dagster's own handling, such as while resources are made."""


def is_refusal(error: DDError) -> bool:
    """Whether what a run failed with is wrong with one asset partition alone (errors.REFUSALS)."""
    return error.exit_code in {kind.exit_code for kind in REFUSALS}


def failures(result: dg.ExecuteInProcessResult) -> dict[str, DDError]:
    """The errors of a run that did not succeed, by asset; by '' that of a run that ended before its first step."""
    found: dict[str, DDError] = {}
    for asset, text, exit_code in _told(result):
        # A blocking check fails its step too; what the check says comes first, and says more.
        found.setdefault(asset, _error(result, text, exit_code))
    return found


def _error(result: dg.ExecuteInProcessResult, text: str, exit_code: int) -> DDError:
    if INTERRUPTED in text or SYSTEM_EXIT in text:
        return RunInterruptedError(
            f"ended by SIGTERM or Ctrl-C in {text.split(':', 1)[0]}", "the same command goes on from what is stored"
        )
    if names_no_memory(text):
        return no_memory(text)
    details = f"run {result.run_id[:8]} in `dd-assets ui` has the details"
    # A refusal of the project's own has its remedy already.
    problem, remedy = (f"{text}; {details}", "") if "→" in text else (text, details)
    return RunFailedError(problem, remedy, exit_code)


def _told(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, str, int]]:
    """(asset, what failed, exit code): that of an error of the project's own, or that of any failed run."""
    told = False
    # Not told apart by its text: a method's name may hold two underscores, too.
    assets = {"__".join(key.path): key.to_user_string() for key in result.job_def.asset_layer.executable_asset_keys}
    for check in result.get_asset_check_evaluations():
        if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
            name, told = check.asset_key.to_user_string(), True
            yield name, f"{name}: verdict '{check.check_name}' failed: {check.description}", VerdictError.exit_code
    for event in result.all_events:
        if event.is_step_failure:
            data, told = event.step_failure_data, True
            said = data.user_failure_data.description if data.user_failure_data else None
            cause, exit_code = _cause(data.error) if data.error else ("failed", DDError.exit_code)
            step = str(event.step_key)
            yield assets.get(step, step), f"{step}: {said or cause}", exit_code
    if told:
        return
    for event in result.all_events:
        if event.is_run_failure and event.job_failure_data.error:
            cause, exit_code = _cause(event.job_failure_data.error)
            yield "", f"the start of the run: {cause}", exit_code
            return
    yield "", "the run failed before its first step", DDError.exit_code


def _cause(error: SerializableErrorInfo) -> tuple[str, int]:
    """What happened, and its exit code: the outermost error of the project's own, or the innermost of all."""
    kinds: list[type[DDError]] = [DDError, *_kinds_below(DDError)]
    own = {kind.__name__: kind.exit_code for kind in kinds}
    # What a worker process sends along as a cause is the text of a traceback.
    while error.cls_name not in own and error.cause is not None and error.cause.cls_name != "_RemoteTraceback":
        error = error.cause
    return error.message.strip(), own.get(error.cls_name or "", DDError.exit_code)


def _kinds_below(kind: type[DDError]) -> Iterator[type[DDError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _kinds_below(below)
