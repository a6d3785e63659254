"""The dataset unit: what is stored under a fingerprint was read from the files that have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dd_assets.datasets import registry
from dd_assets.errors import InputError
from dd_assets.planning.engine import Work
from dd_assets.units import dataset
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.planning.tiny import setting, write_data, write_image


def test_files_that_changed_since_the_plan_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path / "data")
    chosen, raw = setting(), RawData(str(tmp_path / "data"))
    monkeypatch.setitem(registry.settings(), "tiny", chosen)
    unit = dataset.plan(chosen, raw)
    work = Work(store=ArtefactStore(str(tmp_path / "store")), raw=raw, device="cpu", unit=unit)
    product = dataset.compute(unit, work)
    write_image(tmp_path / "data", "train", "ant", 0, 200)
    with pytest.raises(InputError, match="dataset tiny: its files changed after it was planned → run the same"):
        dataset.compute(unit, work)
    changed = dataset.plan(chosen, raw)
    assert dataset.compute(changed, work).content != product.content
