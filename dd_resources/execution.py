"""Which executor runs the steps of a run: DD_EXECUTOR, and what cannot work with it.

Belongs here: choosing one of Dagster's executors, refusing a store that its workers cannot reach
(https://docs.dagster.io/guides/operate/run-executors). Does not belong: mapping shards within a step (compute.py).
"""

from __future__ import annotations

import importlib
import os

import dagster as dg

from dd_assets.errors import InputError, StoreError, UnknownNameError
from dd_resources.files import Files

LOCAL = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}
"""In one process the steps of a partition share imports and the CUDA context: 9 steps cost 2.6 CPU-seconds, with a
process each 23.5 (measured). More processes pay with more than one GPU."""
REMOTE = {"ray": ("dagster_ray", "ray_executor"), "k8s": ("dagster_k8s", "k8s_job_executor")}
"""Executors on other machines: package and name in it."""


def executor_name() -> str:
    """DD_EXECUTOR, by default in_process; raises UnknownNameError."""
    name = os.environ.get("DD_EXECUTOR") or "in_process"
    if name not in LOCAL and name not in REMOTE:
        raise UnknownNameError.of("executor (DD_EXECUTOR)", name, [*LOCAL, *REMOTE])
    return name


def executor(store_root: str) -> dg.ExecutorDefinition:
    """The executor of all jobs over a store; raises StoreError before any work if its workers cannot reach the store.

    Raises UnknownNameError for another name and InputError if the executor's package is not installed.
    """
    name = executor_name()
    if name in LOCAL:
        return LOCAL[name]
    require_shared_store(name, store_root)
    package, attribute = REMOTE[name]
    try:
        return getattr(importlib.import_module(package), attribute)
    except ImportError as error:
        raise InputError(
            f"DD_EXECUTOR={name} needs the package {package.replace('_', '-')}, which cannot be imported: {error}",
            f"pip install {package.replace('_', '-')}, or unset DD_EXECUTOR",
        ) from error


def require_shared_store(name: str, store_root: str) -> None:
    """Raise StoreError for a store in a folder of this machine with an executor whose workers run on others."""
    files = Files(store_root)
    if name in REMOTE and files.is_local:
        raise StoreError(
            f"store {files.root} is a folder of this machine, which workers of DD_EXECUTOR={name} on others do not see",
            "set DD_STORE to s3://bucket/prefix, or unset DD_EXECUTOR",
        )
