"""Pre-trained generators from a user's settings to a method's images, with tiny pipelines of the published layouts.

Belongs here: local folders and the hub, which class each label asks for, what of it is planned and refused. Does not
belong: loading (test_folders.py), the cache of the hub (test_hub.py), generators trained here (test_stages.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from dd_assets.datasets import registry
from dd_assets.datasets.names import class_folders
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.folders import load_folder
from dd_assets.diffusion.generate import sample_rows, to_images
from dd_assets.errors import InputError
from dd_assets.methods.registry import method
from dd_assets.planning import graph
from dd_assets.planning.cells import Cell, declared_parameters
from dd_assets.planning.engine import Engine
from dd_assets.planning.plan import Planner
from dd_assets.planning.sync import Sync
from dd_assets.planning.unit import Reference, Unit
from dd_assets.units import generator as generator_unit
from dd_assets.units.tables import IMAGES, read_images
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.diffusion.hub_cache import FOLDER, REPOSITORY, REVISION, Hub, hub
from tests.diffusion.test_stages import _resolve, _unit
from tests.diffusion.tiny import dit_folder, rows, sd_folder

__all__ = ["hub"]

DIGITS = """
own:
  base: digits
  ipc: [1]
  committee: []
  students: [convnet2_w64]
  teacher: {{recipe: {{epochs: 1, accuracy_floor: 0.2}}}}
  generators: {{small: null, text: null, minimax: null, pretrained: {pretrained}}}
  recipes: {{d4m: {{generator: pretrained, steps: 2, batch: 5, start_level: 0.3, {asked}}}}}
"""
BY_CLASS = "condition: class, guidance_scale: 4.0"
BY_TEXT = "condition: text, guidance_scale: 8.0, prompt: 'a {name}', negative_prompt: cartoon"
HUB = f"{{folder: {FOLDER!r}, revision: {REVISION!r}, classes: same}}"
CHOSEN = (17, 3, 11, 0, 8)
"""Of ImageNet-1K's first twenty classes, in an order of our own."""
SUBSET = """
own:
  reader: folder
  options: {{folder: subset, folders: imagenet1k}}
  classes: {classes}
  size: 12
  ipc: [1]
  students: [convnet2_w64]
  teacher: {{architecture: convnet2_w64, recipe: {{epochs: 1, accuracy_floor: 0.0}}}}
  generators: {{pretrained: {pretrained}}}
  recipes: {{d4m: {{generator: pretrained, steps: 2, batch: 5, start_level: 0.3, {asked}}}}}
"""
Enable = Callable[[str], Setting]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    """One store for the file: equal recipes are computed once."""
    return ArtefactStore(str(tmp_path_factory.mktemp("pretrained") / "store")).open()


@pytest.fixture
def engine(shared: ArtefactStore, tmp_path: Path) -> Engine:
    return Engine(shared, RawData(str(tmp_path)), Compute(device="cpu", workers=1))


@pytest.fixture
def enable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Enable]:
    """Enables the one setting of a text, `own`, by the file that a user would name."""

    def as_stated(text: str) -> Setting:
        (tmp_path / "settings.yaml").write_text(text)
        monkeypatch.setenv("DD_DATASETS", str(tmp_path / "settings.yaml"))
        _forget()
        return registry.settings()["own"]

    yield as_stated
    _forget()


def _forget() -> None:
    registry.settings.cache_clear()
    # Which generators a method's images read depends on the settings.
    graph.stages.cache_clear()


def _pictures(root: Path) -> list[str]:
    """Three colour images of 12 px of each class of CHOSEN, in folders of WordNet ids; the classes' names."""
    table = list(class_folders("imagenet1k").items())
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in CHOSEN:
            place = root / "subset" / split / table[number][1]
            place.mkdir(parents=True)
            for image in range(3):
                pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{image}.png")
    return [table[number][0] for number in CHOSEN]


def _subset(root: Path) -> str:
    dit_folder(root / "pipeline", classes=20)
    return SUBSET.format(classes=json.dumps(_pictures(root)), pretrained="pipeline", asked=BY_CLASS)


def _digits_by_class(root: Path) -> str:
    dit_folder(root / "pipeline")
    stated = "{folder: pipeline, classes: same, revision: abc}"
    return DIGITS.format(pretrained=stated, asked=BY_CLASS)


def _digits_by_text(root: Path) -> str:
    sd_folder(root / "pipeline")
    return DIGITS.format(pretrained="pipeline", asked=BY_TEXT)


def _generated(engine: Engine, cell: Cell, found: dict[str, Reference]) -> np.ndarray:
    asset = "d4m/synthetic_images"
    reference = _resolve(engine, cell, asset, found=found)[asset]
    images, labels, _ = read_images(engine.store.read(_unit(engine, reference, "draw0"), IMAGES))
    assert labels.tolist() == list(range(len(cell.setting.classes)))
    return images


@pytest.mark.parametrize(("stated", "ids"), [(_digits_by_class, range(10)), (_digits_by_text, ()), (_subset, CHOSEN)])
def test_settings_in_a_file_lead_to_images(
    engine: Engine, enable: Enable, tmp_path: Path, stated: Callable[[Path], str], ids: tuple[int, ...]
) -> None:
    chosen = enable(stated(tmp_path))
    found = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_pretrained")
    made = _unit(engine, found["generator_pretrained"], "generator")
    assert made.summary["text"] is (not ids)
    assert made.recipe["parameters"]["class_ids"] == list(ids or range(10))
    cell = Cell(setting=chosen, ipc=1)
    found = _resolve(engine, cell, "class_centroids", found=found)
    assert list(found["class_centroids"].units) == ["pretrained"]
    started = _generated(engine, cell, found)
    assert started.shape[1:] == (chosen.size, chosen.size, chosen.channels)
    assert np.ptp(started) > 0
    # From noise alone they are what the folder gives, asked for these very classes and for no other.
    images = _generated(engine, replace(cell, overrides={"start": "noise"}), found)
    assert not np.array_equal(images, started)
    how = declared_parameters(method("d4m"), chosen, {"start": "noise"})

    def direct(how: Sampling, ids: tuple[int, ...]) -> np.ndarray:
        loaded = load_folder(
            tmp_path / "pipeline", classes=chosen.classes, class_ids=ids, size=chosen.size, channels=chosen.channels
        )
        return to_images(loaded, sample_rows(loaded, rows(len(images), len(images)), how, 0))

    places = tuple(range(len(chosen.classes)))
    assert np.array_equal(images, direct(how, tuple(ids) or places))
    other = direct(replace(how, prompt="another {name}"), places) if not ids else direct(how, places[::-1])
    assert not np.array_equal(images, other)
    if tuple(ids) == CHOSEN:
        assert not np.array_equal(images, direct(how, places))


def test_a_revision_of_a_local_folder_is_kept_for_the_record(engine: Engine, enable: Enable, tmp_path: Path) -> None:
    chosen = enable(_digits_by_class(tmp_path))
    found = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_pretrained")
    assert _unit(engine, found["generator_pretrained"], "generator").summary["revision"] == "abc"
    (tmp_path / "pipeline" / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(InputError, match=r"lacks scheduler/scheduler_config\.json"):
        _resolve(engine, Cell(setting=chosen), "generator_pretrained", found=found)


def _planned(engine: Engine, chosen: Setting) -> Unit:
    stated = chosen.generators.pretrained
    assert stated is not None
    return generator_unit.plan_folder(chosen, stated, engine.raw)


@pytest.mark.parametrize("file", ["vae/config.json", "tokenizer/special_tokens_map.json"])
def test_another_file_in_the_folder_is_another_generator(
    engine: Engine, enable: Enable, tmp_path: Path, file: str
) -> None:
    chosen = enable(_digits_by_text(tmp_path))
    first, place = _planned(engine, chosen), tmp_path / "pipeline" / file
    # Transformers reads the second beside tokenizer_config.json where there is one, and it wins.
    place.write_text((place.read_text() if place.exists() else "{}") + "\n")
    assert _planned(engine, chosen).digest != first.digest


def test_the_same_files_are_the_same_generator_wherever_they_lie(
    engine: Engine, enable: Enable, hub: Hub, tmp_path: Path
) -> None:
    local = enable(_digits_by_class(tmp_path))
    hub.repository = tmp_path / "pipeline"
    hub.cached()
    of_hub = enable(DIGITS.format(pretrained=HUB, asked=BY_CLASS))
    assert _planned(engine, of_hub).digest == _planned(engine, local).digest
    snapshot = hub.snapshot / "vae" / "config.json"
    content = snapshot.read_text()
    snapshot.unlink()
    snapshot.write_text(content + "\n")
    assert _planned(engine, of_hub).digest != _planned(engine, local).digest


def test_a_generator_is_found_again_where_the_setting_says_now(
    engine: Engine, enable: Enable, hub: Hub, tmp_path: Path
) -> None:
    local = enable(_digits_by_class(tmp_path))
    found = _resolve(engine, Cell(setting=local), "dataset", "teacher", "generator_pretrained")
    hub.repository = tmp_path / "pipeline"
    hub.cached()
    of_hub = enable(DIGITS.format(pretrained=HUB, asked=BY_CLASS))
    again = _resolve(engine, Cell(setting=of_hub), "generator_pretrained", found=found)
    assert again["generator_pretrained"].units == found["generator_pretrained"].units
    # The store remembers the folder that is gone now; the snapshot has the same files.
    shutil.rmtree(tmp_path / "pipeline")
    cell = Cell(setting=of_hub, ipc=1, overrides={"start": "noise", "guidance_scale": 3.0})
    assert np.ptp(_generated(engine, cell, found)) > 0
    shutil.rmtree(hub.cache)
    with pytest.raises(InputError, match="is not in the cache of this machine"):
        _generated(engine, replace(cell, overrides={"start": "noise", "guidance_scale": 2.0}), found)


def _generator_row(engine: Engine, chosen: Setting, found: dict[str, Reference] | None = None) -> tuple[str, str]:
    looking = Engine(engine.store, engine.raw, Compute(device="cpu", workers=1), look_only=True)
    for reference in (found or {}).values():
        engine.store.write_reference("main", reference)
    row = Planner(looking, "main").visit(("generator_pretrained", chosen.name))
    return row.status, row.reason


def _memory(engine: Engine) -> int:
    looking = Engine(engine.store, engine.raw, Compute(device="cpu", workers=1), look_only=True)
    row = Planner(looking, "main").visit(("d4m/synthetic_images", "own|1"))
    assert row.status == "missing"
    assert row.memory_estimate is not None
    return row.memory_estimate


def test_a_plan_neither_fetches_nor_waits_to_say_what_is_missing(
    tmp_path: Path, enable: Enable, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtefactStore(str(tmp_path / "store")).open()
    engine = Engine(store, RawData(str(tmp_path)), Compute(device="cpu", workers=1))
    dit_folder(tmp_path / "pipeline")
    hub.repository = tmp_path / "pipeline"
    chosen = enable(DIGITS.format(pretrained=HUB, asked=BY_CLASS))
    # Nothing is computed yet, not even the dataset.
    status, reason = _generator_row(engine, chosen)
    assert (status, "is not in the cache of this machine" in reason) == ("refused", True)
    hub.cached("model_index.json")
    status, reason = _generator_row(engine, chosen)
    assert (status, "is incomplete in the cache" in reason) == ("refused", True)
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    assert _generator_row(engine, chosen) == ("missing", "waits for dataset [own], teacher [own]")
    found = _resolve(engine, Cell(setting=chosen), "dataset", "teacher")
    to_be_fetched = f"hub:{REPOSITORY} at revision {REVISION} is to be fetched"
    assert _generator_row(engine, chosen, found) == ("missing", to_be_fetched)
    assert not hub.asked
    unknown = _memory(engine)
    found = _resolve(engine, Cell(setting=chosen), "generator_pretrained", found=found)
    made = _unit(engine, found["generator_pretrained"], "generator")
    assert (made.summary["source"], made.summary["revision"]) == (f"hub:{REPOSITORY} at revision {REVISION}", REVISION)
    assert len(hub.asked) == 2
    assert _generator_row(engine, chosen, found) == ("fresh", "")
    # Before the files are there a plan knows the process alone, afterwards the weights too.
    assert 0 < unknown < _memory(engine)
    # A cache that was emptied is filled again where that is allowed, and the plan says so without doing it.
    shutil.rmtree(hub.cache)
    assert _generator_row(engine, chosen) == ("pending", to_be_fetched)
    assert len(hub.asked) == 2


def test_all_below_a_generator_that_cannot_be_had_is_refused_with_it(tmp_path: Path, enable: Enable, hub: Hub) -> None:
    store = ArtefactStore(str(tmp_path / "store")).open()
    looking = Engine(store, RawData(str(tmp_path)), Compute(device="cpu", workers=1), look_only=True)
    enable(DIGITS.format(pretrained=HUB, asked=BY_CLASS))
    planner = Planner(looking, "main")
    row = planner.visit(("d4m/synthetic_images", "own|1"))
    assert row.status == "refused"
    assert "generator_pretrained [own]" in row.reason
    # Others wait for what is theirs.
    assert planner.visit(("random/synthetic_images", "own|1")).status == "missing"
    assert "is not in the cache" in str(planner.refusals[("d4m/synthetic_images", "own|1")])


def test_a_sync_ends_before_a_teacher_trains_for_it(tmp_path: Path, enable: Enable, hub: Hub) -> None:
    store = ArtefactStore(str(tmp_path / "store")).open()
    chosen = enable(DIGITS.format(pretrained=HUB, asked=BY_CLASS))
    engine = Engine(store, RawData(str(tmp_path)), Compute(device="cpu", workers=1))
    store.write_reference("main", _resolve(engine, Cell(setting=chosen), "dataset")["dataset"])
    looking, said = replace(engine, look_only=True), list[str]()
    with dg.DagsterInstance.ephemeral() as instance:
        # Without definitions there is no job that could train one.
        job = Sync(looking, "main", instance, dg.Definitions(), lambda *_: dg.MaterializeResult(), said.append)
        with pytest.raises(InputError, match="is not in the cache of this machine"):
            job.run([("d4m/synthetic_images", "own|1")])
    assert said == ["adopted   dataset [own]"]
