"""The real digits generator, trained by its recipe.

Belongs here: what the recipe promises. Does not belong: anything quick.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.registry import setting
from dd_assets.diffusion.building import scheduler_config
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.denoisers import Denoiser
from dd_assets.diffusion.generate import sample_rows, to_images
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.producing import train_generator
from dd_assets.models.architectures import build_model
from dd_assets.models.training import train_teacher
from dd_assets.synthesis.outputs import logits_of
from dd_resources.raw_data import RawData
from tests.diffusion.tiny import rows

SECONDS = 180 * 2
"""Three minutes on two cores."""


@pytest.mark.slow
def test_the_digits_recipe_makes_digits_that_the_teacher_names() -> None:
    chosen = CATALOGUE["digits"]
    recipe = chosen.generators.small
    assert recipe is not None
    train, test = RawData().load(setting("digits").name)
    started = time.process_time()
    made = train_generator(train, recipe, classes=10, size=8, channels=1, seed=0)
    spent = time.process_time() - started
    judge = build_model(chosen.teacher.architecture, classes=10, channels=1, size=8, seed=0)
    train_teacher(judge, train, test, chosen.teacher.recipe, chosen.normalisation, seed=0)
    generator = Generator(
        denoiser=Denoiser(made.transformer),
        autoencoder=None,
        scheduler=scheduler_config(recipe),
        classes=chosen.classes,
        class_ids=tuple(range(10)),
        size=8,
        channels=1,
    )
    batch = rows(100)
    images = to_images(generator, sample_rows(generator, batch, Sampling(guidance_scale=recipe.guidance_scale), 0))
    named = logits_of(judge.eval(), images, chosen.normalisation, "cpu").argmax(dim=1).numpy()
    assert (named == batch.labels).mean() >= 0.9
    # A label in ten is drawn by chance; without the class the same network is no use.
    assert len(np.unique(images.reshape(100, -1), axis=0)) == 100
    assert spent < SECONDS
