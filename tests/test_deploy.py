"""What deploys the project: files that fit each other and the project, as far as can be seen without an engine.

Belongs here: reading deploy/, Dockerfile and what a step asks of a cluster. Does not belong: running on PostgreSQL
(dagster_side/test_postgres.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from dd_assets.cli.common import INSTANCE
from dd_assets.errors import InputError
from dd_assets.planning.memory import memory_each
from dd_resources.cluster import Request
from dd_resources.compute import Compute
from dd_resources.execution import executor, piece_request, step_tags

PROJECT = Path(__file__).resolve().parents[1]
DEPLOY = PROJECT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (PROJECT / "Dockerfile").read_text()


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_file_is_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_only_loopback_ports_are_published() -> None:
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert published == ["127.0.0.1:3000:3000"]


@pytest.mark.parametrize("name", ["dagster.yaml", "dagster.postgres.yaml", "cli"])
def test_instances_send_nothing_and_show_no_dialog_over_the_first_page(name: str) -> None:
    text = INSTANCE if name == "cli" else (DEPLOY / name).read_text("utf-8")
    stated = yaml.safe_load(text)
    assert (stated["telemetry"], stated["nux"]) == ({"enabled": False}, {"enabled": False})


def test_compose_mounts_files_that_exist() -> None:
    mounts = [mount for mount in COMPOSE["x-dagster"]["volumes"] if mount.startswith("./")]
    assert len(mounts) == 2
    for mount in mounts:
        assert (DEPLOY / mount.split(":")[0]).is_file(), mount


def test_every_dependency_of_a_service_has_a_health_check() -> None:
    for name, service in COMPOSE["services"].items():
        for needed, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}, name
            assert "healthcheck" in COMPOSE["services"][needed], needed


def test_what_does_not_serve_the_webservers_port_has_a_health_check_of_its_own() -> None:
    """The image's own asks port 3000."""
    ours = {name: one for name, one in COMPOSE["services"].items() if one.get("image") == "dd-assets:latest"}
    assert set(ours) == {"code", "webserver", "daemon"}
    assert [name for name, one in ours.items() if "healthcheck" not in one] == ["webserver"]
    assert "-p 3000" in ours["webserver"]["command"]
    assert ours["daemon"]["healthcheck"]["test"] == ["CMD", "dagster-daemon", "liveness-check"]


def test_compose_passes_every_setting_that_the_readme_lists() -> None:
    listed = set(re.findall(r"^\| `(DD_\w+)`", (PROJECT / "README.md").read_text("utf-8"), re.MULTILINE))
    passed = COMPOSE["x-dagster"]["environment"]
    assert len(listed) >= 8
    # Its steps run in the containers of compose.yaml.
    assert listed - {"DD_EXECUTOR"} <= set(passed)
    asked = {name for value in passed.values() for name in re.findall(r"\$\{(DD_\w+):-\}", str(value))}
    example = (DEPLOY / "example.env").read_text("utf-8")
    assert asked >= {"DD_DATASETS", "DD_RECIPES", "DD_EXCLUSIVE_THREADS", "DD_DOWNLOAD_WEIGHTS", "DD_DOCS_URL"}
    assert all(f"\n{name}=" in example for name in asked)


@pytest.mark.parametrize(
    "name", ["DD_DATASETS", "DD_RECIPES", "DD_EXCLUSIVE_THREADS", "DD_DOWNLOAD_WEIGHTS", "DD_DOCS_URL"]
)
def test_an_empty_variable_counts_as_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So compose hands on what nobody set."""
    from dd_assets.datasets.registry import settings
    from dd_assets.fetching import may_fetch
    from dd_assets.methods.registry import METHODS
    from dd_assets.planning.descriptions import with_page
    from dd_resources.compute import exclusive_threads

    def answers() -> tuple[object, ...]:
        settings.cache_clear()
        METHODS.cache_clear()
        return list(settings()), list(METHODS()), exclusive_threads(), may_fetch(), with_page("", METHODS()["rded"])

    monkeypatch.delenv(name, raising=False)
    unset = answers()
    monkeypatch.setenv(name, "")
    assert answers() == unset


def test_postgresql_and_dagster_read_the_same_secret() -> None:
    """Without `existingSecret` the bundled chart keeps a password of its own."""
    stated = yaml.safe_load((DEPLOY / "k8s" / "values.yaml").read_text())
    secret = stated["global"]["postgresqlSecretName"]
    assert stated["postgresql"] == {"enabled": True, "existingSecret": secret}
    head = (DEPLOY / "k8s" / "values.yaml").read_text().replace("\\\n#", "")
    made = re.search(rf"secret generic {secret} (.+)", head)
    assert made
    assert re.findall(r"literal=([a-z-]+)", made[1]) == ["postgresql-password", "postgresql-postgres-password"]


def test_secrets_come_from_outside() -> None:
    """Each is required by name; a default would go into production unnoticed."""
    text = (DEPLOY / "compose.yaml").read_text() + (DEPLOY / "k8s" / "values.yaml").read_text()
    assert not re.search(
        r"(?i)(password|secret_access_key|secret): *[\"']?(?!true|false)[a-z0-9]{4,}\s*$", text, re.MULTILINE
    )
    named = set(re.findall(r"\$\{(POSTGRES_PASSWORD|S3_KEY|S3_SECRET):\?", text))
    assert named == {"POSTGRES_PASSWORD", "S3_KEY", "S3_SECRET"}
    example = dict(line.split("=", 1) for line in (DEPLOY / "example.env").read_text().splitlines() if "=" in line)
    assert {example[name] for name in named} == {"change-me"}
    assert "deploy/.env" in (PROJECT / ".gitignore").read_text().splitlines()


def test_the_compose_targets_are_stages_of_the_dockerfile() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert {"cpu", "cuda"} <= stages
    assert COMPOSE["services"]["code"]["build"]["target"] == "${DD_TARGET:-cpu}"
    for copied in re.findall(r"^COPY --from=(\S+)", DOCKERFILE, re.MULTILINE):
        assert copied in stages


def test_the_image_runs_unprivileged_with_a_health_check_and_no_secret() -> None:
    base = DOCKERFILE[DOCKERFILE.index(" AS base") :]
    assert re.search(r"^USER [1-9]\d*$", base, re.MULTILINE)
    assert "HEALTHCHECK" in base
    assert not re.search(r"(?i)^(ARG|ENV).*(secret|password|token)", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"^ADD ", DOCKERFILE, re.MULTILINE)


def test_what_the_dockerfile_copies_is_in_its_context() -> None:
    shown = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert source in shown, source
            assert (PROJECT / source).exists()


def _lines() -> list[str]:
    """The Dockerfile's instructions, one a line, without comments."""
    code = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)
    return [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]


def _stage(name: str) -> list[str]:
    """The instructions of a stage."""
    lines = _lines()
    start = next(at for at, line in enumerate(lines) if re.fullmatch(rf"FROM \S+ AS {name}", line))
    end = next((at for at in range(start + 1, len(lines)) if lines[at].startswith("FROM ")), len(lines))
    return lines[start + 1 : end]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ensurepip") is None, reason="this Python cannot make environments")
def test_the_install_steps_work_in_a_clean_environment(tmp_path: Path) -> None:
    """The steps that build `cuda`, in order, with /opt/venv and /src moved; some minutes, mostly PyTorch's wheels."""
    venv, source = tmp_path / "venv", tmp_path / "src"
    source.mkdir()
    given = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    given |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}

    def bash(command: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", command], cwd=source, env=given | more, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    for line in (*_stage("build"), *_stage("build-cuda")):
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *names, place = rest.split()
            for name in names:
                if (PROJECT / name).is_dir():
                    shutil.copytree(PROJECT / name, source / place)
                else:
                    shutil.copy(PROJECT / name, source / place)
        elif word == "RUN":
            bash(rest.replace("/opt/venv", str(venv)))
        else:
            assert word in ("ENV", "WORKDIR"), line
    inside = {"PATH": f"{venv}/bin:/usr/bin:/bin", "DAGSTER_HOME": str(tmp_path)}
    assert "Usage: dd-assets doctor" in bash("dd-assets doctor --help", **inside)
    bash(
        "python -c 'import dagster_k8s, dagster_postgres, dagster_ray, dagster_webserver, psycopg2, s3fs, transformers;"
        " import dd_assets.definitions'",
        **inside,
    )


def test_the_cpu_target_takes_every_pinned_version_but_pytorchs(tmp_path: Path) -> None:
    step = next(line for line in _stage("build-cpu") if "others.txt" in line)
    filtered = step.removeprefix("RUN ").partition(" && ")[0].partition(" > ")[0]
    kept = subprocess.run(["bash", "-c", filtered], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    pinned = (PROJECT / "constraints.txt").read_text().splitlines()
    left_out = {line.partition("==")[0] for line in pinned} - {line.partition("==")[0] for line in kept.splitlines()}
    assert {"torch", "torchvision"} <= left_out
    assert all(re.match(r"torch|triton|nvidia-|cuda-", name) for name in left_out), left_out


def test_the_postgres_instance_names_its_driver_in_the_url_and_holds_no_password() -> None:
    stated = yaml.safe_load((DEPLOY / "dagster.postgres.yaml").read_text())
    assert stated["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    assert COMPOSE["x-dagster"]["environment"]["DAGSTER_POSTGRES_URL"].startswith("postgresql+psycopg2://")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("DD_STEP_GPUS", "DD_STEP_CPUS", "DD_STEP_MEMORY_GB", "DD_K8S_POD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DD_EXECUTOR", "k8s")
    return monkeypatch


def test_a_step_on_this_machine_asks_for_nothing(cluster: pytest.MonkeyPatch) -> None:
    cluster.setenv("DD_STEP_GPUS", "1")
    cluster.delenv("DD_EXECUTOR")
    assert step_tags(networks=True) == {}


def test_only_steps_with_networks_ask_for_gpus(cluster: pytest.MonkeyPatch) -> None:
    cluster.setenv("DD_STEP_GPUS", "2")
    cluster.setenv("DD_STEP_MEMORY_GB", "24")
    cluster.setenv("DD_K8S_POD", str(DEPLOY / "k8s" / "pod.yaml"))
    tags = step_tags(networks=True)["dagster-k8s/config"]
    assert tags["container_config"]["resources"] == {
        "requests": {"cpu": "1", "memory": "24Gi"},
        "limits": {"memory": "24Gi", "nvidia.com/gpu": "2"},
    }
    assert tags["pod_spec_config"]["node_selector"] == {"accelerator": "nvidia"}
    light = step_tags(networks=False)["dagster-k8s/config"]
    assert "nvidia.com/gpu" not in light["container_config"]["resources"]["limits"]
    assert "pod_spec_config" not in light


def test_kubernetes_gets_an_executor_and_a_job_with_what_a_step_asks_for(cluster: pytest.MonkeyPatch) -> None:
    """As far as can be seen without a cluster: dagster-k8s makes the pod's manifest from the tags of a step."""
    k8s = pytest.importorskip("dagster_k8s.job")
    cluster.setenv("DD_STEP_GPUS", "1")
    cluster.setenv("DD_STEP_MEMORY_GB", "24")
    cluster.setenv("DD_K8S_POD", str(DEPLOY / "k8s" / "pod.yaml"))
    assert executor("s3://artefacts/dd") is importlib.import_module("dagster_k8s").k8s_job_executor

    @dg.op(tags=step_tags(networks=True))
    def step() -> None: ...

    made = k8s.construct_dagster_k8s_job(
        k8s.DagsterK8sJobConfig(job_image="dd-assets:latest", dagster_home="/data/dagster"),
        args=["dagster"],
        job_name="step",
        user_defined_k8s_config=k8s.get_user_defined_k8s_config(step.tags),
    )
    pod = made.spec.template.spec
    assert pod.containers[0].resources.limits == {"memory": "24Gi", "nvidia.com/gpu": "1"}
    assert pod.containers[0].resources.requests == {"cpu": "1", "memory": "24Gi"}
    assert pod.node_selector == {"accelerator": "nvidia"}
    assert pod.tolerations[0].key == "nvidia.com/gpu"


def test_on_ray_the_pieces_ask_and_the_step_that_waits_for_them_holds_neither_cpu_nor_gpu(
    cluster: pytest.MonkeyPatch,
) -> None:
    """A step that kept a GPU would wait for ever on a cluster of one: its pieces need it."""
    assert piece_request(networks=True) is None
    cluster.setenv("DD_EXECUTOR", "ray")
    cluster.setenv("DD_STEP_GPUS", "0.5")
    assert step_tags(networks=True) == {"dagster-ray/config": {"num_cpus": 0, "num_gpus": 0, "memory": 2**30}}
    assert piece_request(networks=True) == Request(cpus=1.0, gpus=0.5, memory=8 * 2**30)
    assert piece_request(networks=False) == Request(cpus=1.0, gpus=0.0, memory=8 * 2**30)


def test_on_ray_the_device_is_what_a_piece_asks_for(cluster: pytest.MonkeyPatch) -> None:
    """Not what the machine has where the step waits."""
    assert Compute(request=Request(gpus=1)).resolved_device() == "cuda"
    assert Compute(request=Request()).resolved_device() == "cpu"
    assert Compute(device="cpu", request=Request(gpus=1)).resolved_device() == "cpu"
    assert memory_each(Compute(request=Request(memory=2**30)), pieces=50) == 2**30
    assert memory_each(Compute(request=Request(memory=2**30, gpus=1)), pieces=50) == 1 << 62


@pytest.mark.parametrize("stated", ["two", "-1", "nan", "inf"])
def test_a_number_that_is_none_is_named(cluster: pytest.MonkeyPatch, stated: str) -> None:
    cluster.setenv("DD_STEP_GPUS", stated)
    with pytest.raises(InputError, match="DD_STEP_GPUS"):
        step_tags(networks=True)


def test_a_pod_file_that_is_none_is_named(cluster: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text("- a\n- list\n")
    for path in ("pod.yaml", "absent.yaml"):
        cluster.setenv("DD_K8S_POD", str(tmp_path / path))
        with pytest.raises(InputError, match="DD_K8S_POD"):
            step_tags(networks=True)
