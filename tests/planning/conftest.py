"""A tiny finished graph, and edits of it. Fixtures only; nothing here asserts."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dd_assets.datasets import registry
from dd_assets.methods.registry import METHODS
from dd_resources.store import ArtefactStore
from tests.planning.tiny import Edit, Tiny, forget_graph, setting, write_data


@pytest.fixture(scope="session")
def finished_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the setting is complete, beside its data; tests work on copies."""
    root = tmp_path_factory.mktemp("finished")
    write_data(root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.settings(), "tiny", setting())
        forget_graph()
        Tiny(ArtefactStore(str(root / "store")).open(), root / "data").make()
    forget_graph()
    return root


@pytest.fixture
def tiny(finished_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tiny]:
    """A copy of the finished store and data, named by the environment."""
    for name in ("store", "data"):
        shutil.copytree(finished_tiny / name, tmp_path / name)
    monkeypatch.setenv("DD_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("DD_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setitem(registry.settings(), "tiny", setting())
    forget_graph()
    yield Tiny(ArtefactStore(str(tmp_path / "store")).open(), tmp_path / "data")
    monkeypatch.undo()
    forget_graph()


@pytest.fixture
def edit(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """Changes fields of the setting, or a whole method, as an edit of its file would."""

    def change(changed: Any = None, **fields: Any) -> None:
        if changed is not None:
            monkeypatch.setitem(METHODS(), changed.name, changed)
        if fields:
            edited = dataclasses.replace(registry.settings()["tiny"], **fields)
            monkeypatch.delitem(registry.settings(), "tiny")
            monkeypatch.setitem(registry.settings(), edited.name, edited)
        forget_graph()

    return change
