"""Where computations run: device, processes and threads, injected into every asset.

Belongs here: choosing the device and mapping independent pieces of work over processes. Does not belong: what is
computed, tasks of a cluster (cluster.py), Dagster (dd_resources/injection.py wraps this), torch at module level.

One thread count per piece of work: on one kind of CPU a result then has the same bits whether its neighbours were
computed beside it, before it, or years ago.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from types import FrameType
from typing import Any, Literal, TypeVar

from dd_assets.errors import InputError, MachineError
from dd_resources.cluster import LOOK_SECONDS, Request, run_tasks
from dd_resources.containers import cpus_of_container
from dd_resources.threads import set_threads

Item = TypeVar("Item")
Result = TypeVar("Result")

_POOLS: dict[int, ProcessPoolExecutor] = {}
GRACE_SECONDS = 5.0
"""How long workers that are told to end may take."""
ENDED = 143
"""Exit code of a worker that was told to end."""


def _nothing() -> None:
    """What there is to do while pieces run elsewhere, unless somebody says otherwise."""


def exclusive_threads() -> int:
    """DD_EXCLUSIVE_THREADS, 1 by default. Raises InputError for what is no whole number from 1."""
    stated = os.environ.get("DD_EXCLUSIVE_THREADS") or "1"
    if not (stated.isascii() and stated.isdigit() and int(stated)):
        raise InputError(
            f"DD_EXCLUSIVE_THREADS={stated!r} is no whole number from 1",
            "set it to the number of cores that a large teacher may use, or unset it",
        )
    return int(stated)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """The injected compute resource, in a form that travels to worker processes."""

    device: str = "auto"
    """'cpu', 'cuda', 'cuda:1' or 'auto' (cuda where it is available)."""
    workers: int = 0
    """Processes for independent pieces on a CPU; 0 means one per core. A GPU is used from one process."""
    threads: int = 1
    """Threads per worker."""
    exclusive_threads: int = 1
    """Threads for work that runs alone, such as a teacher. More than one pays for large networks only: on two busy
    cores the 60-epoch digits teacher took 247 s with two threads, whose barriers wait for each other."""
    request: Request | None = None
    """What each piece asks of a Ray cluster; None where pieces run on this machine."""

    def resolved_device(self) -> str:
        """The device as torch spells it; on a cluster the one that a piece asks for, whatever this machine has."""
        if self.device != "auto":
            return self.device
        if self.request is not None:
            return "cuda" if self.request.gpus else "cpu"
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def resolved_workers(self) -> int:
        """Worker processes on this machine: one on a GPU, and where a cluster does the work."""
        if self.request is not None or self.resolved_device() != "cpu":
            return 1
        return self.workers or min(len(os.sched_getaffinity(0)), cpus_of_container())

    def runs_alone(self, exclusive: bool | Literal["threads"]) -> bool:
        """Whether such work runs here, one piece after the other: "threads" does where it gets more of them."""
        return self.exclusive_threads > self.threads if exclusive == "threads" else exclusive

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        exclusive: bool | Literal["threads"] = False,
        meanwhile: Callable[[], None] = _nothing,
    ) -> Generator[tuple[int, Result], None, None]:
        """Apply a module-level function to every item; yields (position, result) as they finish.

        Exclusive work runs here, one piece after the other, with `exclusive_threads`; the rest runs in worker
        processes, `threads` each. Work that is exclusive for its "threads" alone is like the rest where it would get
        no more of them (with as many threads the bits are the same). The first exception is raised after running
        pieces have ended; their results stand. With a `request` every piece is a task of the cluster (cluster.py),
        exclusive work too: it asks for as many CPUs as it has threads.
        `meanwhile` is called about every LOOK_SECONDS while pieces run elsewhere.
        When the caller is interrupted or closes this generator, running pieces are stopped, queued ones never begin.
        Raises MachineError if a worker process is killed; the next call starts new ones.
        """
        workers = self.resolved_workers()
        exclusive = self.runs_alone(exclusive)
        if self.request is not None:
            threads = self.exclusive_threads if exclusive else self.threads
            yield from run_tasks(function, items, self.request, threads, meanwhile)
            return
        if exclusive or workers == 1 or len(items) == 1:
            set_threads(self.exclusive_threads if exclusive else self.threads)
            for position, item in enumerate(items):
                yield position, function(item)
            return
        yield from _in_workers(function, items, workers, self.threads, meanwhile)


def _in_workers(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    threads: int,
    meanwhile: Callable[[], None],
) -> Generator[tuple[int, Result], None, None]:
    """`Compute.map` in so many processes."""
    waiting: dict[Future[Result], int] = {}
    failure: BaseException | None = None
    looked = time.monotonic()
    try:
        pool = _pool(workers, threads)
        for position, item in enumerate(items):
            waiting[pool.submit(_piece, function, item)] = position
        while waiting:
            done, _ = wait(waiting, LOOK_SECONDS, return_when=FIRST_COMPLETED)
            if time.monotonic() >= looked + LOOK_SECONDS:
                meanwhile()
                looked = time.monotonic()
            for future in done:
                position = waiting.pop(future)
                error = None if future.cancelled() else future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise error
                if error is not None and failure is None:
                    failure = error
                    for other in waiting:
                        other.cancel()
                elif error is None and not future.cancelled():
                    yield position, future.result()
    except BrokenProcessPool as error:
        # It takes no more pieces, and would refuse those of every later call.
        _stop_pool(workers)
        raise failure or _worker_killed(workers) from error
    except BaseException:
        # A process that ends waits for its workers: left alone they would compute all that was queued.
        _stop_pool(workers)
        raise
    if failure is not None:
        raise failure


def _worker_killed(workers: int) -> MachineError:
    """The line for a worker process that ended without an answer."""
    return MachineError(
        f"a worker process was killed, one of {workers}, most likely by Linux for want of memory",
        "run with fewer at once, by giving the command fewer cores (`taskset -c 0 dd-assets …`) or the compute resource"
        " fewer `workers`; the same command goes on from what is stored",
    )


def _pool(workers: int, threads: int) -> ProcessPoolExecutor:
    if workers not in _POOLS:
        # spawn: forking a process that has used torch's thread pool or CUDA can deadlock.
        context = multiprocessing.get_context("spawn")
        _POOLS[workers] = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin_worker, initargs=(threads, os.getpid())
        )
        atexit.register(close_pools)
    return _POOLS[workers]


def close_pools() -> None:
    """End the worker processes; the next `map` starts new ones."""
    while _POOLS:
        _POOLS.popitem()[1].shutdown(wait=False, cancel_futures=True)


def _stop_pool(workers: int) -> None:
    """End worker processes now; what they hold (leases, device locks) they give back if they can."""
    pool = _POOLS.pop(workers, None)
    if pool is None:
        return
    # The executor has no way to reach them before Python 3.14.
    processes = list(pool._processes.values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    alive, deadline = [process.sentinel for process in processes], time.monotonic() + GRACE_SECONDS
    while alive and time.monotonic() < deadline:
        for sentinel in connection.wait(alive, timeout=0.1):
            alive.remove(sentinel)  # type: ignore[arg-type]
    for process in processes:
        process.kill()


def _piece(function: Callable[[Item], Result], item: Item) -> Result:
    """A worker's call; told to end, it unwinds, which gives leases back, and ends without taking another piece."""
    try:
        return function(item)
    except SystemExit:
        os._exit(ENDED)


def _end_worker(number: int, frame: FrameType | None) -> None:
    # The executor sends a second one when it sees another worker end: it would stop the giving back half-way.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(ENDED)


def _begin_worker(threads: int, parent: int) -> None:
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    set_threads(threads)


def _die_with(parent: int) -> None:
    """Ask Linux to end this process when its parent ends, so that kill -9 of a run leaves no orphan computing."""
    set_death_signal = 1
    try:
        ctypes.CDLL("libc.so.6").prctl(set_death_signal, signal.SIGKILL)
    except OSError:
        return
    if os.getppid() != parent:
        os._exit(1)


def environment() -> dict[str, Any]:
    """Library versions and host facts for a manifest's measurements."""
    import platform

    import numpy
    import torch

    return {
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }


def peak_memory() -> int:
    """Bytes of memory that this process held at its peak.

    Linux' own figure where it can be read: what getrusage tells there also counts the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            stated = dict(line.split(":", 1) for line in lines)
        return int(stated["VmHWM"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)
