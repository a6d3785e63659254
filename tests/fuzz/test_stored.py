"""Manifests, references, tables and checkpoints that are damaged: success, or one of our errors."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dd_assets.models import checkpoint
from dd_assets.planning.unit import Reference
from dd_assets.units.tables import read_columns, read_images, write_columns, write_images
from dd_resources.leases import Watcher, lease_facts
from dd_resources.store import ArtefactStore, manifest_path
from tests.fuzz.inputs import VALUES, altered, examples, judged, spoiled
from tests.resources.samples import product, unit


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    """One store for the module."""
    return ArtefactStore(str(tmp_path_factory.mktemp("fuzz") / "store")).open()


@cache
def manifest() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = ArtefactStore(folder).commit(unit(), product(), {"seconds": 1.5})
        return json.dumps(made.to_json()).encode()


def changed(data: bytes) -> st.SearchStrategy[bytes]:
    """The JSON of a good file with accidents in its bytes or in its values."""
    values = altered(json.loads(data)).map(lambda value: json.dumps(value).encode())
    return values | spoiled(data)


@given(changed(manifest()))
@examples(14_000)
def test_manifests(store: ArtefactStore, data: bytes) -> None:
    path = Path(store.root, manifest_path(unit().digest))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

    def use() -> None:
        found = store.lookup(unit().digest)
        assert found is not None
        assert isinstance(found.unit().digest, str)
        store.lost(found)
        for name in found.payloads:
            store.read(found, name)

    judged("manifests", use)


REFERENCE = Reference(asset="a/b", partition="digits|1", units={"draw0": "a" * 64}, contents={"draw0": "b" * 64})


@given(changed(json.dumps(REFERENCE.to_json()).encode()))
@examples(8_000)
def test_references(store: ArtefactStore, data: bytes) -> None:
    path = Path(store.root, "references/default/a/b/digits@1.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

    def use() -> None:
        found = store.read_reference("default", "a/b", "digits|1")
        assert found is not None
        assert len(found.content) == len(found.recipe) == 64
        for digest in found.units.values():
            store.lookup(digest)

    judged("references", use)


@given(
    spoiled(b'{"label": "x", "host": "h", "process": 5, "machine": "m", "started": "7", "count": 3}')
    | VALUES.map(lambda value: json.dumps(value).encode())
)
@examples(4_000)
def test_leases(store: ArtefactStore, data: bytes) -> None:
    path = Path(store.root, "lease", "r" * 64, "1")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    assert judged("leases", lambda: Watcher(store).look("r" * 64)) is not None
    assert isinstance(judged("leases", lambda: lease_facts(store, "r" * 64)), dict)


@cache
def label_table() -> bytes:
    return write_columns({"batch": np.arange(6), "logits": np.ones((6, 3), np.float16)}, {"classes": 3})


@given(spoiled(label_table()))
@examples(8_000)
def test_label_tables(data: bytes) -> None:
    found: Any = judged("label tables", lambda: read_columns(data))
    assert found is None or all(isinstance(values, np.ndarray) for values in found.values())


@cache
def image_table() -> bytes:
    images = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8, 1)
    return write_images(images, np.arange(3), ("a", "b", "c"), {"row": np.arange(3)})


@given(spoiled(image_table()))
@examples(6_000)
def test_image_tables(data: bytes) -> None:
    found: Any = judged("image tables", lambda: read_images(data))
    assert found is None or found[0].dtype == np.uint8


@cache
def weights() -> bytes:
    import torch

    return checkpoint.to_safetensors({"w": torch.ones(2, 3), "b": torch.zeros(2)}, {"architecture": "x"})


@given(spoiled(weights()))
@examples(8_000)
def test_checkpoints(data: bytes) -> None:
    judged("checkpoints", lambda: checkpoint.read(data))
