"""What is said of a generator's samples.

Belongs here: the verdicts of units/generator_samples.py on latents that are made up. Does not belong: drawing them
(test_sampling.py), the asset around the unit (test_stages.py).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dd_assets.diffusion import generate
from dd_assets.diffusion.generator import Generator
from dd_assets.planning.unit import Product, Verdict
from dd_assets.synthesis.batches import Batch
from dd_assets.units import generator as generator_unit
from dd_assets.units import generator_samples
from tests.diffusion.tiny import LATENT, generator
from tests.methods.requests import digit_facts
from tests.models.digits import digits


@pytest.fixture
def latents(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """What a generator of grey 8 px images "draws", 100 of them: noise, to be changed by the test."""
    drawn = torch.rand((100, 1, 8, 8), generator=torch.Generator().manual_seed(0)) * 2 - 1
    waiting = iter(drawn)

    def drawing(made: Generator, rows: Batch, *how: object) -> torch.Tensor:
        return torch.stack([next(waiting) for _ in rows.labels])

    monkeypatch.setattr(generate, "sample_rows", drawing)
    monkeypatch.setattr(generator_unit, "load", lambda work: generator())
    return drawn


def _product(classes: tuple[str, ...] = ()) -> Product:
    stated = {
        "classes": [*digit_facts().classes, *classes],
        "real_classes": list(digit_facts().classes),
        "normalisation": digit_facts().normalisation,
        "guidance_scale": 1.5,
        "recognition_floor": 0.0,
        "text": False,
    }
    unit: Any = SimpleNamespace(parameters=stated, inputs={"dataset": "", "generator": ""}, setting="digits", seed=0)
    work: Any = SimpleNamespace(raw=SimpleNamespace(load=lambda setting, content: digits()), device="cpu")
    return generator_samples.compute(unit, work)


def _verdicts() -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in _product().verdicts}


@pytest.mark.parametrize(("size", "passes"), [(8, [50, 50]), (64, [50, 50]), (128, [16, 16, 16, 16, 16, 16, 4])])
def test_a_pass_holds_as_many_pixels_as_one_of_the_encoder(
    monkeypatch: pytest.MonkeyPatch, size: int, passes: list[int]
) -> None:
    drawn, decoded = [], []
    made = generator(LATENT, size=size)

    def drawing(made: Generator, rows: Batch, *how: object) -> torch.Tensor:
        drawn.append(len(rows.labels))
        return torch.zeros(len(rows.labels), *made.shape)

    def decoding(latents: torch.Tensor) -> torch.Tensor:
        decoded.append(len(latents))
        return torch.rand(len(latents), 1, size, size)

    monkeypatch.setattr(generate, "sample_rows", drawing)
    monkeypatch.setattr(made, "decode", decoding)
    monkeypatch.setattr(generator_unit, "load", lambda work: made)
    further = tuple(f"class {number}" for number in range(90))
    # 50 images of Stable Diffusion's 512 px at once would be 34 GB of its decoder's layers.
    assert _product(further).summary["rows"] == 100
    assert drawn == decoded == passes


def test_samples_that_differ_from_pixel_to_pixel_pass(latents: torch.Tensor) -> None:
    assert {name: verdict.passed for name, verdict in _verdicts().items()} == {"no_constant_samples": True}


@pytest.mark.parametrize("value", [-1.0, 0.3])
def test_a_sample_of_one_colour_blocks_the_generator(latents: torch.Tensor, value: float) -> None:
    # Black is what a safety checker leaves of an image.
    latents[[3, 60]] = value
    found = _verdicts()["no_constant_samples"]
    assert (found.passed, found.blocking) == (False, True)
    assert found.message == "2 of 100 samples are of one colour"


def test_one_other_pixel_is_enough(latents: torch.Tensor) -> None:
    latents[7] = -1.0
    latents[7, 0, 4, 4] = 0.0
    assert _verdicts()["no_constant_samples"].passed


def test_plain_red_is_one_colour_although_its_channels_differ() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    images[1] = (255, 0, 0)
    (verdict,) = generator_samples._verdicts(None, 0.0, images)
    assert verdict.message == "1 of 3 samples are of one colour"
