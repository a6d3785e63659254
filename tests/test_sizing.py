"""The arithmetic of benchmarks/sizing.py on cases small enough for a pencil, and the requests that it counts with."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sizing
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.methods.registry import METHODS
from dd_assets.planning.engine import Engine
from dd_assets.units import kinds
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.planning import counting


@pytest.mark.parametrize(
    ("cost", "seconds"),
    [
        ("one RTX 4090: 2.1 s per image at 224 px with ResNet-18", 2.1),
        ("one RTX 4090: 40 ms per image with ResNet-18", 0.04),
        ("one RTX 4090: 8.2 s per 256 px image; class gradients take 4 bytes", 8.2),
        # Seconds per step are no seconds per image, and a pass over the data is neither.
        ('15 to 36 s per step "depending on data size" (paper, Table 10)', None),
        ("one teacher pass over the training images", None),
        ("", None),
    ],
)
def test_a_stated_cost_is_read_and_nothing_else(cost: str, seconds: float | None) -> None:
    assert sizing.stated_seconds(cost) == seconds


def test_sre2l_at_ipc_1_by_hand() -> None:
    """1,000 images x 2.1 s are 7/12 h; 400 epochs of them are 400,000 views."""
    setting = replace(CATALOGUE["imagenet1k"], labels=("soft",), trainings=2)
    made = sizing.row(METHODS()["sre2l"], setting, ipc=1)
    assert (made.images, made.shards, made.label_tables, made.trainings) == (1000, 1, 2, 2)
    assert made.image_hours == pytest.approx(1000 * 2.1 / 3600)
    # Two label tables, forward alone: 2 x 400,000 x .175 ms = 140 s; two trainings take three times that.
    assert made.label_hours == pytest.approx(140 / 3600)
    assert made.training_hours == pytest.approx(420 / 3600)
    # One shard, then a table (70 s), then a training (210 s): 2,380 s.
    assert made.least_hours() == pytest.approx(2380 / 3600)
    # Images at .8 of 150,528 bytes, and at least 2 bytes per class and view in each table.
    assert made.bytes > 1000 * 150_528 * 0.8 + 2 * 400_000 * 2000


def test_what_is_not_stated_is_derived_from_the_recipe() -> None:
    methods = METHODS()
    # DWA: 2,000 iterations of one network are half of SRe2L's 4,000.
    seconds, basis = sizing.image_seconds(
        methods["dwa"], methods["dwa"].recipe_for("imagenet1k").parameters, classes=1000, ipc=50
    )
    assert seconds == pytest.approx(1.05)
    assert basis.startswith("iterations: 2000")
    # Its initial images cost no iteration.
    initial = methods["dwa_init"]
    assert sizing.image_seconds(initial, initial.recipe_for("imagenet1k").parameters, 1000, 50)[0] == 0
    # DDPS: 300 candidates per class in 8 pairs of passes, for 50 images: 96 passes per image.
    assert sizing.generator_passes(methods["ddps"].recipe_for("imagenet1k").parameters, 50) == 96


def test_more_gpus_do_not_split_a_shard() -> None:
    """Ten hours in one shard and ten in ten: on two GPUs the work is 10 h each, on twenty the shard still takes 10."""
    fields: dict[str, Any] = dict.fromkeys(("label_hours", "training_hours", "seconds_per_image", "bytes"), 0.0)
    fields |= dict.fromkeys(("label_tables", "trainings", "requests", "images"), 0)
    whole = sizing.Row(method="whole", basis="", shards=1, image_hours=10.0, **fields)
    split = sizing.Row(method="split", basis="", shards=10, image_hours=10.0, **fields)
    assert sizing.wall_hours([whole, split], 2) == 10
    assert sizing.wall_hours([whole, split], 20) == 10
    assert sizing.wall_hours([split], 2) == 5
    assert sizing.wall_hours([split], 64) == 1


def test_a_unit_asks_the_store_as_often_as_the_tables_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()
    for name in ("put_if_absent", "replace", "read_or_none", "exists", "remove", "entries"):
        original = getattr(ArtefactStore, name)

        def counted(self: ArtefactStore, *given: Any, _name: str = name, _original: Any = original) -> Any:
            # A removal lists what lies below the path, then deletes.
            asked[_name] += 2 if _name == "remove" else 1
            return _original(self, *given)

        monkeypatch.setattr(ArtefactStore, name, counted)
    monkeypatch.setattr(kinds, "kinds", counting.table)
    store = ArtefactStore(str(tmp_path / "store")).open()
    asked.clear()
    Engine(store, RawData()).run([counting.unit(log=str(tmp_path / "log"), steps=1, pause=0, every=9)])
    assert asked.total() == sizing.REQUESTS, asked
