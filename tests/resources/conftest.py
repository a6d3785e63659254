"""The stores that every store test runs on: a local folder, and a prefix on a real S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dd_resources.store import ArtefactStore
from tests.servers import BUCKET, S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests that do not kill it."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.service)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtefactStore:
    """A new store of each kind."""
    if request.param == "folder":
        return ArtefactStore(str(tmp_path / "store")).open()
    server: S3Server = request.getfixturevalue("s3")
    return ArtefactStore(f"s3://{BUCKET}/{uuid.uuid4().hex}", server.options()).open()


@pytest.fixture
def folder_store(tmp_path: Path) -> ArtefactStore:
    """A new store in a temporary folder."""
    return ArtefactStore(str(tmp_path / "store")).open()
