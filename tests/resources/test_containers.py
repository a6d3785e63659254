"""Limits of a container, read from files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dd_assets.planning import memory
from dd_resources import compute
from dd_resources.compute import Compute
from dd_resources.containers import UNLIMITED, cpus_of_container, free_in_container
from dd_resources.injection import default_compute


def group(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def test_free_memory_is_what_the_limit_leaves_and_kept_files(tmp_path: Path) -> None:
    own = group(tmp_path, memory_max="1000\n", memory_current="900\n", memory_stat="anon 600\ninactive_file 250\n")
    assert free_in_container(own) == 350
    group(tmp_path, memory_max="max\n")
    assert free_in_container(own) == UNLIMITED
    assert free_in_container(tmp_path / "absent") == UNLIMITED


@pytest.mark.parametrize(
    ("stated", "cores"),
    [("400000 100000", 4), ("150000 100000", 2), ("1000 100000", 1), ("max 100000", UNLIMITED), ("", UNLIMITED)],
)
def test_cores_are_those_that_the_quota_pays_for(tmp_path: Path, stated: str, cores: int) -> None:
    assert cpus_of_container(group(tmp_path, cpu_max=stated)) == cores


def test_limits_of_the_container_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert Compute(device="cpu").resolved_workers() == min(64, cpus_of_container())
    monkeypatch.setattr(compute, "cpus_of_container", lambda: 3)
    assert Compute(device="cpu").resolved_workers() == 3
    monkeypatch.setattr(memory, "free_in_container", lambda: 12345)
    assert memory.free_memory() == 12345


def test_a_step_on_kubernetes_has_as_many_processes_as_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pod asks for so many and has no limit, so that it sees every core of its node."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    for stated, workers in (("4", 4), ("0.5", 1), (None, 1)):
        monkeypatch.setenv("DD_EXECUTOR", "k8s")
        monkeypatch.delenv("DD_STEP_CPUS", raising=False)
        if stated:
            monkeypatch.setenv("DD_STEP_CPUS", stated)
        chosen = default_compute().model_copy(update={"device": "cpu"}).get()
        assert chosen.resolved_workers() == workers
    monkeypatch.delenv("DD_EXECUTOR")
    assert default_compute().workers == 0
