"""The Hugging Face hub's cache, and a hub that is a folder.

Belongs here: laying files where the hub's library keeps them, and handing them out in its place. Does not belong:
assertions.
"""

from __future__ import annotations

import fnmatch
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY, REVISION = "someone/tiny-generator", "0123456789abcdef0123456789abcdef01234567"
FOLDER = f"hub:{REPOSITORY}"


@dataclass
class Hub:
    """An empty cache, and a repository that may be fetched into it."""

    cache: Path
    repository: Path
    """Whose files lie here as they would on the hub."""
    asked: list[list[str]] = field(default_factory=list)
    """The patterns of each download."""
    error: Exception | None = None
    """What a download ends with."""

    @property
    def snapshot(self) -> Path:
        """The folder of the one commit."""
        return self.cache / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots" / REVISION

    def cached(self, *names: str) -> Path:
        """Lay these files of the repository into the cache (all without names), as links to blobs; the snapshot."""
        found = [path for path in self.repository.rglob("*") if path.is_file()]
        blobs = self.snapshot.parents[1] / "blobs"
        for path in found:
            name = path.relative_to(self.repository)
            place = self.snapshot / name
            if (names and str(name) not in names) or place.exists():
                continue
            blobs.mkdir(parents=True, exist_ok=True)
            blob = blobs / str(name).replace("/", "-")
            shutil.copy(path, blob)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(blob)
        refs = self.snapshot.parents[1] / "refs"
        refs.mkdir(parents=True, exist_ok=True)
        (refs / "main").write_text(REVISION)
        return self.snapshot

    def download(self, repository: str, *, revision: str, allow_patterns: list[str]) -> str:
        """In place of huggingface_hub.snapshot_download."""
        assert (repository, revision) == (REPOSITORY, REVISION)
        self.asked.append(allow_patterns)
        if self.error is not None:
            raise self.error
        names = [str(path.relative_to(self.repository)) for path in self.repository.rglob("*") if path.is_file()]
        wanted = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns)]
        return str(self.cached(*wanted) if wanted else self.snapshot)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """A hub whose repository is still empty, nothing of it cached, and no leave to fetch."""
    made = Hub(tmp_path / "cache", tmp_path / "repository")
    monkeypatch.delenv("DD_DOWNLOAD_WEIGHTS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(made.cache))
    monkeypatch.setattr("huggingface_hub.snapshot_download", made.download)
    return made
