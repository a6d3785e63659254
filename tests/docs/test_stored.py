"""The stored results among the docs are whole: recipes hash to their digests, payloads to theirs, and none is a weight.

Belongs here: docs/results/stored. Does not belong: what their figures say (docs/results).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dd_resources.store import ArtefactStore

STORED = Path(__file__).resolve().parents[2] / "docs" / "results" / "stored"
FOLDERS = sorted(path.name for path in STORED.iterdir() if path.is_dir())
MOST_BYTES = 5_000_000


@pytest.mark.parametrize("name", FOLDERS)
def test_every_unit_is_what_its_digests_say(name: str) -> None:
    store = ArtefactStore(str(STORED / name))
    manifests = [store.lookup(path.rsplit("/", 1)[-1].removesuffix(".json")) for path in store.list("manifests")]
    assert manifests
    for manifest in manifests:
        assert manifest is not None
        assert manifest.unit().digest == manifest.recipe_digest
        assert manifest.recipe["unit"].split("/")[0] == "images"
        for payload in manifest.payloads:
            store.read(manifest, payload)  # raises where bytes and digest differ


def test_they_stay_small() -> None:
    assert sum(path.stat().st_size for path in STORED.rglob("*") if path.is_file()) < MOST_BYTES


def test_the_readme_has_a_line_for_each() -> None:
    text = (STORED / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in FOLDERS)
