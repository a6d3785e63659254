"""Committees, images to start from and tune variants, resolved against a real store with tiny networks.

Belongs here: which units a cell consists of and what they share. Does not belong: what any method does with them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dd_assets.datasets import registry
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.registry import setting
from dd_assets.datasets.setting import Setting, TeacherChoice, tune_variant
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.methods.registry import method
from dd_assets.methods.sre2l import recipe as sre2l
from dd_assets.planning import graph
from dd_assets.planning.cells import Cell, declared_parameters
from dd_assets.planning.committees import rated
from dd_assets.planning.engine import Engine
from dd_assets.planning.plan import Planner
from dd_assets.planning.unit import Reference
from dd_assets.units.tables import IMAGES, read_images
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.methods.requests import digit_facts

PRIOR_LABELS = {"labeller": "committee", "label_mix": "priors"}


def _small(members: int = 2) -> Setting:
    """Digits with one-epoch teachers: the teacher itself and re-seeded ones."""
    digits = CATALOGUE["digits"]
    recipe = dataclasses.replace(digits.teacher.recipe, epochs=1, accuracy_floor=0.2)
    own = TeacherChoice(architecture="convnet2_w64", recipe=recipe)
    others = tuple(dataclasses.replace(own, seed=seed, name=f"other{seed}") for seed in range(1, members))
    protocol = dataclasses.replace(digits.protocol, epochs=2)
    return dataclasses.replace(
        digits, name="small", teacher=own, committee=(own, *others), students=("convnet2_w64",), protocol=protocol
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Setting:
    chosen = _small()
    monkeypatch.setattr(registry, "settings", lambda: {"small": chosen})
    return chosen


@pytest.fixture
def engine(store: ArtefactStore) -> Engine:
    return Engine(store, RawData(), Compute(device="cpu", workers=1))


def _resolve(
    engine: Engine, cell: Cell, *assets: str, found: dict[str, Reference] | None = None
) -> dict[str, Reference]:
    found = dict(found or {})
    for asset in assets:
        stage = graph.stages()[asset]
        found[asset] = stage.resolve(cell, {name: found[name] for name in stage.inputs}, engine)
    return found


def test_a_member_that_equals_the_teacher_is_the_teacher(small: Setting, engine: Engine) -> None:
    found = _resolve(engine, Cell(setting=small), "dataset", "teacher", "committee")
    assert found["committee"].units["convnet2_w64"] == found["teacher"].units["teacher"]
    assert found["committee"].units["other1"] != found["teacher"].units["teacher"]
    # dataset, teacher and the re-seeded member: the member that is the teacher was not trained again.
    assert len(engine.tally.computed) == 3


def test_a_further_member_touches_nothing_that_exists(small: Setting, engine: Engine) -> None:
    before = _resolve(engine, Cell(setting=small), "dataset", "teacher", "committee")
    cell = Cell(setting=small, ipc=1, overrides={"iterations": 2})
    images = _resolve(engine, cell, "sre2l/synthetic_images", found=before)
    wider = dataclasses.replace(_small(3), name="small")
    after = _resolve(engine, Cell(setting=wider), "dataset", "teacher", "committee")
    same = _resolve(engine, dataclasses.replace(cell, setting=wider), "sre2l/synthetic_images", found=after)
    assert {name: after["committee"].units[name] for name in before["committee"].units} == before["committee"].units
    assert same["sre2l/synthetic_images"].units == images["sre2l/synthetic_images"].units


def test_equal_priors_cost_no_training_and_published_ones_need_a_published_member(
    small: Setting, engine: Engine
) -> None:
    pooled = dataclasses.replace(small, recipes={"cvdd": {"pool": ["convnet2_w64", "other1"]}})
    found = _resolve(engine, Cell(setting=small), "dataset")

    def priors(source: str) -> dict[str, float]:
        cell = Cell(setting=dataclasses.replace(pooled, priors=source))  # type: ignore[arg-type]
        reference = graph.stages()["priors"].resolve(cell, found, engine)
        manifest = engine.store.lookup(reference.units["priors"])
        assert manifest is not None
        return dict(manifest.summary["priors"])

    assert priors("equal") == {"convnet2_w64": 50.0, "other1": 50.0}
    with pytest.raises(InputError, match="no prior of convnet2_w64, other1 on digits"):
        priors("published")
    with pytest.raises(UnknownNameError):
        graph.stages()["priors"].resolve(Cell(setting=small, overrides={"source": "mesured"}), found, engine)


def test_as_many_image_sets_as_the_setting_states_the_first_of_them_as_before(small: Setting, engine: Engine) -> None:
    name = "random/synthetic_images"
    own = _resolve(engine, Cell(setting=small, ipc=1), "dataset", name)[name]
    five = Cell(setting=dataclasses.replace(small, trainings=5, draws=5), ipc=1)
    found = _resolve(engine, five, "dataset", name)[name]
    assert list(found.units) == [f"draw{number}" for number in range(5)]
    assert len(set(found.contents.values())) == 5
    assert {draw: found.units[draw] for draw in own.units} == own.units


def test_a_setting_without_a_committee_is_blocked_in_one_line(small: Setting, engine: Engine, monkeypatch) -> None:
    bare = dataclasses.replace(small, committee=())
    monkeypatch.setattr(registry, "settings", lambda: {"small": bare})
    row = Planner(engine, "main").visit(("statistics", "small"))
    assert (row.status, row.reason) == (
        "blocked",
        "small has no committee; its setting may name one (docs/datasets.md)",
    )


def test_images_of_another_method_are_where_a_recovery_starts(small: Setting, engine: Engine) -> None:
    cell = Cell(setting=small, ipc=10)
    found = _resolve(engine, cell, "dataset", "teacher", "random/synthetic_images")
    unmoved = dataclasses.replace(cell, overrides={"iterations": 0})
    found = _resolve(engine, unmoved, "sre2l_random/synthetic_images", found=found)

    def pixels(asset: str) -> np.ndarray:
        manifest = engine.store.lookup(found[asset].units["draw0"])
        assert manifest is not None
        return read_images(engine.store.read(manifest, IMAGES))[0]

    # Without iterations they come back bit for bit, also through the ten shards of one IPC index each.
    assert np.array_equal(pixels("sre2l_random/synthetic_images"), pixels("random/synthetic_images"))


def test_an_edge_that_no_recipe_declares_is_refused(small: Setting, engine: Engine) -> None:
    found = _resolve(engine, Cell(setting=small, ipc=1), "dataset", "teacher")
    asked = Cell(setting=small, ipc=1, overrides={"init": "herding"})
    stage = graph.stages()["sre2l_random/synthetic_images"]
    with pytest.raises(InputError, match="sre2l_random does not start from herding in any recipe"):
        stage.resolve(asked, {**found, "random/synthetic_images": found["dataset"]}, engine)


def test_a_field_that_came_later_leaves_older_digests_alone() -> None:
    from dd_assets.planning.digests import plain

    assert "init" not in plain(sre2l.METHOD.recipe_for("digits").parameters)
    assert plain(method("sre2l_random").recipe_for("digits").parameters)["init"] == "random"


def test_a_tune_variant_divides_the_training_split_and_never_sees_the_test_split(small: Setting) -> None:
    train, test = RawData().load("small")
    tuned, validation = RawData().load("small_tune")
    assert len(tuned) + len(validation) == len(train)
    assert [np.bincount(validation.labels)[label] == np.bincount(train.labels)[label] // 5 for label in range(10)]

    def rows(images: np.ndarray) -> set[bytes]:
        return {image.tobytes() for image in images}

    assert rows(tuned.images) | rows(validation.images) == rows(train.images)
    assert not rows(tuned.images) & rows(validation.images)
    assert not rows(validation.images) & (rows(test.images) - rows(train.images))


def test_the_tune_variant_of_an_imported_teacher_trains_its_own(small: Setting) -> None:
    imported = dataclasses.replace(small, teacher=dataclasses.replace(small.teacher, weights="published.safetensors"))
    # Published weights have seen the whole training split, the validation part with it.
    assert tune_variant(imported).teacher.weights is None
    with pytest.raises(UnknownNameError):
        setting("small_tune_tune")


def test_a_setting_states_parameters_and_variants_follow_but_for_what_they_change(small: Setting) -> None:
    stated = dataclasses.replace(small, recipes={"dwa": {"iterations": 7, "learning_rate": 0.5}})
    assert declared_parameters(method("dwa"), stated).iterations == 7
    assert declared_parameters(method("dwa"), stated, {"iterations": 9}).iterations == 9
    unmoved = declared_parameters(method("dwa_init"), stated)
    # Without the exception the row of initial images would be optimised for seven iterations.
    assert (unmoved.iterations, unmoved.learning_rate) == (0, 0.5)
    with pytest.raises(UnknownNameError, match="parameter of dwa in setting small 'iteration'"):
        declared_parameters(method("dwa"), dataclasses.replace(small, recipes={"dwa": {"iteration": 7}}))


def test_members_that_no_method_weights_are_not_rated(small: Setting) -> None:
    facts = dataclasses.replace(digit_facts(), committee=("convnet2_w64", "other1"))
    # CV-DD's pool on digits names convnet2_w64 and others, which this committee lacks; other1 is in no pool.
    assert rated(small, facts) == ["convnet2_w64"]
    by_label = dataclasses.replace(small, protocol=dataclasses.replace(small.protocol, **PRIOR_LABELS))
    assert rated(by_label, facts) == ["convnet2_w64", "other1"]
