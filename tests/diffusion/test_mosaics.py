"""Mosaics of crops of drawn images, and the search for confidence: what BO+repulsion's released code does.

Belongs here: mosaics.py, searching.py's confidence and what generate.py does with both. Does not belong: repulsion
itself, RDED on real images.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import Normalisation
from dd_assets.diffusion import mosaics as stage
from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.diffusion.generate import generate
from dd_assets.diffusion.mosaics import SCALE, crop_of, mosaics
from dd_assets.diffusion.searching import best_of_grid, confidence
from dd_assets.planning.digests import plain
from dd_assets.synthesis.batches import Batch
from tests.diffusion.test_inversion import SEARCHED, _searched
from tests.diffusion.tiny import generator
from tests.methods.requests import request

FIVE = Sampling(steps=5, guidance_scale=1.0, batch=20)
PLAIN = Normalisation(mean=(0.0,), std=(1.0,))


class _Bright(nn.Module):
    """Class 0 is bright, class 1 is dark: logits of ± the sum of the pixels that are not padding."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum(dim=(1, 2, 3))
        return torch.stack([total, -total], dim=1)


def _flat(values: list[int], size: int = 4) -> np.ndarray:
    """One image of a single grey value each, whose every crop looks like it."""
    return np.array(values, dtype=np.uint8)[:, None, None, None] * np.ones((1, size, size, 1), dtype=np.uint8)


def _made(factor: int, ipc: int) -> tuple[np.ndarray, Batch, dict[str, np.ndarray]]:
    """Four images of each of two classes, of the greys 40, 200, 120 and 80 by index."""
    rows = Batch(np.repeat(np.arange(4), 2), np.tile([0, 1], 4))
    greys = np.repeat([40, 200, 120, 80], 2).tolist()
    return mosaics(_Bright(), _flat(greys), rows, ipc=ipc, factor=factor, normalisation=PLAIN, seed=0, device="cpu")


def test_the_most_realistic_come_first_whether_named_correctly_or_not() -> None:
    images, rows, columns = _made(factor=1, ipc=2)
    # The bright class keeps 200 and 120; the dark one 40 and 80, though its teacher calls all of them bright.
    assert images[:, 0, 0, 0].tolist() == [200, 40, 120, 80]
    assert rows.indices.tolist() == columns["drawn_index"].tolist() == [1, 0, 2, 3]
    assert rows.labels.tolist() == [0, 1, 0, 1]
    assert (np.diff(columns["score"].reshape(2, 2), axis=0) >= 0).all()
    assert columns["crop"].shape == (4, 4)


def test_the_cells_of_a_mosaic_are_ranks_that_lie_an_ipc_apart() -> None:
    images, rows, columns = _made(factor=2, ipc=1)
    # Of one image per class: ranks 0, 1, 2, 3 row by row, each a quarter of it.
    assert images[0, ::2, ::2, 0].tolist() == [[200, 120], [80, 40]]
    assert images[1, ::2, ::2, 0].tolist() == [[40, 80], [120, 200]]
    assert [columns[f"drawn_index_{cell}"].tolist() for cell in range(4)] == [[1, 0], [2, 3], [3, 2], [0, 1]]
    assert rows.indices.tolist() == [1, 0]


def test_a_crop_is_its_images_own() -> None:
    boxes = [crop_of(32, 32, seed, label, index) for seed in (0, 1) for label in (0, 1) for index in range(200)]
    assert len(set(boxes)) > 300
    assert crop_of(32, 32, 1, 1, 7) == boxes[607]
    shares = np.array([height * width for _, _, height, width in boxes]) / 32**2
    # Sides are whole pixels.
    assert SCALE[0] - 0.02 < shares.min() < 0.12
    assert 0.9 < shares.max() <= 1
    assert shares.mean() == pytest.approx(np.mean(SCALE), abs=0.03)


def test_a_methods_images_are_crops_of_what_it_would_have_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "crop_of", lambda height, width, *_: (0, 0, height, width))
    every = generate(request(replace(FIVE, repulsion=1e-12), 6), generator=generator())
    found = generate(request(replace(FIVE, candidates=3, mosaic=1), 2), generator=generator())
    assert found.labels.tolist() == [*range(10), *range(10)]
    # With crops of everything an image is the drawn one, and which one the column says.
    drawn = every.images.reshape(6, 10, *every.images.shape[1:])
    assert np.array_equal(found.images, drawn[found.columns["drawn_index"], found.labels])
    assert found.rows.indices.tolist() == found.columns["drawn_index"].tolist()
    assert (found.columns["score"][:10] <= found.columns["score"][10:]).all()


def test_confidence_by_hand() -> None:
    chances = np.array([[0.9, 0.1], [0.5, 0.5]])
    # p^(1/20) over their sum: odds of 9 become odds of 9^(1/20).
    first = 9 ** (1 / 20) / (9 ** (1 / 20) + 1)
    assert confidence(chances, 0) == pytest.approx((first + 0.5) / 2)
    logits = torch.tensor([[3.0, -1.0, 0.5]], dtype=torch.float64)
    expected = torch.softmax(logits / 20, dim=1)[0, 2].item()
    assert confidence(torch.softmax(logits, dim=1).numpy(), 2) == pytest.approx(expected)
    # An answer of exactly 0 has a logarithm all the same.
    assert 0 < confidence(np.array([[0.0, 1.0]]), 0) < 1e-14


def test_the_surest_pair_is_another_than_the_nearest() -> None:
    how = replace(FIVE, steps=50, start="random", search_scales=(1.0, 4.0), search_levels=(0.4,))
    real = np.array([[0.6, 0.4]])
    seen: list[int] = []

    def judged(quick: Sampling) -> np.ndarray:
        seen.append(quick.steps)
        return np.array([[0.61, 0.39]]) if quick.guidance_scale == 1.0 else np.array([[0.99, 0.01]])

    nearest, off = best_of_grid(how, 0, real, judged)
    surest, gained = best_of_grid(replace(how, search_for="confidence"), 0, real, judged)
    assert (nearest.guidance_scale, surest.guidance_scale) == (1.0, 4.0)
    assert 0 < off < 1e-3
    odds = 99 ** (1 / 20), 1.5 ** (1 / 20)
    assert gained == pytest.approx(odds[0] / (1 + odds[0]) - odds[1] / (1 + odds[1]))
    # Of the other class the first is surer.
    assert best_of_grid(replace(how, search_for="confidence"), 1, real, judged)[0].guidance_scale == 1.0
    assert seen == [25, 25, 10, 10, 10, 10]
    assert math.isclose(surest.steps, 50)


def test_a_search_for_confidence_repels_in_its_own_steps() -> None:
    how = replace(SEARCHED, steps=20, search_for="confidence", batch=20)
    without, _ = _searched(how)
    with_repulsion, _ = _searched(replace(how, repulsion=5.0))
    assert with_repulsion.curves["search_confidence"].shape == (10,)
    assert not np.array_equal(without.curves["search_confidence"], with_repulsion.curves["search_confidence"])
    # The other search compares samples without it.
    nearest = [_searched(replace(SEARCHED, repulsion=size))[0].curves["search_divergence"] for size in (0.0, 5.0)]
    assert np.array_equal(*nearest)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mosaic": 2, "candidates": 3}, "mosaic=2 takes 4 crops for an image, of which candidates=3 are drawn"),
        ({"mosaic": -1}, "mosaic=-1"),
        ({"mosaic": 1, "refine": 5}, "refine=5 is of latents"),
        ({"search_for": "fidelity"}, "neither divergence nor confidence"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], reason: str) -> None:
    assert reason in str(sampling_reason(replace(FIVE, **changes)))


def test_recipes_without_them_keep_their_digests() -> None:
    assert not {"mosaic", "search_for"} & set(plain(FIVE))
    assert {"mosaic", "search_for"} <= set(plain(replace(FIVE, mosaic=1, search_for="confidence")))
