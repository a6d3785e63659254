"""What data-free images reach: walks through the units of real stores.

Belongs here: report/provenance.py, PRISM-DFKD resolved with generators of its own and of a foreign setting. Does not
belong: guidance and prompts.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import Setting
from dd_assets.datasets.user_settings import read_settings
from dd_assets.diffusion.registry import Generators
from dd_assets.errors import InputError
from dd_assets.methods.registry import METHODS, method
from dd_assets.planning import generators, graph
from dd_assets.planning.cells import Cell, declared_parameters
from dd_assets.planning.engine import Engine
from dd_assets.planning.unit import Reference
from dd_assets.report.leaderboard import _ranked
from dd_assets.report.provenance import provenance
from dd_resources.raw_data import RawData
from tests.diffusion.test_stages import _enable, _foreign, _resolve, _small, engine, shared
from tests.diffusion.tiny import TINY

__all__ = ["engine", "shared"]

READER = dataclasses.replace(
    TINY, width=8, heads=2, layers=1, reads="text", iterations=60, batch=32, learning_rate=4e-3
)
"""Enough for the noise to be predicted a little."""
PRISM = "prism_dfkd"
PROJECT = Path(__file__).resolve().parents[2]


def _images(engine: Engine, chosen: Setting, name: str = PRISM) -> tuple[Reference, Reference]:
    """The dataset's and the images' references of IPC 1, with the edges that the enabled settings ask for."""
    stage = graph._method_stages(method(name))[0]
    cell = Cell(setting=chosen, ipc=1, overrides={"steps": 3} if name == PRISM else {})
    found = _resolve(engine, Cell(setting=chosen), "dataset", "teacher")
    wanted = [asset for asset in stage.reads(cell) if asset not in found]
    found = _resolve(engine, Cell(setting=chosen), *wanted, found=found)
    return found["dataset"], stage.resolve(cell, {asset: found[asset] for asset in stage.reads(cell)}, engine)


def _led_by_others(other: str) -> Setting:
    """A setting whose data-free row samples from a generator trained on `other`."""
    return _small(generators=Generators(text=READER, foreign=other), recipes={PRISM: {"generator": "foreign_text"}})


def _owes(engine: Engine, dataset: Reference, images: Reference) -> str:
    return provenance(engine.store, images.units.values(), dataset.contents["dataset"])


def test_a_generator_of_the_settings_own_saw_the_data(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = _small(generators=Generators(text=READER))
    _enable(monkeypatch, chosen)
    dataset, images = _images(engine, chosen)
    assert _owes(engine, dataset, images) == "generator saw the data"
    # Its inputs as the recipe has them: neither the images of the setting nor anything else made from them.
    (shard,) = [engine.store.lookup(d) for d in engine.store.lookup(images.units["draw0"]).sources.values()]  # type: ignore[union-attr]
    assert shard is not None
    assert set(shard.sources) == {"teacher", "generator", "prompts"}


def test_a_foreign_generator_leaves_only_the_teacher(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = _foreign(tmp_path)
    chosen = _led_by_others("other")
    _enable(monkeypatch, chosen, other)
    engine.raw = RawData(str(tmp_path))
    dataset, images = _images(engine, chosen)
    assert _owes(engine, dataset, images) == "data-free"
    own, seen, waiting = dataset.units["dataset"], [], list(images.units.values())
    while waiting:
        digest = waiting.pop()
        manifest = engine.store.lookup(digest)
        assert manifest is not None
        seen.append(manifest.recipe["unit"])
        assert digest != own
        waiting += [] if manifest.recipe["unit"] == "teacher" else manifest.sources.values()
    assert sorted(set(seen)) == ["dataset", "generator", "image_set", "images/prism_dfkd", "prompt_bank", "teacher"]
    # Through the teacher there is a path; cutting it is what data-free means.
    teacher = next(d for d in _sources(engine, images) if engine.store.lookup(d).recipe["unit"] == "teacher")  # type: ignore[union-attr]
    assert own in engine.store.lookup(teacher).sources.values()  # type: ignore[union-attr]


def _sources(engine: Engine, images: Reference) -> list[str]:
    (shard,) = engine.store.lookup(images.units["draw0"]).sources.values()  # type: ignore[union-attr]
    return list(engine.store.lookup(shard).sources.values())  # type: ignore[union-attr]


def test_a_foreign_setting_with_the_same_images_is_found_out(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another name for the same data: content digests decide, not names.
    alias = _small(name="alias")
    chosen = _led_by_others("alias")
    _enable(monkeypatch, chosen, alias)
    dataset, images = _images(engine, chosen)
    assert _owes(engine, dataset, images) == "generator saw the data"


def test_selected_images_are_nothing_of_the_kind(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = _small()
    _enable(monkeypatch, chosen)
    assert _owes(engine, *_images(engine, chosen, "random")) == ""
    assert _owes(engine, *_images(engine, chosen, "noise")) == "data-free"
    # A unit that is no longer in the store is no proof of anything.
    assert provenance(engine.store, ["f" * 64], "anything") == ""


def test_the_shipped_setting_names_anothers_generator_for_the_method_and_its_variants() -> None:
    mnist, free = read_settings(PROJECT / "docs/examples/digits_free.yaml")
    assert free.generators.foreign == mnist.name
    assert (free.data, free.teacher) == ("digits", CATALOGUE["digits"].teacher)
    own = [name for name in METHODS() if name.startswith(PRISM)]
    assert len(own) == 4
    for name in own:
        assert declared_parameters(METHODS()[name], free).generator == "foreign_text"
        assert declared_parameters(METHODS()[name], CATALOGUE["digits"]).generator == "text"


def test_what_saw_the_data_has_no_data_free_rank() -> None:
    def row(method: str, mean: float, owes: str, declared: bool = True) -> dict:
        fixed = {"dataset": "d", "ipc": 1, "student": "s", "label": "soft"}
        alike = {"conditions": frozenset({("d", "p", "")}), "failed": []}
        return {**fixed, **alike, "method": method, "accuracy_mean": mean, "provenance": owes, "declared": declared}

    rows = _ranked(
        [
            row("kmeans", 0.9, ""),
            row("text", 0.8, "generator saw the data"),
            row("foreign", 0.7, "data-free"),
            row("noise", 0.1, "data-free"),
            row("mine", 0.75, "data-free", declared=False),
        ]
    )
    ranks = {made["method"]: (made["rank"], made["data_free_rank"]) for made in rows}
    assert ranks == {
        "kmeans": (1, None),
        "text": (2, None),
        "foreign": (3, 1),
        "noise": (4, 2),
        "mine": (None, None),
    }


def test_a_foreign_reader_is_blocked_with_a_reason(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = _small(generators=Generators(text=READER, foreign="mnist"))
    _enable(monkeypatch, chosen)
    assert "'mnist', which is not enabled" in generators.without_generator(chosen, "foreign_text")
    with pytest.raises(InputError, match="which is not enabled"):
        _resolve(engine, Cell(setting=chosen), "generator_foreign_text")


def test_banks_read_no_asset_and_say_where_they_come_from(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = _small()
    _enable(monkeypatch, chosen)
    assert graph.stages()["prompt_bank"].inputs == ()
    found = _resolve(engine, Cell(setting=chosen), "prompt_bank")["prompt_bank"]
    assert set(found.units) == {"measured", "open"}
    manifest = engine.store.lookup(found.units["measured"])
    assert manifest is not None
    assert manifest.sources == {}
    assert (manifest.summary["source"], manifest.summary["defined"]) == ("templates", 10)
    missing = _small(generators=Generators(language_model=str(tmp_path)))
    with pytest.raises(InputError, match=r"lacks config\.json"):
        _resolve(engine, Cell(setting=missing), "prompt_bank")
