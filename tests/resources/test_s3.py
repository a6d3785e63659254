"""What only S3 can do wrong: keys, endpoints, a server that goes away in the middle, uploads in parts."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from dd_assets.datasets import registry
from dd_assets.errors import StoreError
from dd_resources import files
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.resources.samples import product, unit
from tests.servers import BUCKET, KEY, SECRET, S3Server, s3_server
from tests.test_cli import run

pytestmark = pytest.mark.service


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials and no endpoint from this machine's own environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_the_environment_alone_is_enough(
    s3: S3Server, no_keys: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    store = ArtefactStore(f"s3://{BUCKET}/environment").open()
    assert store.list("") == ["format.json"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"secret": "wrong-secret-51c"}, "Forbidden → check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"key": "nobody-51c"}, "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"key": None, "secret": None}, "credentials → check that AWS_ENDPOINT_URL"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "connect .* → check that AWS_ENDPOINT_URL answers"),
    ],
    ids=["secret", "key", "none", "endpoint"],
)
def test_a_store_that_cannot_be_reached_says_so_in_one_line_without_the_secret(
    s3: S3Server, no_keys: None, wrong: dict[str, str], message: str
) -> None:
    options = {**s3.options(), **wrong}
    with pytest.raises(StoreError, match=rf"store s3://{BUCKET}/x: .*{message}") as refusal:
        ArtefactStore(f"s3://{BUCKET}/x", options).open()
    text = str(refusal.value)
    assert "\n" not in text
    assert SECRET not in text
    assert "51c" not in text


def test_a_bucket_that_is_not_there_is_named(s3: S3Server) -> None:
    with pytest.raises(StoreError, match=r"s3://elsewhere/x: .* → create the bucket"):
        ArtefactStore("s3://elsewhere/x", s3.options()).open()


def test_an_upload_in_parts_is_conditional_too(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 5 * 2**20)
    store = ArtefactStore(f"s3://{BUCKET}/parts", s3.options()).open()
    first, second = os.urandom(11 * 2**20), os.urandom(11 * 2**20)
    assert store.put_if_absent("large", first)
    assert not store.put_if_absent("large", second)
    assert store.read_or_none("large") == first


def test_a_folder_of_images_in_a_bucket_is_looked_at_and_read_like_one_here(
    s3: S3Server, no_keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/tutorials/your-own-dataset.md says of S3: `doctor --folder`, then `doctor` with what it wrote."""
    import s3fs

    bucket = s3fs.S3FileSystem(**s3.options(), skip_instance_cache=True)
    for split, count in (("train", 3), ("test", 2)):
        for name, side in (("cat", 12), ("dog", 20)):
            for number in range(count):
                picture = io.BytesIO()
                Image.new("L", (side, side + 4), 40 * number).save(picture, "PNG")
                bucket.pipe_file(f"{BUCKET}/raw/set/pets/{split}/{name}/{number}.png", picture.getvalue())
    environment = {"AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    environment["DD_DATA_ROOT"] = f"s3://{BUCKET}/raw/set"
    settings = tmp_path / "settings.yaml"
    looked = run(tmp_path, "doctor", "--folder", "pets", "--yaml", str(settings), "--json", **environment)
    assert looked.returncode == 0, looked.stderr
    found = {row["check"]: row["detail"] for row in json.loads(looked.stdout)}
    assert found["train images"] == "6 in 2 classes: cat 3, dog 3"
    assert found["test images"] == "4 in 2 classes: cat 2, dog 2"
    assert found["shorter side"].startswith("12 to 20 px")
    assert found["colours"] == "grey"
    assert found["corrupt files"] == "0"
    read = run(tmp_path, "doctor", "--json", DD_DATASETS=str(settings), **environment)
    assert read.returncode == 0, read.stderr
    rows = {row["check"]: row["detail"] for row in json.loads(read.stdout)}
    assert rows["dataset pets"] == "6 train, 4 test, 3 to 3 per class, 16 px"
    # A code server runs for weeks: what somebody else adds meanwhile makes the dataset stale all the same.
    for name, value in (*environment.items(), ("DD_DATASETS", str(settings))):
        monkeypatch.setenv(name, value)
    pets, raw = registry.settings.__wrapped__()["pets"], RawData(environment["DD_DATA_ROOT"])
    before = raw.fingerprint(pets)
    assert raw.fingerprint(pets) == before
    bucket.pipe_file(f"{BUCKET}/raw/set/pets/train/cat/9.png", picture.getvalue())
    assert raw.fingerprint(pets) != before


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[S3Server]:
    """A server of its own for a test that kills it."""
    with s3_server(tmp_path) as server:
        yield server


def test_a_server_killed_in_the_middle_of_uploads_loses_nothing_committed(
    fragile: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 5 * 2**20)
    quick = {"config_kwargs": {"connect_timeout": 2, "read_timeout": 5, "retries": {"max_attempts": 1}}}
    store = ArtefactStore(f"s3://{BUCKET}/killed", {**fragile.options(), **quick}).open()
    data = [os.urandom(24 * 2**20) for _ in range(6)]
    committed: list[int] = []
    failures: list[StoreError] = []

    def write() -> None:
        for number, body in enumerate(data):
            try:
                store.commit(unit(number), product(body), {})
                committed.append(number)
            except StoreError as error:
                failures.append(error)
                return

    writer = threading.Thread(target=write)
    writer.start()
    while len(committed) < 2:
        time.sleep(0.01)
    fragile.kill()
    writer.join(120)
    assert not writer.is_alive()
    assert failures, "the server was not killed in mid-upload"
    assert "\n" not in str(failures[0])
    fragile.start()
    for number, body in enumerate(data):
        found = store.lookup(unit(number).digest)
        assert (found is not None) >= (number in committed)
        if found is not None:
            assert store.read(found, "w.bin") == body
        else:
            assert store.read(store.commit(unit(number), product(body), {}), "w.bin") == body
