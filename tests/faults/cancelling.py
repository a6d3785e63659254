"""Cancelling from the UI: a run on a real webserver, daemon and code server, ended by GraphQL at a random moment.

Belongs here: trials of that one kind, which need a deployment and not a zygote. Does not belong: the faults of
commands (kinds.py).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dd_resources.store import manifest_path
from tests.dagster_side.service import Service
from tests.faults import state
from tests.faults.children import wait_until
from tests.faults.state import Truth
from tests.faults.trials import PARTITION, SCORE, SETTINGS, SYNC, Trial
from tests.servers import free_port

JOB = "sre2l_job"
ASSETS = ("sre2l/synthetic_images", "sre2l/soft_labels", SCORE)
UPSTREAM = ("dataset", "teacher", "leaderboard")
GIVEN_BACK = 15.0
"""Seconds within which a cancelled run has to hold nothing any more."""


@dataclass
class Deployment:
    """A running deployment whose store holds a finished run."""

    service: Service
    truth: Truth
    seconds: float
    """How long a run of the whole job takes from its start to its end."""


@contextmanager
def deployment(root: Path) -> Iterator[Deployment]:
    """A deployment for as long as the body lasts."""
    service = Service(root, free_port(), overrides={"DD_DATASETS": str(SETTINGS)})
    try:
        service.start()
        done = service.command(*SYNC)
        assert done.returncode == 0, done.stderr
        truth = Truth(
            contents=state.contents(service.store),
            kinds=state.kinds(service.store),
            references=state.references(service.store),
        )
        made = Deployment(service, truth, 0.0)
        _forget(made, 0, random.Random(0))
        run = _started(made)
        began = time.monotonic()
        assert service.end_of(run) == "SUCCESS"
        made.seconds = time.monotonic() - began
        yield made
    finally:
        service.stop()


def cancel(made: Deployment, number: int, chance: random.Random) -> Trial:
    """One trial; with `hit` False if the run was over before it was cancelled."""
    began, service, store = time.monotonic(), made.service, made.service.store
    keep = chance.randrange(len(_own(made)))
    _forget(made, keep, chance)
    # References of what was taken away stay; they are no fault of the run.
    before, dangling = state.manifests(store), set(state.torn(store))
    drawn = chance.uniform(0.0, made.seconds)
    trial = Trial(number, "cancel from the UI", len(before), round(drawn, 3), note={"clock": "wall"})
    run = _started(made)
    time.sleep(drawn)
    leased = state.leased_kinds(store, made.truth)
    between = state.stage(store, made.truth, process=0)
    try:
        service.terminate(run)
    except AssertionError:
        # A run that was over before it could be cancelled is drawn anew; any other refusal is a fault.
        if service.status(run) != "SUCCESS":
            raise
    trial.message = service.end_of(run)
    trial.hit = trial.message != "SUCCESS"
    trial.stage = leased[0] if leased else between
    if trial.hit:
        if trial.message != "CANCELED":
            trial.defects.append(f"the run ended as {trial.message}")
        if not wait_until(lambda: not state.held(store), GIVEN_BACK):
            trial.defects += [f"after the fault: {problem}" for problem in state.held(store)]
        survived = state.manifests(store)
        torn = [problem for problem in state.torn(store) if problem not in dangling]
        trial.defects += [f"after the fault: {problem}" for problem in (*torn, *state.lost(before, survived))]
        again = service.end_of(service.launch(JOB, PARTITION, ASSETS))
        if again != "SUCCESS":
            trial.defects.append(f"resuming ended as {again}")
        resumed = state.manifests(store)
        for problem in (*state.torn(store), *state.lost(survived, resumed), *state.different(store, made.truth)):
            trial.defects.append(f"after resuming: {problem}")
        trial.defects += [f"after resuming: {path} is left" for path in store.list("work")]
    trial.seconds = round(time.monotonic() - began, 1)
    return trial


def _own(made: Deployment) -> list[str]:
    """Recipe digests of the units that the job computes."""
    return sorted(digest for digest, kind in made.truth.kinds.items() if kind not in UPSTREAM)


def _forget(made: Deployment, keep: int, chance: random.Random) -> None:
    """Remove the results of the job from the store but for `keep` of its units, drawn at random."""
    for digest in chance.sample(_own(made), len(_own(made)) - keep):
        made.service.store.remove(manifest_path(digest))


def _started(made: Deployment) -> str:
    """A launched run that has begun."""
    run = made.service.launch(JOB, PARTITION, ASSETS)
    states = ("STARTED", "SUCCESS", "FAILURE")
    made.service.wait_for(lambda: made.service.status(run) in states, 120, "the run to begin")
    return run
