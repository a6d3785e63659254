"""DD_EXECUTOR: what is chosen, and one line for what cannot work, before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from dd_assets.errors import InputError, StoreError, UnknownNameError
from dd_resources.execution import REMOTE, executor, require_shared_store, step_environment, step_retries


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        (None, dg.in_process_executor),
        ("", dg.in_process_executor),
        ("in_process", dg.in_process_executor),
        ("multiprocess", dg.multiprocess_executor),
    ],
)
def test_executors_of_one_machine(name: str | None, chosen: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DD_EXECUTOR", raising=False)
    if name is not None:
        monkeypatch.setenv("DD_EXECUTOR", name)
    assert executor("/any/folder") is chosen


@pytest.mark.parametrize("name", sorted(REMOTE))
def test_workers_elsewhere_need_a_store_that_they_can_reach(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_EXECUTOR", name)
    with pytest.raises(StoreError, match=rf"store /some/folder is a folder of this machine.*DD_EXECUTOR={name}.* → "):
        executor("/some/folder")


@pytest.mark.parametrize("name", sorted(REMOTE))
def test_with_a_reachable_store_the_package_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, attribute = REMOTE[name]
    monkeypatch.setenv("DD_EXECUTOR", name)
    try:
        installed = __import__(package)
    except ImportError:
        with pytest.raises(InputError, match=f"DD_EXECUTOR={name} needs the package .* → pip install"):
            executor("s3://bucket/prefix")
    else:
        found, wrapped = executor("s3://bucket/prefix"), getattr(installed, attribute)
        assert found.executor_creation_fn is wrapped.executor_creation_fn


@pytest.mark.parametrize("name", sorted(REMOTE))
def test_a_folder_that_every_node_mounts_is_declared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_STORE_SHARED", "1")
    require_shared_store(name, "/mnt/shared")
    monkeypatch.setenv("DD_STORE_SHARED", "0")
    with pytest.raises(StoreError, match="DD_STORE_SHARED=1 if every node mounts it there"):
        require_shared_store(name, "/mnt/shared")


def test_steps_of_ray_find_this_environment_and_get_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_DATASETS", "/etc/settings.yaml")
    monkeypatch.setenv("DD_HUB_TOKEN", "hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    path, *names = step_environment()
    assert path == f"PATH={Path(sys.executable).parent}:${{PATH}}"
    assert "DD_DATASETS" in names
    assert not [name for name in names if "TOKEN" in name or name.startswith("AWS_")]


def test_only_steps_that_can_be_lost_alone_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in_process", "multiprocess"):
        monkeypatch.setenv("DD_EXECUTOR", name)
        assert step_retries() is None
    monkeypatch.setenv("DD_EXECUTOR", "ray")
    policy = step_retries()
    assert policy is not None
    assert policy.max_retries == 2


def test_another_name_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_EXECUTOR", "multiproces")
    with pytest.raises(UnknownNameError, match="did you mean 'multiprocess'"):
        executor("/any/folder")


def test_sync_refuses_before_any_work_and_doctor_says_so(tmp_path: Path) -> None:
    import json
    import os

    env = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
    env |= {"DD_STORE": str(tmp_path / "store"), "DAGSTER_HOME": str(tmp_path / "home"), "DD_EXECUTOR": "ray"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dd_assets", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)

    done = run("sync", "--partition", "digits|1")
    assert done.returncode == 4
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"dd-assets: store {tmp_path}/store is a folder of this machine")
    assert not (tmp_path / "store").exists()
    examined = {row["check"]: row for row in json.loads(run("doctor", "--json").stdout)}
    assert not examined["executor"]["ok"]
    assert "DD_EXECUTOR=ray" in examined["executor"]["detail"]


@pytest.mark.parametrize(
    "command",
    [
        ("sweep", "digits", "1"),
        ("report", "written"),
        ("verify", "noise/synthetic_images", "digits|1"),
    ],
    ids=lambda command: command[0],
)
def test_what_else_computes_refuses_as_sync_does(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from dd_assets.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DD_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("DD_EXECUTOR", "ray")
    monkeypatch.delenv("DD_STORE_SHARED", raising=False)
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 4, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dd-assets: store {tmp_path}/store is a folder of this machine")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("DD_EXECUTOR", "multiproces")
    assert CliRunner().invoke(main, command).exit_code == 2


def test_a_report_that_computes_nothing_needs_no_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from dd_assets.cli import main

    monkeypatch.setenv("DD_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("DD_EXECUTOR", "ray")
    done = CliRunner().invoke(main, ["report", str(tmp_path / "written"), "--no-embedding"])
    assert done.exit_code == 0, done.output
