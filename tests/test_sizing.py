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


def test_sre2l_at_ipc_1_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 images x 4,000 iterations x 1 step of .525 ms are 7/12 h; 400 epochs of them are 400,000 views."""
    monkeypatch.setattr(sizing, "costs", lambda: {"sre2l": 1.0, "forward": 1 / 3, "training": 1.0})
    setting = replace(CATALOGUE["imagenet1k"], labels=("soft",), trainings=2)
    made = sizing.row(METHODS()["sre2l"], setting, ipc=1)
    assert (made.images, made.shards, made.label_tables, made.trainings) == (1000, 1, 2, 2)
    assert made.image_hours == pytest.approx(1000 * 2.1 / 3600)
    assert made.stated == 2.1
    # Two label tables, forward alone: 2 x 400,000 x .175 ms = 140 s; two trainings take three times that.
    assert made.label_hours == pytest.approx(140 / 3600)
    assert made.training_hours == pytest.approx(420 / 3600)
    # One shard, then a table (70 s), then a training (210 s): 2,380 s.
    assert made.least_hours() == pytest.approx(2380 / 3600)
    # Images at .8 of 150,528 bytes, and at least 2 bytes per class and view in each table.
    assert made.bytes > 1000 * 150_528 * 0.8 + 2 * 400_000 * 2000


def parameters_of(name: str) -> Any:
    return METHODS()[name].recipe_for("imagenet1k").parameters


def test_iterations_are_those_of_the_mean_image() -> None:
    """PRISM: 4,000 - 500 (k mod 8), whose mean over 50 indices is (6 x 28 + 1) / 50 = 3.38. DELT enters 7, 7 and six
    times 6 images at 0, 500 ... 3,500: the mean entry is (7 x 500 + 6 x 13,500) / 50 = 1,690 too.
    """
    assert sizing.mean_iterations(parameters_of("dwa"), 50) == 2000
    assert sizing.mean_iterations(parameters_of("prism"), 50) == 4000 - 1690
    assert sizing.mean_iterations(parameters_of("delt"), 50) == 4000 - 1690
    assert sizing.mean_iterations(parameters_of("dwa_init"), 50) == 0


def test_passes_are_counted_from_the_recipe() -> None:
    methods = METHODS()
    # DDPS: 300 candidates per class in 8 pairs of passes, for 50 images: 96 passes per image.
    assert sizing.pair_passes(parameters_of("ddps"), 50) == sizing.Passes(plain=96)
    # Minimax: 50 steps of two passes.
    plain = sizing.sampling_passes(methods["minimax"], parameters_of("minimax"), 50)
    assert plain == sizing.Passes(plain=100, decoded=1)
    # D4M starts at strength .7: 35 steps.
    assert sizing.sampling_passes(methods["d4m"], parameters_of("d4m"), 50).plain == 70
    # CaO2 draws four, and refines one by 100 slopes.
    found = sizing.sampling_passes(methods["cao2"], parameters_of("cao2"), 50)
    assert (found.plain, found.slopes, found.decoded) == (400, 100, 4)
    # DAP, guided at all 50 steps in .3 of the layers, whose 64 references serve the class's 50 images.
    found = sizing.sampling_passes(methods["dap"], parameters_of("dap"), 50)
    assert (found.plain, found.slopes) == pytest.approx((100 + 50 * 0.3 * 64 / 50, 15))
    # IGD's window leaves the noisiest steps.
    found = sizing.sampling_passes(methods["igd"], parameters_of("igd"), 50)
    assert 0 < found.slopes == found.decoder_slopes < 40


def test_what_was_measured_covers_every_method() -> None:
    """From the committed file: a row for each method but those that need no network."""
    setting = CATALOGUE["imagenet1k"]
    for method in METHODS().values():
        if not method.is_ablation:
            made = sizing.row(method, setting, 50)
            assert (made.seconds_per_image > 0) == (made.basis not in ("no network", "initial images alone"))


def test_more_gpus_do_not_split_a_shard() -> None:
    """Ten hours in one shard and ten in ten: on two GPUs the work is 10 h each, on twenty the shard still takes 10."""
    fields: dict[str, Any] = dict.fromkeys(("label_hours", "training_hours", "seconds_per_image", "bytes"), 0.0)
    fields |= dict.fromkeys(("label_tables", "trainings", "requests", "images"), 0)
    whole = sizing.Row(method="whole", basis="", stated=None, shards=1, image_hours=10.0, **fields)
    split = sizing.Row(method="split", basis="", stated=None, shards=10, image_hours=10.0, **fields)
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
