"""DD_EXECUTOR=ray on two real nodes: same digests, and none but unfinished shards lost with a node.

Belongs here: steps and shards on a cluster, with nodes dying in mid-synthesis. Does not belong: what is chosen and
refused before anything runs (tests/resources/test_execution.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import torch

from dd_assets.datasets import registry
from dd_assets.datasets.user_settings import read_settings
from dd_assets.planning.engine import Work, compute_product
from dd_assets.planning.unit import Manifest
from dd_resources.leases import lease_facts, leased_recipes
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.dagster_side.service import PROJECT
from tests.ray_nodes import GIB, RayNode, inherited
from tests.servers import BUCKET, KEY, SECRET, S3Server, s3_server

pytestmark = [pytest.mark.service, pytest.mark.slow]
# The parts of ray[default] that take jobs.
pytest.importorskip("ray.dashboard.optional_deps", exc_type=ImportError)
pytest.importorskip("dagster_ray")

CHAIN = 'key:"sre2l/score_convnet2_w64"'
IMAGES = 'key:"sre2l/synthetic_images"'
SMALL, LARGE = "cluster|1", "cluster|4"
SHARDS = 4
"""Of LARGE: one image per class each."""
ATTEMPTS = 3
"""Runs that may end before a node of theirs could be lost."""


@dataclass
class World:
    """A cluster, an S3 server, and what an undisturbed run in one process made."""

    root: Path
    server: S3Server
    head: RayNode
    calm: ArtefactStore

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """What a command with a store and a Dagster instance of its own runs with."""
        home = self.root / name
        home.mkdir(exist_ok=True)
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", "utf-8")
        return {
            **secrets(self.server),
            "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]),
            "DD_STORE": f"s3://{BUCKET}/{name}",
            "DD_DATASETS": str(Path(__file__).with_name("ray.yaml")),
            "DD_STEP_MEMORY_GB": "1",
            "DAGSTER_HOME": str(home),
            "RAY_ADDRESS": self.head.gcs,
            "RAY_API_SERVER_ADDRESS": self.head.jobs,
            **more,
        }

    def store(self, name: str) -> ArtefactStore:
        """The store of that name on the S3 server."""
        return ArtefactStore(f"s3://{BUCKET}/{name}", self.server.options()).open()

    def run(self, name: str, *arguments: str, **more: str) -> str:
        """A dd-assets command to its end; its output."""
        command = [sys.executable, "-m", "dd_assets", *arguments]
        done = subprocess.run(
            command, env=self.environment(name, **more), capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, f"{done.stderr[-3000:]}\n{done.stdout[-1000:]}"
        return done.stdout

    def begin(self, name: str) -> subprocess.Popen[bytes]:
        """Materialize LARGE's images by Ray's executor; dataset and teacher are there already."""
        give(self.calm, self.store(name), ("dataset", "teacher"))
        assert "adopted   teacher" in self.run(name, "sync", "--select", 'key:"teacher"', "--partition", "cluster")
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "dd_assets.definitions"]
        with (self.root / name / "log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--select", IMAGES, "--partition", LARGE],
                cwd=PROJECT,
                env=self.environment(name, DD_EXECUTOR="ray"),
                stdout=log,
                stderr=log,
            )

    @contextlib.contextmanager
    def steps_stay_off_the_head(self) -> Iterator[None]:
        """A job that takes memory of the head's node: room for a piece is left there, for a step not."""
        from ray.job_submission import JobSubmissionClient

        client = JobSubmissionClient(self.head.jobs)
        job = client.submit_job(
            entrypoint="sleep 900", entrypoint_memory=round(1.5 * GIB), entrypoint_resources={"head": 1}
        )
        wait_for(lambda: client.get_job_status(job) == "RUNNING", 300, "the job on the head")
        try:
            yield
        finally:
            client.stop_job(job)


def secrets(server: S3Server) -> dict[str, str]:
    """The environment in which nodes start: credentials are theirs, no job carries them."""
    return {
        **inherited(),
        "AWS_ENDPOINT_URL_S3": server.endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "OMP_NUM_THREADS": "4",
    }


def give(source: ArtefactStore, target: ArtefactStore, kinds: tuple[str, ...]) -> None:
    """Copy committed units of these kinds."""
    for manifest in manifests(source).values():
        if manifest.recipe["unit"] in kinds:
            for payload in manifest.payloads.values():
                path = f"payloads/{payload.sha256[:2]}/{payload.sha256}"
                target.put_if_absent(path, source.read_or_none(path) or b"")
            path = f"manifests/{manifest.recipe_digest[:2]}/{manifest.recipe_digest}.json"
            target.put_if_absent(path, source.read_or_none(path) or b"")


def manifests(store: ArtefactStore) -> dict[str, Manifest]:
    """Every committed unit by recipe digest; the leaderboard depends on what else there is."""
    found = [store.lookup(path.rsplit("/", 1)[-1].removesuffix(".json")) for path in store.list("manifests")]
    return {one.recipe_digest: one for one in found if one is not None and one.recipe["unit"] != "leaderboard"}


def contents(store: ArtefactStore) -> dict[str, str]:
    return {digest: manifest.content for digest, manifest in manifests(store).items()}


def shards(store: ArtefactStore) -> dict[str, Manifest]:
    return {digest: one for digest, one in manifests(store).items() if one.recipe["unit"] == "images/sre2l"}


def wait_for(reached: Any, seconds: float, what: str) -> Any:
    """The first true answer of `reached`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = reached()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything but the second node."""
    root: Path = tmp_path_factory.mktemp("ray")
    # Sockets of a Ray session lie below its folder, and their paths may have 107 characters.
    short = Path(tempfile.mkdtemp(prefix="dd-ray-", dir="/tmp"))
    with s3_server(root / "s3") as server:
        head = RayNode(short / "head", "127.0.0.2", secrets(server), resources={"head": 1})
        made = World(root, server, head, ArtefactStore(str(root / "calm" / "store")).open())
        for select, partition in ((CHAIN, SMALL), (IMAGES, LARGE)):
            made.run("calm", "sync", "--select", select, "--partition", partition, DD_STORE=made.calm.root)
        try:
            head.start()
            yield made
        finally:
            head.kill()
            shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def second(world: World) -> Iterator[RayNode]:
    """A second node, new for every test: most end it."""
    number = len(list(world.head.folder.parent.iterdir()))
    node = RayNode(
        world.head.folder.parent / f"n{number}", f"127.0.0.{2 + number}", secrets(world.server), head=world.head
    )
    try:
        yield node.start()
    finally:
        node.kill()


def computing_on(node: RayNode, store: ArtefactStore) -> dict[str, int]:
    """Recipe to the process of that node which holds its lease."""
    here = {one.pid for one in node.members()}
    facts = {recipe: lease_facts(store, recipe) for recipe in leased_recipes(store)}
    return {recipe: stated["process"] for recipe, stated in facts.items() if stated.get("process") in here}


def steps_on(node: RayNode) -> list[int]:
    """Steps that run on a node."""
    return [one.pid for one in node.members() if "execute_step" in " ".join(one.cmdline()) and one.name() != "sh"]


@dataclass
class Begun:
    """A run whose synthesis is half done, with a shard in the making on the node that will be lost."""

    name: str
    process: subprocess.Popen[bytes]
    store: ArtefactStore
    busy: dict[str, int]
    """Recipe to process of what that node computes."""


def half_done(world: World, name: str, node: RayNode) -> Begun:
    """A run in that state; on a busy machine a run may be over before it is seen there, and another is begun."""
    for attempt in range(ATTEMPTS):
        own = f"{name}{attempt}"
        process, store = world.begin(own), world.store(own)
        deadline = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < deadline:
            busy = computing_on(node, store)
            if busy and 0 < len(shards(store)) < SHARDS - 1:
                return Begun(own, process, store, busy)
            time.sleep(0.1)
        assert process.poll() == 0, (world.root / own / "log").read_text()[-4000:]
    raise AssertionError(f"{ATTEMPTS} runs ended before their node could be lost")


def ended_well(world: World, name: str, process: subprocess.Popen[bytes]) -> tuple[int, int, int]:
    """Wait for the run; how often its step was tried again, units computed and reused by the attempt that succeeded."""
    assert process.wait(900) == 0, (world.root / name / "log").read_text()[-4000:]
    with dg.DagsterInstance.from_config(str(world.root / name)) as instance:
        (run,) = instance.get_runs(dg.RunsFilter(job_name="__ASSET_JOB"))
        log = instance.all_logs(run.run_id)
        retried = [one for one in log if one.dagster_event and one.dagster_event.is_step_up_for_retry]
        (done,) = [one.asset_materialization for one in log if one.asset_materialization is not None]
    return len(retried), int(done.metadata["units_computed"].value), int(done.metadata["units_reused"].value)


def test_every_unit_is_made_on_the_cluster_and_is_the_same(world: World, second: RayNode) -> None:
    store, seen, pinned = world.store("whole"), set[str](), dict[int, dict[str, str]]()
    command = [sys.executable, "-m", "dd_assets", "sync", "--select", CHAIN, "--partition", SMALL]
    process = subprocess.Popen(command, env=world.environment("whole", DD_EXECUTOR="ray"))
    while process.poll() is None:
        for node in (world.head, second):
            for recipe, number in computing_on(node, store).items():
                seen.add(recipe)
                with contextlib.suppress(OSError):
                    stated = Path(f"/proc/{number}/environ").read_text().split("\0")
                    pinned[number] = dict(line.split("=", 1) for line in stated if "=" in line)
        time.sleep(0.2)
    assert process.returncode == 0
    expected = {digest: content for digest, content in contents(world.calm).items() if digest in contents(store)}
    assert contents(store) == expected
    kinds = {manifest.recipe["unit"] for manifest in manifests(store).values()}
    assert kinds == {"dataset", "teacher", "images/sre2l", "image_set", "labels", "training"}
    # The teacher and the trainings take seconds: that they were watched on a node shows where the work is.
    assert {manifests(store)[recipe].recipe["unit"] for recipe in seen & expected.keys()} >= {"teacher", "training"}
    # The nodes were started with four threads per process.
    assert pinned
    for stated in pinned.values():
        assert {stated[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}
    assert {manifest.measurements["threads"] for manifest in manifests(store).values()} == {1}


def test_a_lost_raylet_leaves_orphans_that_do_no_harm(
    world: World, second: RayNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.steps_stay_off_the_head():
        run = half_done(world, "orphans", second)
        store = run.store
        (orphan, *_) = steps_on(second)
        second.kill_raylet()
        finished = set(shards(store))
        time.sleep(1)
        assert orphan in {one.pid for one in second.survivors()}, "a step outlives its raylet"
    retries, computed, reused = ended_well(world, run.name, run.process)
    assert contents(store) == {digest: contents(world.calm)[digest] for digest in contents(store)}
    assert len(shards(store)) == SHARDS
    # The orphan may end the step by pieces on the other node before anybody misses it, or be replaced. Without a
    # replacement a piece counts as reused where the lost worker had committed it and could no longer say so.
    assert computed + reused == SHARDS + 1
    if retries:
        assert reused >= len(finished), "a finished shard was computed again"

    before = {path: store.read_or_none(path) for path in store.list("")}
    # Ray ends a lost node's workers within a second. One that it could not reach would go on, and commit what it has.
    (lost, *_) = run.busy
    known = {entry.name: entry for entry in read_settings(Path(__file__).with_name("ray.yaml"))}
    monkeypatch.setattr(registry, "settings", lambda: known)
    unit = manifests(store)[lost].unit()
    # As many as the piece had: with more the last bits may differ, and a payload would be left that nothing names.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    product = compute_product(Work(store=store, raw=RawData(), device="cpu", unit=unit, resumable=False))
    torch.set_num_threads(threads)
    assert store.commit(unit, product, {"host": "orphan"}).measurements["host"] != "orphan"
    for one in second.survivors():
        one.kill()
    assert {path: store.read_or_none(path) for path in store.list("")} == before


def test_a_lost_node_costs_its_unfinished_shard(world: World, second: RayNode) -> None:
    with world.steps_stay_off_the_head():
        run = half_done(world, "lost", second)
        store = run.store
        assert steps_on(second)
        second.kill()
        finished = set(shards(store))
    retries, computed, reused = ended_well(world, run.name, run.process)
    assert retries == 1, "the step that was lost with its node was tried once more"
    assert contents(store) == {digest: contents(world.calm)[digest] for digest in contents(store)}
    assert len(shards(store)) == SHARDS
    assert reused >= len(finished), "a finished shard was computed again"
    assert computed <= SHARDS + 1 - len(finished)


def test_no_secret_is_in_what_ray_and_dagster_wrote(world: World) -> None:
    written = [path for top in (world.head.folder.parent, world.root) for path in top.rglob("*") if path.is_file()]
    logs = [path for path in written if "s3" not in path.relative_to(path.anchor).parts]
    assert any(path.name.startswith("job-driver-") for path in logs)
    for path in logs:
        with contextlib.suppress(OSError):
            assert SECRET.encode() not in path.read_bytes(), path
