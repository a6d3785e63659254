"""Which executor runs the steps of a run: DD_EXECUTOR, and what cannot work with it.

Belongs here: choosing one of Dagster's executors, refusing a store that its workers cannot reach, what a step and its
pieces ask of a cluster (https://docs.dagster.io/guides/operate/run-executors). Does not belong: mapping pieces within
a step (compute.py, cluster.py).
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from dd_assets.errors import InputError, StoreError, UnknownNameError
from dd_resources.cluster import Request, forwarded
from dd_resources.files import Files

LOCAL = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}
"""In one process the steps of a partition share imports and the CUDA context: 9 steps cost 2.6 CPU-seconds, with a
process each 23.5 (measured). More processes pay with more than one GPU."""
REMOTE = {"ray": ("dagster_ray", "ray_executor"), "k8s": ("dagster_k8s", "k8s_job_executor")}
"""Executors on other machines: package and name in it."""
WAITING = {"num_cpus": 0, "num_gpus": 0, "memory": 2**30}
"""What a step asks of Ray: it plans and waits, its pieces compute. With a CPU or a GPU of its own it could hold the
last one that its pieces need. The memory is what Python, Dagster and Ray's driver take; it bounds a node's steps."""
STEP_RETRIES = 2
"""How often a step is tried again whose process was lost with its node; it goes on from its finished pieces."""


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
        found = getattr(importlib.import_module(package), attribute)
        return found.configured({"ray": {"env_vars": step_environment()}}, name="ray") if name == "ray" else found
    except ImportError as error:
        raise InputError(
            f"DD_EXECUTOR={name} needs the package {package.replace('_', '-')}, which cannot be imported: {error}",
            f"pip install {package.replace('_', '-')}, or unset DD_EXECUTOR",
        ) from error


def step_environment() -> list[str]:
    """Variables that a step on Ray gets from here, in dagster-ray's spelling: NAME, or NAME=value.

    A step is the command `dagster`, looked for in this environment's folder first. What is secret is left out.
    """
    return [f"PATH={os.path.dirname(os.path.abspath(sys.executable))}:${{PATH}}", *forwarded()]


def require_shared_store(name: str, store_root: str) -> None:
    """Raise StoreError for a store in a folder of this machine with an executor whose workers run on others.

    DD_STORE_SHARED=1 declares that the folder is mounted at the same path on all of them.
    """
    files = Files(store_root)
    if name in REMOTE and files.is_local and os.environ.get("DD_STORE_SHARED") != "1":
        raise StoreError(
            f"store {files.root} is a folder of this machine, which workers of DD_EXECUTOR={name} on others do not see",
            "set DD_STORE to s3://bucket/prefix, set DD_STORE_SHARED=1 if every node mounts it there, or unset"
            " DD_EXECUTOR",
        )


def piece_request(networks: bool) -> Request | None:
    """What each piece of a step asks of Ray, by the same variables as `step_tags`; None with other executors.

    Raises InputError for values that are no numbers.
    """
    if executor_name() != "ray":
        return None
    cpus, gpus, memory = _wanted(networks)
    return Request(cpus=cpus, gpus=gpus, memory=int(memory * 2**30))


def step_workers() -> int:
    """Processes of a step on Kubernetes, whose pod asks for DD_STEP_CPUS and sees every core of its node; else 0.

    Raises InputError for a value that is no number.
    """
    return max(1, int(_number("DD_STEP_CPUS", 1))) if executor_name() == "k8s" else 0


def step_retries() -> dg.RetryPolicy | None:
    """How a step is tried again: with executors on other machines only, where its process can be lost alone."""
    return dg.RetryPolicy(max_retries=STEP_RETRIES, delay=1) if executor_name() in REMOTE else None


def step_tags(networks: bool) -> dict[str, Any]:
    """Op tags by which a step asks its cluster for resources; {} where steps run on this machine.

    networks: whether the step runs networks; only such steps ask for GPUs. DD_STEP_GPUS (default 0), DD_STEP_CPUS
    (default 1) and DD_STEP_MEMORY_GB (default 8) are read per deployment; DD_K8S_POD names a YAML file with further
    fields of the pod of such steps (node_selector, tolerations, in Dagster's `pod_spec_config` spelling). With Ray a
    step asks for a little memory alone, its pieces for these (`piece_request`).
    Raises InputError for values that are no numbers and a file that is no mapping.
    """
    name = executor_name()
    if name in LOCAL:
        return {}
    cpus, gpus, memory = _wanted(networks)
    if name == "ray":
        return {"dagster-ray/config": WAITING}
    wanted = {"cpu": f"{cpus:g}", "memory": f"{memory:g}Gi"}
    limits = {"memory": wanted["memory"], **({"nvidia.com/gpu": f"{gpus:g}"} if gpus else {})}
    container = {"container_config": {"resources": {"requests": wanted, "limits": limits}}}
    pod = _pod() if networks else {}
    return {"dagster-k8s/config": {**container, **({"pod_spec_config": pod} if pod else {})}}


def _wanted(networks: bool) -> tuple[float, float, float]:
    """CPUs, GPUs and GB of memory of a deployment's steps."""
    gpus = _number("DD_STEP_GPUS", 0) if networks else 0
    return _number("DD_STEP_CPUS", 1), gpus, _number("DD_STEP_MEMORY_GB", 8)


def _number(variable: str, default: float) -> float:
    stated = os.environ.get(variable) or str(default)
    try:
        value = float(stated)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{variable}={stated!r} is no number from 0", "set it to a number, or unset it")
    return value


def _pod() -> dict[str, Any]:
    path = os.environ.get("DD_K8S_POD")
    if not path:
        return {}
    import yaml

    try:
        stated = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"DD_K8S_POD={path} cannot be read: {error}".replace("\n", " "), "name a YAML file") from error
    if not isinstance(stated, dict):
        raise InputError(f"DD_K8S_POD={path} holds no mapping", "give fields such as node_selector and tolerations")
    return stated
