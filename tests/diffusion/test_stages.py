"""Generators, centroids and D4M resolved against a real store with tiny networks.

Belongs here: which units they consist of, what invalidates what, what is blocked, what a data-free one may read.
Does not belong: the loops, pre-trained generators (test_pretrained_stages.py).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dd_assets.datasets import registry
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import IMAGENET_STATISTICS, Setting
from dd_assets.diffusion.registry import Generators, PretrainedFolder
from dd_assets.errors import InputError, VerdictError
from dd_assets.planning import generation, generators, graph
from dd_assets.planning.cells import Cell
from dd_assets.planning.engine import Engine
from dd_assets.planning.plan import Planner, with_upstream
from dd_assets.planning.reference_latents import asked_of
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.units.centroids import CENTROIDS
from dd_assets.units.reference_latents import REFERENCES
from dd_assets.units.tables import IMAGES, read_columns, read_images
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.diffusion.tiny import TINY

QUICK = dataclasses.replace(TINY, iterations=30, batch=32, learning_rate=3e-3)
"""Enough for the noise to be predicted a little, far too little for a digit."""


def _small(**changes: object) -> Setting:
    digits = CATALOGUE["digits"]
    quick = dataclasses.replace(digits.teacher.recipe, epochs=1, accuracy_floor=0.2)
    stated: dict[str, object] = {
        "name": "small",
        "teacher": dataclasses.replace(digits.teacher, recipe=quick),
        "committee": (),
        "students": ("convnet2_w64",),
        "generators": Generators(small=QUICK),
        **changes,
    }
    return dataclasses.replace(digits, **stated)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    """One store for the file: equal recipes are computed once."""
    return ArtefactStore(str(tmp_path_factory.mktemp("generators") / "store")).open()


@pytest.fixture
def engine(shared: ArtefactStore) -> Engine:
    return Engine(shared, RawData(), Compute(device="cpu", workers=1))


def _enable(monkeypatch: pytest.MonkeyPatch, *chosen: Setting) -> None:
    known = {entry.name: entry for entry in chosen}
    monkeypatch.setattr(registry, "settings", lambda: known)
    monkeypatch.setattr(generators, "settings", lambda: known)
    monkeypatch.setattr(generation, "settings", lambda: known)


def _resolve(
    engine: Engine, cell: Cell, *assets: str, found: dict[str, Reference] | None = None
) -> dict[str, Reference]:
    found = dict(found or {})
    for asset in assets:
        stage = graph.stages()[asset]
        found[asset] = stage.resolve(cell, {name: found[name] for name in stage.reads(cell)}, engine)
    return found


def _unit(engine: Engine, reference: Reference, key: str) -> Manifest:
    manifest = engine.store.lookup(reference.units[key])
    assert manifest is not None
    return manifest


STEPS = {"steps": 2, "batch": 5}


def _foreign(root: Path) -> Setting:
    """Ten classes of three 12 px colour images each, in folders below `root`."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(10):
            place = root / "other" / split / str(label)
            place.mkdir(parents=True)
            for number in range(3):
                pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return _small(
        name="other",
        data="other",
        reader="folder",
        options={"folder": "other"},
        size=12,
        channels=3,
        normalisation=IMAGENET_STATISTICS,
        generators=Generators(),
    )


def test_digits_pass_from_data_to_images(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = _small()
    _enable(monkeypatch, chosen)
    cell = Cell(setting=chosen, ipc=2, overrides=STEPS)
    found = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_small")
    found = _resolve(engine, dataclasses.replace(cell, overrides={}), "class_centroids", found=found)
    found = _resolve(engine, cell, "d4m/synthetic_images", found=found)
    columns = read_columns(engine.store.read(_unit(engine, found["class_centroids"], "small"), CENTROIDS))
    assert columns["center"].shape == (20, 1, 8, 8)
    assert columns["size"].sum() == len(RawData().load("small")[0])
    images, labels, _ = read_images(engine.store.read(_unit(engine, found["d4m/synthetic_images"], "draw0"), IMAGES))
    assert images.shape == (20, 8, 8, 1)
    assert labels.tolist() == list(range(10)) * 2
    # Another teacher judges the samples anew and leaves the generator, and all that was made with it, alone.
    samples = _unit(engine, found["generator_small"], "samples")
    assert set(samples.sources) == {"generator", "dataset", "teacher"}
    assert set(_unit(engine, found["generator_small"], "generator").sources) == {"dataset"}
    before = len(engine.tally.computed)
    _resolve(engine, cell, "class_centroids", "d4m/synthetic_images", found=found)
    assert len(engine.tally.computed) == before


def test_samples_that_the_teacher_does_not_recognise_stop_what_follows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = _small(generators=Generators(small=dataclasses.replace(QUICK, recognition_floor=0.9)))
    _enable(monkeypatch, chosen)
    found = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_small")
    # Thirty iterations teach nothing.
    assert _unit(engine, found["generator_small"], "samples").summary["recognised"] < 0.9
    with pytest.raises(VerdictError, match="'recognised': the teacher names"):
        _resolve(engine, Cell(setting=chosen, ipc=2), "class_centroids", found=found)


def test_a_launch_may_ask_another_floor_and_guidance_of_the_samples_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = _small()
    _enable(monkeypatch, chosen)
    found = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_small")
    asked = Cell(setting=chosen, overrides={"recognition_floor": 0.0, "guidance_scale": 2.5})
    again = _resolve(engine, asked, "generator_small", found=found)
    assert again["generator_small"].units["generator"] == found["generator_small"].units["generator"]
    before, after = (_unit(engine, one["generator_small"], "samples") for one in (found, again))
    assert before.recipe_digest != after.recipe_digest
    stated = after.recipe["parameters"]
    assert (stated["guidance_scale"], stated["recognition_floor"]) == (2.5, 0.0)


def test_the_recognition_floor_is_no_part_of_the_training(engine: Engine) -> None:
    chosen = _small()
    data = engine.run([generators.dataset.plan(CATALOGUE["digits"], engine.raw)])[0]

    def planned(**changes: float) -> tuple[str, str]:
        recipe = dataclasses.replace(QUICK, **changes)  # type: ignore[arg-type]
        unit = generators.generator.plan(chosen, recipe, chosen, data, {}, "small")
        samples = generators.generator_samples.plan(
            chosen, data, data, None, recipe.guidance_scale, recipe.recognition_floor
        )
        return unit.digest, samples.digest

    (trained, seen), (same, other) = planned(), planned(recognition_floor=0.01, guidance_scale=2.0)
    assert trained == same
    assert seen != other
    assert planned(iterations=31)[0] != trained


def test_what_cannot_apply_is_blocked_with_a_reason(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    bare, other = _small(name="bare", generators=Generators()), _small(generators=Generators(foreign="absent"))
    _enable(monkeypatch, bare, other)
    planner = Planner(engine, "main")
    assert planner.visit(("generator_small", "bare")).reason == "bare names no small generator (docs/generators.md)"
    assert "needs the setting 'absent', which is not enabled" in planner.visit(("generator_foreign", "small")).reason
    assert planner.visit(("class_centroids", "bare|10")).status == "blocked"
    with_images = Engine(engine.store, RawData(), Compute(device="cpu", workers=1))
    engine.store.write_reference("main", _resolve(with_images, Cell(setting=bare), "dataset")["dataset"])
    planner.forget([("dataset", "bare")])
    planner.visit(("dataset", "bare"))
    row = planner.rows.pop(("d4m/synthetic_images", "bare|10"), None) or planner.visit(
        ("d4m/synthetic_images", "bare|10")
    )
    assert (row.status, row.reason) == (
        "blocked",
        "bare has no generator small; it has none (docs/generators.md)",
    )


def test_a_cell_waits_only_for_the_generator_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    _enable(monkeypatch, _small())
    read = [asset for asset, _ in with_upstream([("d4m/synthetic_images", "small|10")])]
    assert "generator_small" in read
    # The recipes of ImageNet's relatives name it, those of the digits do not.
    assert "generator_pretrained" in graph.stages()["d4m/synthetic_images"].inputs
    assert "generator_pretrained" not in read


def test_reference_latents_are_shared_by_what_compares_with_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = _small()
    _enable(monkeypatch, chosen)
    made = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_small")
    cell = Cell(setting=chosen, ipc=2)
    found = _resolve(engine, cell, "class_centroids", "reference_latents", found=made)
    assert list(found["reference_latents"].units) == ["small/class", "small/kmeans"]
    columns = {
        key: read_columns(engine.store.read(_unit(engine, found["reference_latents"], f"small/{key}"), REFERENCES))
        for key in ("class", "kmeans")
    }
    assert np.bincount(columns["class"]["label"]).tolist() == [128] * 10
    assert columns["kmeans"]["latent"].shape == (10 * 2 * 8, 1, 8, 8)
    # Random references do not depend on IPC: another one shares the unit.
    other = Cell(setting=chosen, ipc=1)
    again = _resolve(engine, other, "class_centroids", "reference_latents", found=made)["reference_latents"]
    assert again.units["small/class"] == found["reference_latents"].units["small/class"]
    assert again.units["small/kmeans"] != found["reference_latents"].units["small/kmeans"]
    # Each variant reads the choice that it names, and images of the whole class are one shard.
    for name, choice, shards in (("dap", "class", 1), ("dap_kmeans", "kmeans", 2)):
        wanted = dataclasses.replace(cell, overrides=STEPS)
        images = _resolve(engine, wanted, f"{name}/synthetic_images", found=found)[f"{name}/synthetic_images"]
        parts = _unit(engine, images, "draw0").sources
        assert len(parts) == shards
        part = engine.store.lookup(next(iter(parts.values())))
        assert part is not None
        assert part.sources["reference_latents"] == found["reference_latents"].units[f"small/{choice}"]
    with pytest.raises(InputError, match="no class centroids of generator small"):
        _resolve(
            engine,
            dataclasses.replace(cell, overrides={**STEPS, "start": "centroid"}),
            "dap/synthetic_images",
            found={key: value for key, value in found.items() if key != "class_centroids"},
        )


def test_references_that_no_method_reads_are_not_made(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of dap and its variants all read the whole class here.
    chosen = _small(recipes={"dap_kmeans": {"references": "class"}})
    _enable(monkeypatch, chosen)
    cell, stage = Cell(setting=chosen, ipc=2), graph.stages()["reference_latents"]
    assert asked_of(chosen) == ["small/class"]
    assert stage.reads(cell) == ("dataset", "generator_small")
    upstream = [asset for asset, _ in with_upstream([("bo_repulsion/synthetic_images", "small|10")])]
    assert "class_centroids" not in upstream
    made = _resolve(engine, Cell(setting=chosen), "dataset", "teacher", "generator_small")
    found = _resolve(engine, cell, "reference_latents", found=made)
    assert list(found["reference_latents"].units) == ["small/class"]
    # As digits are, with a second generator whose latents nothing reads.
    both = _small(generators=Generators(small=QUICK, pretrained=PretrainedFolder(folder="x")))
    assert asked_of(both) == ["small/class", "small/kmeans"]
    assert graph.stages()["reference_latents"].reads(Cell(setting=both, ipc=2)) == (
        "dataset",
        "generator_small",
        "class_centroids",
    )
    # ImageNette's recipes name a folder, which this setting does not have.
    other = _small(name="other", data="imagenette")
    assert asked_of(other) == asked_of(_small(generators=Generators())) == []
    _enable(monkeypatch, other)
    made = _resolve(engine, Cell(setting=other), "dataset")
    assert (
        _resolve(engine, Cell(setting=other, ipc=2), "reference_latents", found=made)["reference_latents"].units == {}
    )


def test_more_clusters_than_images_are_blocked_before_anything_is_trained(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = _small(ipc=(10, 200))
    _enable(monkeypatch, chosen)
    engine.store.write_reference("main", _resolve(engine, Cell(setting=chosen), "dataset")["dataset"])
    planner = Planner(engine, "main")
    planner.visit(("dataset", "small"))
    reason = planner.visit(("class_centroids", "small|200")).reason
    assert reason == "its smallest class has 139 training images, IPC is 200"
    assert planner.visit(("reference_latents", "small|200")).reason == reason
    assert planner.visit(("d4m/synthetic_images", "small|200")).status == "blocked"


def test_a_foreign_generator_never_sees_the_settings_own_images(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = _foreign(tmp_path)
    chosen = _small(classes=tuple("9876543210"), generators=Generators(small=QUICK, foreign="other"))
    _enable(monkeypatch, chosen, other)
    engine.raw = RawData(str(tmp_path))
    reference = _resolve(engine, Cell(setting=chosen), "generator_foreign")["generator_foreign"]
    assert graph.stages()["generator_foreign"].inputs == ()
    own = generators.dataset.plan(chosen, engine.raw).digest
    seen, waiting = set(), list(reference.units.values())
    while waiting:
        digest = waiting.pop()
        seen.add(digest)
        manifest = engine.store.lookup(digest)
        assert manifest is not None
        assert manifest.setting != "small"
        waiting += manifest.sources.values()
    assert own not in seen
    assert generators.dataset.plan(other, engine.raw).digest in seen
    # The classes are found by name: this setting counts down. The images are of this one's size and depth.
    made = _unit(engine, reference, "generator")
    assert made.recipe["parameters"]["class_ids"] == list(range(9, -1, -1))
    images, _, _ = read_images(engine.store.read(_unit(engine, reference, "samples"), IMAGES))
    assert images.shape[1:] == (8, 8, 1)
