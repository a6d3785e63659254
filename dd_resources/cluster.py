"""Pieces of work as tasks of a Ray cluster, each on a node that has what it asks for.

Belongs here: connecting, what a task asks for and the environment it gets, cancelling, what a lost node means.
Does not belong: pieces on this machine (compute.py), whole steps (execution.py), Dagster, torch.

A task is given nothing secret: its environment is shown by Ray's dashboard and stands in Ray's logs. Credentials come
from the environment in which `ray start` ran on each node, which its tasks inherit.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dd_assets.errors import DDError, InputError
from dd_resources.threads import set_threads

Item = TypeVar("Item")
Result = TypeVar("Result")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Read when the numerical libraries load: set in a worker's environment before it starts, or too late."""
RETRIES = 3
"""How often a task whose worker or node was lost begins again elsewhere."""
GRACE_SECONDS = 10.0
"""How long tasks that are told to end may take; a message to another node and back is part of it."""
CONNECT_SECONDS = 10.0
LOOK_SECONDS = 10.0
"""How often whoever waits for pieces looks how far they are."""
SECRET = re.compile("SECRET|TOKEN|PASSWORD|CREDENTIAL|_KEY")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one piece of work asks of a cluster."""

    cpus: float = 1
    gpus: float = 0
    """Ray takes fractions, and shows the piece only the GPUs that are its own."""
    memory: int = 0
    """Bytes that Ray sets aside for it; 0 asks for none."""


def run_tasks(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    request: Request,
    threads: int,
    meanwhile: Callable[[], None],
) -> Generator[tuple[int, Result], None, None]:
    """Apply a module-level function to every item, one task each; yields (position, result) as they finish.

    A task that is lost with its node begins again elsewhere, RETRIES times. On the first exception, and when the caller
    is interrupted or closes this generator, all others are cancelled: they unwind, which gives their leases back.
    Raises what a piece raised, InputError where there is no cluster, DDError for a piece that was lost too often.
    """
    ray = _connected()
    task = ray.remote(_piece).options(
        num_cpus=max(request.cpus, threads),
        num_gpus=request.gpus,
        memory=request.memory or None,
        max_retries=RETRIES,
        runtime_env={"env_vars": _environment(threads)},
        name=getattr(function, "__qualname__", "piece"),
    )
    waiting = {task.remote(function, item, threads): position for position, item in enumerate(items)}
    looked = time.monotonic()
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK_SECONDS)
            if time.monotonic() >= looked + LOOK_SECONDS:
                meanwhile()
                looked = time.monotonic()
            for done in ready:
                yield waiting.pop(done), _result(ray, done)
    except BaseException:
        _cancel(ray, list(waiting))
        raise


def forwarded(environment: Iterable[str] | None = None) -> list[str]:
    """Names of the variables that steps and tasks elsewhere need from here: where code and settings are, no secret."""
    names = os.environ if environment is None else environment
    return sorted(
        name for name in names if name == "PYTHONPATH" or (name.startswith("DD_") and not SECRET.search(name))
    )


def _environment(threads: int) -> dict[str, str]:
    pinned = {name: str(threads) for name in THREAD_VARIABLES}
    return {**{name: os.environ[name] for name in forwarded() if name in os.environ}, **pinned}


def _piece(function: Callable[[Item], Result], item: Item, threads: int) -> Result:
    set_threads(threads)
    return function(item)


def _connected() -> Any:
    """Ray, connected to the cluster of RAY_ADDRESS or, without it, of this machine; never to one of its own making."""
    import ray

    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS") or "auto"
        try:
            if address != "auto":
                # Ray itself asks an address that does not answer for minutes.
                host, _, port = address.removeprefix("ray://").rpartition(":")
                socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (OSError, RuntimeError, ValueError) as error:
            text = str(error).strip().splitlines()
            raise InputError(
                f"DD_EXECUTOR=ray reaches no cluster at {address}: {text[0] if text else type(error).__name__}",
                "run this on a node of the cluster (`ray start --address=HEAD:6379`), or queue it: sync --queue",
            ) from error
    return ray


def _result(ray: Any, done: Any) -> Any:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        # Ray's own exception quotes the worker's traceback; the cause is what the piece raised.
        raise (error.cause if isinstance(error.cause, BaseException) else error) from None
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise DDError(
            f"a piece of work was lost {RETRIES + 1} times, its worker or node each time: {reason}",
            "give it more memory (DD_STEP_MEMORY_GB), or see why nodes leave; finished pieces are kept",
        ) from error


def _cancel(ray: Any, tasks: list[Any]) -> None:
    """End tasks; those that do not unwind in time are ended with their worker."""
    with contextlib.suppress(ray.exceptions.RayError, ConnectionError):
        for task in tasks:
            ray.cancel(task)
        left = ray.wait(tasks, num_returns=len(tasks), timeout=GRACE_SECONDS)[1] if tasks else []
        for task in left:
            ray.cancel(task, force=True)
