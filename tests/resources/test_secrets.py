"""Keys are nowhere: real commands over a real S3 server, good and bad, then everything they left is searched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dd_resources.store import ArtefactStore
from tests import servers
from tests.faults.proxy import Proxy
from tests.servers import BUCKET, S3Server, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.service]
PROJECT = Path(__file__).resolve().parents[2]
KEY, SECRET, TOKEN = "AKIA7RECOGNISE7KEY", "s3cr3t-7RECOGNISE7/abc+xyz", "tok3n-7RECOGNISE7"
MARK = "7RECOGNISE7"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that knows the recognisable keys alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "KEY", KEY)
        patch.setattr(servers, "SECRET", SECRET)
        with s3_server(tmp_path_factory.mktemp("secrets")) as started:
            yield started


def command(home: Path, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "AWS_"))}
    stated = {
        "PYTHONPATH": str(PROJECT),
        "OMP_NUM_THREADS": "1",
        "DAGSTER_HOME": str(home),
        "DD_STORE": f"s3://{BUCKET}/secrets",
        "DD_DATASETS": str(PROJECT / "tests/faults/campaign.yaml"),
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "HF_TOKEN": TOKEN,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return subprocess.run(
        [sys.executable, "-m", "dd_assets", *arguments],
        env={**kept, **stated, **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_no_key_is_in_any_output_log_record_or_object(server: S3Server, tmp_path: Path) -> None:
    home, said, reached = tmp_path / "home", [], {"AWS_ENDPOINT_URL": server.endpoint}
    select = ["--select", 'key:"random/synthetic_images"', "--partition", "tried|1"]

    def run(expected: bool, *arguments: str, **environment: str) -> None:
        done = command(home, list(arguments), **{**reached, **environment})
        said.append(done.stdout + done.stderr)
        assert (done.returncode == 0) is expected, done.stderr[-2000:]
        assert expected or "Traceback" not in done.stderr

    run(True, "sync", *select)
    run(True, "plan", *select)
    run(True, "leaderboard", "--json")
    run(False, "sync", *select, AWS_SECRET_ACCESS_KEY=f"wrong-{SECRET}")
    run(False, "sync", *select, AWS_ACCESS_KEY_ID=f"{KEY}NOBODY")
    run(False, "sync", *select, AWS_SESSION_TOKEN=TOKEN, AWS_SECRET_ACCESS_KEY="x")
    run(False, "sync", *select, AWS_ENDPOINT_URL=f"http://{KEY}:{SECRET}@127.0.0.1:9")
    run(False, "sync", *select, DD_STORE=f"s3://{KEY}:{SECRET}@{BUCKET}/secrets")
    proxy = Proxy(server.ports["s3.port"])
    proxy.cut()
    run(False, "sync", *select, AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.port}")

    store = ArtefactStore(f"s3://{BUCKET}/secrets", {"key": KEY, "secret": SECRET, "endpoint_url": server.endpoint})
    objects = {path: store.read_or_none(path) or b"" for path in store.list("")}
    records = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert len(objects) > 5, "the command stored nothing: the search would prove nothing"
    assert any(path.endswith(".db") for path in records), "Dagster recorded nothing"
    assert any(b"synthetic_images" in data for data in records.values())
    for where, data in {**objects, **records}.items():
        assert MARK.encode() not in where.encode() + data, f"a key is in {where}"
    for text in said:
        assert MARK not in text
    assert any("check AWS_ACCESS_KEY_ID" in text for text in said)


def test_a_failure_inside_a_step_records_no_key(server: S3Server, tmp_path: Path) -> None:
    """The server goes away while a step runs, so that Dagster records a traceback of botocore's."""
    home = tmp_path / "home"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "AWS_"))}
    proxy = Proxy(server.ports["s3.port"])
    env = {
        **kept,
        "PYTHONPATH": str(PROJECT),
        "OMP_NUM_THREADS": "1",
        "DAGSTER_HOME": str(home),
        "DD_STORE": f"s3://{BUCKET}/step",
        "DD_DATASETS": str(PROJECT / "tests/faults/kill.yaml"),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    store = ArtefactStore(f"s3://{BUCKET}/step", {"key": KEY, "secret": SECRET, "endpoint_url": server.endpoint})
    process = subprocess.Popen(
        [sys.executable, "-m", "dd_assets", "sync", "--select", 'key:"teacher"', "--partition", "killed"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        while process.poll() is None and not store.list("work"):
            time.sleep(0.3)
        proxy.cut()
        text, _ = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        proxy.close()
    assert process.returncode not in (0, None)
    assert MARK not in text
    records = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert any(b"AWS_ENDPOINT_URL" in data for data in records), "no record of the failure"
    assert all(MARK.encode() not in data for data in records)
