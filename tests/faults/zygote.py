"""A process that has imported everything a run needs, and forks a `dd-assets` command for every line it is given.

Belongs here: `python -m tests.faults.zygote`. Does not belong: what is done to the commands (kinds.py).

A command then costs its own work without five seconds of imports. It is a process of its own, in its own process
group, with its own Dagster run; only DD_STORE and DD_DATASETS are the zygote's, because definitions read them once.

Standard input: JSON lines {"arguments": [...], "environment": {...}, "log": path}. Standard output: one line
{"process": pid} for each, and {"process": pid, "status": exit status} when it has ended (negative: a signal).
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import pkgutil
import signal
import sys
import tempfile
import traceback
from typing import Any, NoReturn

PACKAGES = ("units", "synthesis", "evaluation", "models", "planning", "assets", "report", "datasets.readers", "cli")
OTHERS = (
    "pandas",
    "pyarrow.parquet",
    "safetensors.torch",
    "safetensors.numpy",
    "sklearn.datasets",
    "s3fs",
    "rich.console",
    "dd_assets.definitions",
    "dd_assets.methods.sre2l.synthesis",
)


def warm() -> None:
    """Import what a run imports."""
    for name in PACKAGES:
        package = importlib.import_module(f"dd_assets.{name}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"dd_assets.{name}.{module.name}")
    for name in OTHERS:
        importlib.import_module(name)
    import dagster as dg
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        # Dagster imports its storages when one is first used.
        instance.get_runs()


def become(order: dict[str, Any]) -> NoReturn:
    """Run the command in this process, which is a fresh fork, and end with its exit status."""
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # `kill -USR1` shows where a command is that does not end.
    faulthandler.register(signal.SIGUSR1)
    os.environ.update(order["environment"])
    from dd_assets.cli import main

    status = 70
    try:
        main(args=order["arguments"], prog_name="dd-assets")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve() -> None:
    """Fork for every line, one at a time, and say how each ended."""
    warm()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            become(json.loads(line))
        print(json.dumps({"process": process}), flush=True)
        _, status = os.waitpid(process, 0)
        print(json.dumps({"process": process, "status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    serve()
