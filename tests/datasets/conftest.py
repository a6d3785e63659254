"""A home of its own for every test here, so that no cache of one test serves another. Fixtures only."""

from __future__ import annotations

from pathlib import Path

import pytest

from dd_assets.datasets import registry
from dd_assets.datasets.setting import Setting
from dd_resources import raw_data


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    raw_data._load.cache_clear()
    return home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty data root."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def enable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a YAML text, names it in DD_DATASETS and returns the settings then known."""

    def write(text: str) -> dict[str, Setting]:
        path = tmp_path / "settings.yaml"
        path.write_text(text, "utf-8")
        monkeypatch.setenv("DD_DATASETS", str(path))
        registry.settings.cache_clear()
        return registry.settings()

    yield write
    registry.settings.cache_clear()
