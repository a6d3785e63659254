"""A small generator that reads prompts through a sentence encoder, from a user's settings to a method's images.

Belongs here: the encoder's folder as part of the unit, what is refused of it, that prompts act. Does not belong: the
encoders themselves (test_text.py), pre-trained generators (test_pretrained_stages.py).
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from dd_assets.diffusion.text import SentenceText
from dd_assets.errors import InputError
from dd_assets.planning import generators
from dd_assets.planning.cells import Cell
from dd_assets.planning.engine import Engine, Work
from dd_assets.planning.plan import Planner
from dd_assets.planning.unit import Reference
from dd_assets.units import generator as generator_unit
from dd_assets.units.tables import IMAGES, read_images
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.diffusion.test_pretrained_stages import Enable, enable
from tests.diffusion.test_stages import _resolve, _unit
from tests.diffusion.tiny import sentence_folder

__all__ = ["enable"]

STATED = """
own:
  base: digits
  ipc: [1]
  committee: []
  students: [convnet2_w64]
  teacher: {recipe: {epochs: 1, accuracy_floor: 0.2}}
  generators:
    small: null
    minimax: null
    text: {space: pixels, width: 8, heads: 2, layers: 1, iterations: 60, batch: 32, learning_rate: 4e-3, warmup: 2,
           recognition_floor: 0.0, text_encoder: sentences}
  recipes:
    d4m: {generator: text, condition: text, start: noise, steps: 2, batch: 5, guidance_scale: 3.0,
          negative_prompt: ""}
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    store = ArtefactStore(str(tmp_path / "store")).open()
    return Engine(store, RawData(str(tmp_path)), Compute(device="cpu", workers=1))


def _images(engine: Engine, cell: Cell, found: dict[str, Reference]) -> np.ndarray:
    reference = _resolve(engine, cell, "d4m/synthetic_images", found=found)["d4m/synthetic_images"]
    return read_images(engine.store.read(_unit(engine, reference, "draw0"), IMAGES))[0]


def test_prompts_reach_the_images_through_the_sentence_encoder(engine: Engine, enable: Enable, tmp_path: Path) -> None:
    sentence_folder(tmp_path / "sentences")
    chosen = enable(STATED)
    found = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_text")
    made = _unit(engine, found["generator_text"], "generator")
    assert made.summary["text"] is True
    assert set(made.recipe["inputs"]) == {"dataset", "text_encoder"}
    cell = Cell(setting=chosen, ipc=1)
    images = _images(engine, cell, found)
    assert np.ptp(images) > 0
    for changed in ({"prompt": "a dark {name}"}, {"negative_prompt": "wide"}):
        assert not np.array_equal(images, _images(engine, dataclasses.replace(cell, overrides=changed), found))

    # What a method is handed embeds with that folder, and refuses another one in its place.
    consumer = dataclasses.replace(
        made.unit(), inputs={"generator": made.content}, sources={"generator": made.recipe_digest}
    )
    work = Work(store=engine.store, raw=engine.raw, device="cpu", unit=consumer)
    assert isinstance(generator_unit.load(work).text, SentenceText)
    shutil.rmtree(tmp_path / "sentences")
    sentence_folder(tmp_path / "sentences", seed=1)
    generator_unit._loaded.cache_clear()
    with pytest.raises(InputError, match="sentences changed → materialize the generator again"):
        _images(engine, dataclasses.replace(cell, overrides={"guidance_scale": 2.0}), found)


def test_another_encoder_is_another_generator(engine: Engine, enable: Enable, tmp_path: Path) -> None:
    sentence_folder(tmp_path / "sentences")
    sentence_folder(tmp_path / "others", seed=1)
    shutil.copytree(tmp_path / "sentences", tmp_path / "moved")
    chosen = enable(STATED)
    data = engine.run([generators.dataset.plan(chosen, engine.raw)])[0]

    def planned(folder: str) -> tuple[str, str]:
        recipe = chosen.generators.text
        assert recipe is not None
        stated = dataclasses.replace(recipe, text_encoder=folder)
        unit = generators.generator.plan(chosen, stated, chosen, data, {}, "text", engine.raw)
        return unit.digest, unit.inputs.get("text_encoder", "")

    (first, own), (second, other), (_, moved) = planned("sentences"), planned("others"), planned("moved")
    assert (first != second, own != other, own == moved) == (True, True, True)
    assert planned("")[1] == ""


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer_config.json", ""])
def test_an_encoder_that_is_not_whole_is_named_before_anything_is_trained(
    engine: Engine, enable: Enable, tmp_path: Path, lost: str
) -> None:
    sentence_folder(tmp_path / "sentences")
    (tmp_path / "sentences" / lost).unlink() if lost else shutil.rmtree(tmp_path / "sentences")
    enable(STATED)
    engine.look_only = True
    planner = Planner(engine, "main")
    row = planner.visit(("generator_text", "own"))
    lacks = lost or "config.json, model.safetensors, tokenizer_config.json"
    assert row.status == "refused"
    assert f"text encoder {tmp_path}/sentences lacks {lacks} → download the whole folder" in row.reason
    assert planner.visit(("teacher", "own")).status == "missing"


def test_the_package_that_reads_encoders_is_asked_for_by_name(
    engine: Engine, enable: Enable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence_folder(tmp_path / "sentences")
    enable(STATED)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    engine.look_only = True
    reason = Planner(engine, "main").visit(("generator_text", "own")).reason
    remedy = "pip install -c constraints.txt -e '.[text]' in the checkout"
    assert reason == f"text encoder sentences needs the package transformers → {remedy}"
