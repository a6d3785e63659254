"""Launches as people do them, against a real deployment: Launchpad, asset backfill, cancellation, schedule, queue.

The tests build on each other in this order, on one deployment.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dd_assets.planning.unit import Reference
from dd_resources.leases import leased_recipes
from dd_resources.store import ArtefactStore
from tests.dagster_side.service import Service, running

pytestmark = [pytest.mark.service, pytest.mark.slow]
NOISE = ["noise/synthetic_images", "noise/soft_labels", "noise/score_convnet2_w64"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One deployment for the module."""
    with running(tmp_path_factory.mktemp("service")) as started:
        yield started


def reference(service: Service, asset: str, partition: str) -> Reference:
    found = service.store.read_reference("default", asset, partition)
    assert found is not None, f"{asset} [{partition}] was not made"
    return found


def plan(service: Service, partition: str) -> dict[str, tuple[str, str]]:
    done = service.command("plan", "--json", "--partition", partition)
    assert done.returncode == 0, done.stderr
    return {row["asset"]: (row["status"], row["reason"]) for row in json.loads(done.stdout)}


def test_a_backfill_over_mixed_partition_spaces(service: Service) -> None:
    asked = {"dataset": ["quick"], "teacher": ["quick"], NOISE[0]: ["quick|1"], NOISE[1]: ["quick|1"]}
    backfill = service.backfill(asked)
    assert service.end_of_backfill(backfill) == "COMPLETED_SUCCESS"
    for asset, partitions in asked.items():
        for partition in partitions:
            assert reference(service, asset, partition).declared
    assert service.store.read_reference("default", NOISE[0], "quick|2") is None
    runs = service.runs(tags=[{"key": "dagster/backfill", "value": backfill}])
    assert {run["tags"]["dagster/partition"] for run in runs} == {"quick", "quick|1"}
    assert {run["status"] for run in runs} == {"SUCCESS"}


def test_one_partition(service: Service) -> None:
    run = service.launch("noise_job", "quick|1", NOISE)
    assert service.end_of(run) == "SUCCESS"
    assert set(plan(service, "quick|1")[asset][0] for asset in NOISE) == {"fresh"}
    # The two that the backfill made were looked up, not made again.
    made = json.loads(service.command("leaderboard", "--json").stdout)
    assert {(row["method"], row["ipc"], row["declared"]) for row in made} == {("noise", 1, True)}


def test_an_override_is_marked_kept_apart_and_never_called_fresh(service: Service) -> None:
    config = {"ops": {"noise__synthetic_images": {"config": {"parameters": {"sigma": 0.5}}}}}
    run = service.launch("noise_job", "quick|2", NOISE, config)
    assert service.end_of(run) == "SUCCESS"
    assert not any(reference(service, asset, "quick|2").declared for asset in NOISE)
    statuses = plan(service, "quick|2")
    assert [statuses[asset][0] for asset in NOISE] == ["stale", "pending", "pending"]
    assert statuses[NOISE[0]][1] == "it was made with overridden parameters; parameter method.sigma: 0.5 → 1.0"
    rows = {
        row["ipc"]: row for row in json.loads(service.command("leaderboard", "--json").stdout) if row["label"] == "soft"
    }
    assert (rows[1]["declared"], rows[1]["rank"]) == (True, 1)
    assert (rows[2]["declared"], rows[2]["rank"]) == (False, None)
    # Another instance over the same store adopts what was declared, and nothing that was overridden.
    adopted, closing = adopt(service, service.root / "elsewhere", "quick|2")
    assert {asset for asset, word in adopted.items() if word == "adopted"} == {"dataset", "teacher"}
    assert not set(adopted) & set(NOISE)
    assert re.search(r", 2 adopted, \d+ blocked, [1-9]\d* left; 0 heavy calls$", closing), closing


def adopt(service: Service, home: Path, partition: str) -> tuple[dict[str, str], str]:
    """Asset to what `adopt` under a fresh instance says of it, and its closing line, which counts what is left."""
    elsewhere = replace(service, overrides={"DAGSTER_HOME": str(home)})
    done = elsewhere.command("adopt", "--select", "group:noise", "--partition", partition)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if "[" in line]
    return {words[1]: words[0] for words in lines}, done.stdout.splitlines()[-1]


def test_the_nightly_schedule_asks_for_what_is_stale_and_says_why_it_skips(service: Service) -> None:
    asked = service.nightly("noise")
    (request,) = asked["runRequests"]
    tags = {tag["key"]: tag["value"] for tag in request["tags"]}
    assert tags["dagster/partition"] == "quick|2"
    assert {"/".join(key["path"]) for key in request["assetSelection"]} == set(NOISE)
    assert "overridden" in tags["dd/reason"]
    skipped = service.nightly("datasets")
    assert not skipped["runRequests"]
    assert skipped["skipReason"].startswith("none of ")
    assert skipped["skipReason"].endswith(" is stale")


def test_the_queue_is_given_exactly_what_is_left(service: Service) -> None:
    selection = " or ".join(f'key:"{asset}"' for asset in NOISE)
    done = service.command("sync", "--queue", "--select", selection, "--partition", "quick|2")
    assert done.returncode == 0, done.stderr
    *_, counts, queued = done.stdout.strip().splitlines()
    assert counts == "0 computed, 2 reused, 0 adopted, 0 blocked, 3 left; 0 heavy calls"
    words = queued.split()
    assert words[:3] == ["3", "queued,", "backfill"]
    assert service.end_of_backfill(words[3]) == "COMPLETED_SUCCESS"
    assert {plan(service, "quick|2")[asset] for asset in NOISE} == {("fresh", "")}
    rows = json.loads(service.command("leaderboard", "--json").stdout)
    assert {(row["ipc"], row["declared"]) for row in rows} == {(1, True), (2, True)}
    board = service.runs(tags=[{"key": "dagster/backfill", "value": words[3]}])
    assert [{"path": ["leaderboard"]}] in [run["assetSelection"] for run in board]


def shards(store: ArtefactStore) -> dict[str, bytes]:
    """Path to bytes of every manifest of an SRe2L shard."""
    found = {path: store.read_or_none(path) or b"" for path in store.list("manifests")}
    return {path: data for path, data in found.items() if b'"unit": "images/sre2l"' in data}


def test_a_cancelled_run_keeps_what_it_committed_and_holds_nothing(service: Service) -> None:
    images, partition = ["sre2l/synthetic_images"], "quick|12"
    run = service.launch("sre2l_job", partition, images)
    service.wait_for(lambda: len(shards(service.store)) >= 2, 240, "two shards")
    service.terminate(run)
    assert service.end_of(run) == "CANCELED"
    ended = time.monotonic()
    kept = shards(service.store)
    assert 2 <= len(kept) < 12, "the run was over before it was cancelled"
    service.wait_for(lambda: not leased_recipes(service.store), 15, "the leases to be given back")
    assert time.monotonic() - ended < 15
    time.sleep(5)
    assert shards(service.store).keys() == kept.keys(), "its workers computed on"
    assert service.store.read_reference("default", *images, partition) is None
    again = service.launch("sre2l_job", partition, images)
    assert service.end_of(again, 400) == "SUCCESS"
    done = shards(service.store)
    assert len(done) == 12
    assert {path: done[path] for path in kept} == kept, "a committed shard was computed again"


def test_a_generation_method_with_all_that_it_samples_from(service: Service) -> None:
    """What a person selects in the graph to see D4M: the generator, its centroids, the images and their score."""
    names = ("synthetic_images", "soft_labels", "score_convnet2_w64")
    own = [f"d4m/{name}" for name in names]
    roots = ["dataset", "teacher", "generator_small"]
    asked = {asset: ["drawn"] for asset in roots} | {asset: ["drawn|2"] for asset in ("class_centroids", *own)}
    assert service.end_of_backfill(service.backfill(asked), 400) == "COMPLETED_SUCCESS"
    drawn = reference(service, own[0], "drawn|2")
    assert drawn.declared
    images = service.store.lookup(drawn.units["draw0"])
    assert images is not None
    assert images.summary["rows"] == 20
    statuses = {asset: status for asset, (status, _) in plan(service, "drawn|2").items() if asset in asked}
    assert statuses == dict.fromkeys(("class_centroids", *own), "fresh")
    # The method's own job with another strength draws other images from the same generator.
    config = {"ops": {"d4m__synthetic_images": {"config": {"parameters": {"start_level": 0.9}}}}}
    run = service.launch("d4m_job", "drawn|2", own[:1], config)
    assert service.end_of(run) == "SUCCESS"
    other = reference(service, own[0], "drawn|2")
    assert not other.declared
    assert other.units["draw0"] != drawn.units["draw0"]
