"""SRe2L++: RDED's images, crops everywhere, one teacher (reference section 9), and its use for measured priors.

Belongs here: sre2lpp's synthesis and recipe. Does not belong: the loop (tests/synthesis/test_recover.py).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dd_assets.datasets import registry
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import TeacherChoice, tune_variant
from dd_assets.methods.registry import METHODS, method
from dd_assets.methods.sre2lpp.recipe import Parameters, refuse
from dd_assets.methods.sre2lpp.synthesis import synthesise
from dd_assets.planning import committees
from dd_assets.planning.engine import Engine
from dd_assets.synthesis import recover
from dd_assets.units import dataset, teacher
from dd_assets.units.tables import IMAGES, read_images
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.models.digits import facts
from tests.models.interruption import Killed, MemoryCheckpoints
from tests.synthesis.committees import bn, ce, committee, initial, tiny
from tests.synthesis.two_layers import normalised

PLAIN = Parameters(iterations=1, crop=False, hflip=False, jitter=0)
SHORT = Parameters(iterations=6, learning_rate=0.05, crop_scale_min=0.5, jitter=1)


def test_loss_at_iteration_0_is_of_rdeds_images_by_hand() -> None:
    made = synthesise(tiny(PLAIN, 1, committee("a")))
    x = normalised(initial(1))
    assert made.curves["ce"][0] == pytest.approx(ce("a", x, np.arange(2)), abs=1e-5)
    assert made.curves["bn_loss"][0] == pytest.approx(bn("a", x), abs=1e-5)
    # From noise, as SRe2L begins:
    noise = synthesise(tiny(dataclasses.replace(PLAIN, init="noise"), 1, committee("a")))
    assert abs(noise.curves["bn_loss"][0] - bn("a", x)) > 0.1


def test_no_iterations_give_back_the_images_of_the_shard() -> None:
    unmoved = dataclasses.replace(PLAIN, iterations=0)
    made = synthesise(tiny(unmoved, 3, committee("a"), first=1, last=3))
    np.testing.assert_array_equal(made.images, initial(3)[2:])
    np.testing.assert_array_equal(made.labels, [0, 1, 0, 1])


def test_an_index_alone_equals_the_same_index_in_a_longer_range() -> None:
    whole = synthesise(tiny(SHORT, 3, committee("a")))
    alone = synthesise(tiny(SHORT, 3, committee("a"), first=1, last=2))
    np.testing.assert_array_equal(alone.images, whole.images[2:4])
    assert method("sre2lpp").shards_by_index(SHORT)


@pytest.mark.parametrize("die_after", [1, 2, 3])
def test_a_killed_synthesis_ends_bit_identically(die_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "CHECKPOINT_EVERY", 4)
    undisturbed = synthesise(tiny(SHORT, 2, committee("a")))
    checkpoints = MemoryCheckpoints(die_after)
    with pytest.raises(Killed):
        synthesise(tiny(SHORT, 2, committee("a"), checkpoints=checkpoints))
    resumed = synthesise(tiny(SHORT, 2, committee("a"), checkpoints=checkpoints))
    assert checkpoints.saves == 4
    np.testing.assert_array_equal(resumed.images, undisturbed.images)


def test_crops_on_every_dataset_and_no_mirrored_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    # SRe2L's CIFAR recipe, reused by mistake, would neither crop nor flip.
    for name, recipe in method("sre2lpp").recipes.items():
        assert recipe.parameters.crop, name
        assert recipe.parameters.hflip is (name not in ("digits", "mnist")), name
    drawn, draw = [], recover.draw_shared_view

    def recording(*args, **kwargs):
        drawn.append((kwargs["crop_scale"], kwargs["hflip"]))
        return draw(*args, **kwargs)

    monkeypatch.setattr(recover, "draw_shared_view", recording)
    synthesise(tiny(dataclasses.replace(SHORT, iterations=2, hflip=True), 1, committee("a")))
    # The facts say that a mirrored image leaves its class, whatever the parameters ask for.
    assert drawn == [((0.5, 1.0), False)] * 2


def test_published_settings() -> None:
    small, large = ("cifar10", "cifar100", "tiny_imagenet"), ("imagenette", "imagewoof", "imagenet1k")
    for name in (*small, *large):
        given = method("sre2lpp").recipes[name].parameters
        assert (given.iterations, given.learning_rate, given.r_bn, given.batch) == (4000, 0.25, 0.01, 100), name
        assert (given.first_bn_multiplier, given.crop_scale_min, given.init) == (10.0, 0.08, "rded"), name
        assert given.jitter == (4 if name in small else 32), name
    assert method("sre2lpp").starts() == ["rded"]
    assert refuse(Parameters(), dataclasses.replace(facts(), size=32), 1) is not None
    assert refuse(method("sre2lpp").recipe_for("digits").parameters, facts(), 1) is None


def test_measured_priors_can_run_it_with_any_member_as_teacher(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = CATALOGUE["digits"]
    recipe = dataclasses.replace(digits.teacher.recipe, epochs=1, accuracy_floor=0.1)
    own = TeacherChoice(architecture="convnet2_w64", recipe=recipe)
    other = dataclasses.replace(own, seed=1, name="other")
    small = dataclasses.replace(digits, name="small", teacher=own, committee=(own, other))
    monkeypatch.setattr(registry, "settings", lambda: {"small": small})
    quick = dataclasses.replace(method("sre2lpp").recipe_for("digits").parameters, iterations=2)
    sre2lpp = method("sre2lpp")
    shortened = dataclasses.replace(sre2lpp.recipe_for("digits"), parameters=quick)
    shortened_method = dataclasses.replace(sre2lpp, recipes={**sre2lpp.recipes, "digits": shortened})
    known = {**METHODS(), "sre2lpp": shortened_method}
    monkeypatch.setattr(committees, "method", known.__getitem__)

    tuned, engine = tune_variant(small), Engine(store, RawData(), Compute(device="cpu", workers=1))
    (source,) = engine.run([dataset.plan(tuned, engine.raw)])
    units = [teacher.plan(tuned, source, engine.raw, {}, choice) for choice in tuned.committee]
    made = {
        choice.key: committees._distilled(committees.PRIOR_METHOD, tuned, source, member, engine)
        for choice, member in zip(tuned.committee, engine.run(units), strict=True)
    }
    pixels = {name: read_images(store.read(manifest, IMAGES))[0] for name, manifest in made.items()}
    assert {name: images.shape for name, images in pixels.items()} == dict.fromkeys(made, (100, 8, 8, 1))
    assert not np.array_equal(pixels["convnet2_w64"], pixels["other"])
