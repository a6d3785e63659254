"""D4M: where an image begins, and at which noise.

Belongs here: methods/d4m on tiny untrained generators. Does not belong: the loop (tests/diffusion).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.sampling import Guidance
from dd_assets.methods.d4m import recipe
from dd_assets.methods.d4m.synthesis import synthesise
from dd_assets.methods.registry import method
from dd_assets.methods.request import ClassCentroids, Request, SyntheticImages
from tests.diffusion.tiny import generator
from tests.methods.requests import digit_facts, request
from tests.models.interruption import Killed, MemoryCheckpoints

QUICK = recipe.Parameters(steps=50, batch=5)


def _centroids(ipc: int = 2) -> ClassCentroids:
    """Centres of one grey per (index, class), and nearest latents a little lighter."""
    greys = np.linspace(-0.9, 0.8, ipc * 10, dtype=np.float32)[:, None, None, None]
    centers = np.broadcast_to(greys, (ipc * 10, 1, 8, 8)).copy()
    return ClassCentroids(
        centers=centers,
        nearest=centers + 0.1,
        source_index=np.arange(ipc * 10),
        sizes=np.ones(ipc * 10, dtype=np.int64),
        classes=10,
    )


def _made(parameters: recipe.Parameters, made: Generator | None = None, **further) -> SyntheticImages:
    asked: Request = request(parameters, 2, **further)
    asked.generator = lambda: made or generator()
    asked.centroids = _centroids
    return synthesise(asked)


def test_at_little_noise_the_centroid_comes_back_in_its_row() -> None:
    # ᾱ = .9999 is the last step of fifty: centre k of class c must be image (k, c), not (c, k).
    images = _made(replace(QUICK, start_level=0.9999)).images
    levels = images.reshape(20, -1).mean(axis=1)
    expected = (np.linspace(-0.9, 0.8, 20) + 1) / 2 * 255
    # The noise of that level, ±.01, and what an untrained network makes of it; (c, k) would be off by 100.
    assert np.abs(levels - expected).max() < 8
    lighter = _made(replace(QUICK, start="nearest", start_level=0.9999)).images.reshape(20, -1).mean(axis=1)
    assert np.abs(lighter - levels - 0.1 * 127.5).max() < 2


def test_the_level_decides_how_many_steps_run() -> None:
    # DiT's linear schedule reaches D4M's ᾱ = .0946 half-way; its strength .7 copied would run 35 of 50 steps.
    for level, steps in ((0.0946, 25), (0.4, 16)):
        made = _made(replace(QUICK, start_level=level))
        assert made.curves["passes"] == steps * 4


def test_at_the_noisy_end_the_centroid_is_forgotten() -> None:
    made = generator()
    black = replace(_centroids(), centers=np.full((20, 1, 8, 8), -1, dtype=np.float32))
    asked = request(replace(QUICK, start_level=6e-5), 2)
    asked.generator, asked.centroids = lambda: made, lambda: black
    far = synthesise(asked).images
    plain = _made(replace(QUICK, start="noise"), made).images
    # t = 980 keeps less than a hundredth of the signal: the images are plain sampling's up to a little.
    assert np.abs(far.astype(int) - plain).mean() < 12
    assert np.abs(far.astype(int) - _made(replace(QUICK, start_level=0.9999), made).images).mean() > 40


def test_a_killed_shard_goes_on_with_the_same_images() -> None:
    made, whole = generator(), _made(QUICK, generator())
    place = MemoryCheckpoints(die_after=1)
    with pytest.raises(Killed):
        _made(QUICK, made, checkpoints=place)
    assert np.array_equal(_made(QUICK, made, checkpoints=place).images, whole.images)
    parts = [_made(QUICK, made, first=k, last=k + 1).images for k in range(2)]
    assert np.array_equal(np.concatenate(parts), whole.images)


def test_what_cannot_apply_has_a_reason() -> None:
    facts = digit_facts()
    chosen = method("d4m")
    own = chosen.recipe_for("digits").parameters
    assert chosen.reason_against(own, facts, 10) == ("digits has no generator small; it has none (docs/generators.md)")
    with_one = replace(facts, generators=("small",))
    assert chosen.reason_against(own, with_one, 10) is None
    assert chosen.reason_against(own, with_one, 1000) == (
        f"its smallest class has {min(facts.train_counts)} training images, IPC is 1000"
    )
    assert chosen.reason_against(replace(own, start="noise"), with_one, 1000) is None
    assert "start_level=1.5" in str(chosen.reason_against(replace(own, start_level=1.5), with_one, 1))
    assert "sampler 'euler'" in str(chosen.reason_against(replace(own, sampler="euler"), with_one, 1))


def test_a_mosaic_that_does_not_fill_the_image_has_a_reason() -> None:
    """It was found out when all images had been drawn."""
    chosen = method("d4m")
    nine = replace(chosen.recipe_for("digits").parameters, mosaic=3, candidates=9)
    facts = replace(digit_facts(), generators=("small",), size=32)
    assert chosen.reason_against(nine, facts, 1) == "32 px is not a multiple of mosaic 3"
    assert chosen.reason_against(nine, replace(facts, size=33), 1) is None
    assert chosen.reason_against(replace(nine, mosaic=2), facts, 1) is None
    assert "mosaic=-1" in str(chosen.reason_against(replace(nine, mosaic=-1), facts, 1))


def test_published_values_are_stored_as_a_signal_level() -> None:
    published = method("d4m").recipe_for("imagenet1k").parameters
    assert (published.start_level, published.guidance_scale, published.steps) == (0.0946, 8.0, 50)
    assert (published.generator, published.condition) == ("pretrained", "text")
    assert method("d4m").reads_centroids(published)
    assert method("d4m").generators() == ["pretrained", "small"]


class _Darken(Guidance):
    def correct(self, step):
        from dd_assets.diffusion.sampling import Correction

        return Correction(mean=torch.full_like(step.x, -self.strength))


def test_a_guidance_composes_with_this_start() -> None:
    from dd_assets.diffusion.generate import generate

    made, plain = generator(), _made(QUICK, generator())
    asked = request(QUICK, 2)
    asked.generator, asked.centroids = lambda: made, _centroids
    assert np.array_equal(generate(asked, [_Darken(0.0)]).images, plain.images)
    assert generate(asked, [_Darken(0.05)]).images.mean() < plain.images.mean() - 2
