"""The fine-tuned generator and the influence asset resolved against a real store with tiny networks.

Belongs here: which units they consist of, what they are made from, who waits for them, what is blocked. Does not
belong: the loops (test_minimax.py), other generators (test_stages.py).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dd_assets.datasets import registry
from dd_assets.datasets.setting import Setting
from dd_assets.diffusion.registry import FineTuning, Generators
from dd_assets.errors import InputError
from dd_assets.methods.registry import METHODS
from dd_assets.models import surrogates
from dd_assets.planning import generators, graph
from dd_assets.planning.cells import Cell
from dd_assets.planning.engine import Engine, Work
from dd_assets.planning.plan import Planner, with_upstream
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.units import class_gradients
from dd_assets.units import generator as generator_unit
from dd_assets.units import surrogate as surrogate_unit
from dd_assets.units.tables import IMAGES, read_images
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.diffusion.test_stages import QUICK, _enable, _resolve, _small, _unit

TUNING = FineTuning(iterations=6, batch=8, memory=4, learning_rate=1e-3)
STEPS = {"steps": 4, "batch": 5}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    """One store for the file: equal recipes are computed once."""
    return ArtefactStore(str(tmp_path_factory.mktemp("fine_tuned") / "store")).open()


@pytest.fixture
def engine(shared: ArtefactStore) -> Engine:
    return Engine(shared, RawData(), Compute(device="cpu", workers=1))


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Setting:
    """Digits with a generator and a surrogate that learn next to nothing."""
    quick = dataclasses.replace(surrogates.SURROGATES["digits"], epochs=2, images=10, threshold=1.1, accuracy_floor=0.0)
    monkeypatch.setitem(surrogates.SURROGATES, "digits", quick)  # type: ignore[arg-type]
    entry = _small(generators=Generators(small=QUICK, minimax=TUNING))
    _enable(monkeypatch, entry)
    return entry


def _upstream(engine: Engine, chosen: Setting) -> dict[str, Reference]:
    return _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_small")


def _work(engine: Engine, manifest: Manifest, **inputs: Manifest) -> Work:
    unit = dataclasses.replace(
        manifest.unit(),
        inputs={name: made.content for name, made in inputs.items()},
        sources={name: made.recipe_digest for name, made in inputs.items()},
    )
    return Work(store=engine.store, raw=engine.raw, device="cpu", unit=unit)


def test_the_fine_tuned_generator_is_made_from_the_settings_small_one(engine: Engine, chosen: Setting) -> None:
    found = _resolve(engine, Cell(setting=chosen), "generator_minimax", found=_upstream(engine, chosen))
    made, base = (_unit(engine, found[name], "generator") for name in ("generator_minimax", "generator_small"))
    assert set(made.sources) == {"dataset", "generator"}
    assert made.sources["generator"] == base.recipe_digest
    assert made.summary["trained"] > 0
    # It is read as any generator is, classes and schedule of its base included, and has other weights.
    first, second = (generator_unit.load(_work(engine, made, generator=manifest)) for manifest in (base, made))
    assert (second.classes, second.class_ids, second.size) == (first.classes, first.class_ids, first.size)
    assert second.scheduler == first.scheduler
    pairs = zip(first.denoiser.module.parameters(), second.denoiser.module.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)
    # Its samples are judged as the small one's are, by the teacher, who is no part of the fine-tuning.
    samples = _unit(engine, found["generator_minimax"], "samples")
    assert set(samples.sources) == {"generator", "dataset", "teacher"}
    assert {verdict.name for verdict in samples.verdicts} == {"recognised", "no_constant_samples"}
    shown = {name for name, _, _ in graph.stages()["generator_minimax"].checks}
    assert {verdict.name for verdict in (*samples.verdicts, *made.verdicts)} <= shown


def test_images_come_from_the_fine_tuned_generator(engine: Engine, chosen: Setting) -> None:
    found = _resolve(engine, Cell(setting=chosen), "generator_minimax", found=_upstream(engine, chosen))
    cell = Cell(setting=chosen, ipc=1, overrides=STEPS)
    found = _resolve(engine, cell, "minimax/synthetic_images", found=found)
    drawn = _unit(engine, found["minimax/synthetic_images"], "draw0")
    images, labels, _ = read_images(engine.store.read(drawn, IMAGES))
    assert images.shape == (10, 8, 8, 1)
    assert labels.tolist() == list(range(10))
    shard = engine.store.lookup(next(iter(drawn.sources.values())))
    assert shard is not None
    assert shard.sources["generator"] == found["generator_minimax"].units["generator"]


def test_influence_is_a_surrogate_with_its_epochs_and_the_gradients_there(engine: Engine, chosen: Setting) -> None:
    found = _resolve(engine, Cell(setting=chosen), "dataset")
    found = _resolve(engine, Cell(setting=chosen), "influence", found=found)
    made, rows = (_unit(engine, found["influence"], key) for key in ("surrogate", "gradients/0"))
    assert made.summary["kept"] == [0, 1]
    assert set(rows.sources) == {"dataset", "surrogate"}
    work = _work(engine, made, surrogate=made, **{"gradients/0": rows})
    networks = surrogate_unit.load(work)
    stored = class_gradients.load(work, 7)
    size = sum(parameter.numel() for parameter in networks[0].parameters())
    assert stored.shape == (2, size)
    # What is stored is the gradient of that class at that epoch, and of no other.
    from dd_assets.synthesis.influence import class_gradient

    train, _ = engine.raw.load("small")
    own = class_gradient(networks[1], train, 7, 10, chosen.normalisation, 0).numpy()
    assert np.allclose(own, stored[1], atol=1e-6)
    assert not np.allclose(own, stored[0], atol=1e-3)
    with pytest.raises(KeyError):
        class_gradients.load(work, 10)


def test_classes_are_parted_into_units() -> None:
    assert class_gradients.ranges(10) == [(0, 10)]
    assert class_gradients.ranges(120) == [(0, 50), (50, 100), (100, 120)]


def test_guided_images_pass_from_data_to_a_set_in_one_shard(engine: Engine, chosen: Setting) -> None:
    found = _resolve(engine, Cell(setting=chosen), "influence", found=_upstream(engine, chosen))
    cell = Cell(setting=chosen, ipc=2, overrides=STEPS)
    found = _resolve(engine, cell, "igd/synthetic_images", found=found)
    drawn = _unit(engine, found["igd/synthetic_images"], "draw0")
    assert len(drawn.sources) == 1
    shard = engine.store.lookup(next(iter(drawn.sources.values())))
    assert shard is not None
    assert set(shard.sources) == {"generator", "surrogate", "gradients/0"}
    assert {"influence_loss", "deviation_loss"} <= set(shard.measurements["curves"])
    assert shard.measurements["steps_meant"]["guidance"].startswith("ᾱ ")


def test_only_the_method_that_reads_an_asset_waits_for_it(chosen: Setting) -> None:
    stages = graph.stages()
    for name in METHODS():
        read = [asset for asset, _ in with_upstream([(f"{name}/synthetic_images", "small|1")])]
        assert ("influence" in read) is (name == "igd"), name
        assert ("generator_minimax" in read) is (name == "minimax"), name
    assert [name for name, stage in stages.items() if "influence" in stage.inputs] == ["igd/synthetic_images"]
    readers = [name for name, stage in stages.items() if "generator_minimax" in stage.inputs]
    assert readers == ["minimax/synthetic_images"]


def test_it_waits_only_for_the_generator_that_is_fine_tuned(chosen: Setting) -> None:
    stage = graph.stages()["generator_minimax"]
    assert stage.reads(Cell(setting=chosen)) == ("dataset", "teacher", "generator_small")
    pretrained = dataclasses.replace(TUNING, base="pretrained")
    other = dataclasses.replace(chosen, generators=Generators(small=QUICK, minimax=pretrained))
    assert stage.reads(Cell(setting=other)) == ("dataset", "teacher", "generator_pretrained")


def test_what_cannot_apply_is_blocked_with_a_reason(
    engine: Engine, chosen: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained = dataclasses.replace(TUNING, base="pretrained")
    bare = _small(name="bare", generators=Generators(minimax=pretrained))
    none = _small(name="none", generators=Generators(small=QUICK))
    tiny = _small(name="tiny", size=4)
    _enable(monkeypatch, chosen, bare, none, tiny)
    planner = Planner(engine, "main")
    reason = planner.visit(("generator_minimax", "bare")).reason
    assert reason == "bare names no pretrained generator (docs/generators.md)"
    assert planner.visit(("generator_minimax", "none")).reason == "none names no minimax generator (docs/generators.md)"
    assert planner.visit(("influence", "tiny")).reason == "convnet3_w64_in needs images of at least 8 px, these have 4"


def test_a_launch_may_change_the_fine_tuning_but_not_its_base(engine: Engine, chosen: Setting) -> None:
    found = _upstream(engine, chosen)
    with pytest.raises(InputError, match="the base of a fine-tuning cannot change at launch"):
        _resolve(engine, Cell(setting=chosen, overrides={"base": "pretrained"}), "generator_minimax", found=found)
    changed = _resolve(engine, Cell(setting=chosen, overrides={"iterations": 2}), "generator_minimax", found=found)
    made = _unit(engine, changed["generator_minimax"], "generator")
    assert made.recipe["parameters"]["iterations"] == 2
    assert not changed["generator_minimax"].declared


def test_floors_and_sources_are_no_part_of_the_fine_tuning(engine: Engine, chosen: Setting) -> None:
    found = _upstream(engine, chosen)
    base, data = _unit(engine, found["generator_small"], "generator"), _unit(engine, found["dataset"], "dataset")

    def planned(**changes: object) -> str:
        recipe = dataclasses.replace(TUNING, **changes)  # type: ignore[arg-type]
        return generators.fine_tuned.plan(chosen, recipe, base, data, {}).digest

    assert planned() == planned(recognition_floor=0.5, guidance_scale=2.0, source="x", cost="y")
    assert len({planned(), planned(memory=5), planned(diversity=0.01), planned(trained="difffit")}) == 4
    # A mirrored digit is another digit, whatever the recipe says.
    assert planned(hflip=True) == planned(hflip=False)
    assert registry.settings()["small"].hflip is False
