"""DDPS: the loss difference, windows, clusters, mosaics, refusals (generation reference §8, pitfalls 1 to 6).

Belongs here: methods/ddps and diffusion/loss_difference.py on generators whose answers are known. Does not belong: the
sampling loop (tests/diffusion).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.loss_difference import draw_noise, draw_timesteps, loss_difference
from dd_assets.errors import InputError
from dd_assets.methods.ddps.recipe import Parameters, refuse
from dd_assets.methods.ddps.synthesis import best_patches, choose, synthesise
from dd_assets.methods.registry import method
from dd_assets.methods.request import SyntheticImages
from dd_assets.synthesis.patches import stitch
from tests.diffusion.tiny import LATENT, generator
from tests.methods.requests import digit_facts, request
from tests.models.digits import digits
from tests.models.interruption import Killed, MemoryCheckpoints

KEYS = np.array([3, 70, 5])


class Knowing(Generator):
    """Predicts ε exactly where `knows` is 1 and the condition is a class; 0 elsewhere and without one."""

    knows: Tensor
    seed = 0
    asked: list[int]

    def noise(self, x: Tensor, timestep: int, condition: Condition) -> Tensor:
        self.asked.append(timestep)
        told = (condition.classes != self.denoiser.null)[:, None, None, None]
        level = float(self.schedule(1).alpha_bars[timestep])
        epsilon = (x - level**0.5 * 0.5) / (1 - level) ** 0.5
        return torch.where(told, epsilon * self.knows, torch.zeros_like(x))

    def guided_noise(self, *_: Any) -> Tensor:
        raise AssertionError("classifier-free guidance has no place in a loss")


def knowing(knows: Tensor) -> Knowing:
    plain = generator()
    made = Knowing(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
    made.knows, made.asked = knows, []
    return made


def _difference(made: Generator, batch: int = 10, keys: np.ndarray = KEYS, pairs: int = 4) -> Tensor:
    latents = torch.full((len(keys), *made.shape), 0.5)
    condition = made.condition(np.arange(len(keys)))
    times = draw_timesteps(made, 0.2, 0.7, pairs, 0)
    return loss_difference(made, latents, keys, condition, made.null_condition(len(keys)), times, 0, batch)


def test_the_difference_is_what_the_label_explains() -> None:
    # Left half known: there the loss falls from ε² to 0. Right half: 0 with and without the label.
    knows = torch.zeros(8, 8)
    knows[:, :4] = 1
    found = _difference(knowing(knows))
    noise = torch.stack([draw_noise((1, 8, 8), KEYS, number, 0) for number in range(4)])
    expected = noise.double().square().mean(dim=(0, 2)) * knows
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found[:, :, 4:].abs().max() == 0


def test_both_losses_see_the_same_noise() -> None:
    # A label that explains nothing is worth exactly nothing. Fresh noise for each of the two losses would leave the
    # difference of two means of squares, about ±.7 a place with four pairs.
    assert _difference(knowing(torch.zeros(8, 8))).abs().max() == 0
    same = generator()
    latents = torch.full((3, *same.shape), 0.5)
    null = same.null_condition(3)
    assert loss_difference(same, latents, KEYS, null, null, [300], 0, 10).abs().max() < 1e-6


def test_several_pairs_are_averaged_and_times_lie_in_the_range() -> None:
    made = generator()
    alpha_bars = made.schedule(1).alpha_bars
    times = draw_timesteps(made, 0.2, 0.7, 8, 0)
    assert all(0.2 <= alpha_bars[t] <= 0.7 for t in times)
    # One from each eighth of the range: for the linear schedule t = 184 to 395, parts of 26 or 27.
    inside = np.flatnonzero((alpha_bars >= 0.2) & (alpha_bars <= 0.7))
    assert [int(np.searchsorted([p[-1] for p in np.array_split(inside, 8)], t)) for t in times] == list(range(8))
    assert draw_timesteps(made, 0.2, 0.7, 8, 1) != times
    with pytest.raises(InputError, match="0 timesteps have a signal level"):
        draw_timesteps(made, 0.9999, 0.99995, 1, 0)
    one, many = (_difference(knowing(torch.ones(8, 8)), pairs=n).mean(dim=(1, 2)) for n in (1, 64))
    # Each image's true value is E ε² = 1; a single pair is off by about .18 (sqrt(2 / 64)), 64 of them by .02.
    assert (many - 1).abs().max() < 0.08
    assert (many - 1).abs().max() < (one - 1).abs().max()


def test_neither_the_batch_nor_other_images_matter() -> None:
    made = generator()
    whole = _difference(made)
    torch.testing.assert_close(_difference(made, batch=1), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(_difference(made, batch=2), whole, rtol=1e-4, atol=1e-5)
    # The noise is the training row's own: image 3 alone under the class it had.
    alone = loss_difference(
        made,
        torch.full((1, *made.shape), 0.5),
        KEYS[2:],
        made.condition(np.array([2])),
        made.null_condition(1),
        draw_timesteps(made, 0.2, 0.7, 4, 0),
        0,
        10,
    )
    torch.testing.assert_close(alone[0], whole[2], rtol=1e-4, atol=1e-5)
    assert not torch.equal(draw_noise((1, 2, 2), KEYS, 0, 0), draw_noise((1, 2, 2), KEYS, 1, 0))


def test_windows_are_in_pixels_though_the_map_is_coarser() -> None:
    # A 4x4 latent map of a 32 px image: cell (1, 2) stands for pixels 8 to 15 and 16 to 23. Latent coordinates taken
    # for pixels would cut at (1, 2).
    maps = torch.zeros(1, 4, 4, dtype=torch.float64)
    maps[0, 1, 2] = 5
    boxes, scores = best_patches(maps, 8, 32)
    assert boxes.tolist() == [[8, 16, 8, 8]]
    assert scores.tolist() == [5]
    # The score is a mean: a window of twice the side has a quarter of it.
    assert best_patches(maps, 16, 32)[1].tolist() == [1.25]
    # Factors that do not divide: 3 cells over 8 px.
    odd = torch.zeros(1, 3, 3, dtype=torch.float64)
    odd[0, 2, 0] = 1
    top, left = best_patches(odd, 2, 8)[0][0, :2].tolist()
    assert top >= 5
    assert left <= 1


def test_clusters_keep_look_alikes_apart() -> None:
    # Three near-duplicates with the highest scores and two others: by score alone all three would be taken.
    features = np.array([[0.0], [0.01], [0.02], [5.0], [5.1], [9.0]], dtype=np.float32)
    scores = np.array([0.8, 0.9, 0.7, 0.1, 0.3, 0.2])
    assert choose(features, scores, 3, 0).tolist() == [1, 4, 5]
    # Fewer different patches than clusters: the best of the rest fill up, and nobody is taken twice.
    same = np.zeros((4, 2), dtype=np.float32)
    assert choose(same, np.array([0.1, 0.4, 0.3, 0.2]), 3, 0).tolist() == [1, 2, 3]


QUICK = Parameters(mipc=20, pairs=2, batch=20)


def _made(parameters: Parameters, ipc: int = 2, made: Generator | None = None, **further: Any) -> SyntheticImages:
    asked = request(parameters, ipc, **further)
    asked.generator = lambda: made or generator()
    return synthesise(asked)


def test_whole_images_are_training_images_of_their_class() -> None:
    train, _ = digits()
    made = _made(QUICK)
    assert np.array_equal(made.images, train.images[made.columns["source_index"]])
    assert np.array_equal(made.labels, train.labels[made.columns["source_index"]])
    assert np.array_equal(made.labels, np.tile(np.arange(10), 2))
    assert len(set(made.columns["source_index"].tolist())) == 20
    assert set(map(tuple, made.columns["crop"].tolist())) == {(0, 0, 8, 8)}
    first, second = made.columns["score"].reshape(2, 10)
    assert (first >= second).all()


def test_a_mosaic_shows_the_patches_that_the_columns_name() -> None:
    train, _ = digits()
    made = _made(replace(QUICK, factor=2, window=0.5))
    cells = []
    for cell in range(4):
        for row in range(20):
            top, left, height, width = made.columns[f"crop_{cell}"][row]
            source = train.images[made.columns[f"source_index_{cell}"][row]]
            cells.append(source[top : top + height, left : left + width])
    expected = stitch(torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(made.images, expected)
    sources = np.concatenate([made.columns[f"source_index_{cell}"] for cell in range(4)])
    assert len(set(sources.tolist())) == 80


def test_patches_of_latents_lie_within_the_image() -> None:
    made = _made(replace(QUICK, factor=2, window=0.5), made=generator(LATENT))
    boxes = made.columns["crop_0"]
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 8
    assert boxes[:, :2].max() > 2, "latent coordinates (two cells a side here) taken for pixels"


def test_the_label_that_is_asked_about_is_the_images_own() -> None:
    seen = []

    class Listening(Knowing):
        def noise(self, x: Tensor, timestep: int, condition: Condition) -> Tensor:
            assert condition.classes is not None
            seen.append(condition.classes.tolist())
            return super().noise(x, timestep, condition)

    plain = generator()
    made = Listening(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
    made.knows, made.asked, made.class_ids = torch.ones(8, 8), [], tuple(range(9, -1, -1))
    _made(QUICK, made=made)
    # The generator counts down: class 0 is its class 9; the second half of each pass has no class (10).
    assert seen[0] == [9] * 20 + [10] * 20
    assert seen[-1] == [0] * 20 + [10] * 20


def test_a_killed_selection_goes_on_with_the_same_images() -> None:
    whole = _made(QUICK)
    place = MemoryCheckpoints(die_after=4)
    with pytest.raises(Killed):
        _made(QUICK, checkpoints=place)
    again = _made(QUICK, checkpoints=place)
    assert np.array_equal(again.images, whole.images)
    assert np.array_equal(again.columns["score"], whole.columns["score"])
    assert place.saves == 9


def test_what_cannot_apply_has_a_reason() -> None:
    facts, own = digit_facts(), method("ddps").recipe_for("digits").parameters
    assert refuse(own, facts, 50) is None
    assert refuse(own, facts, 101) == "IPC 101 with factor 1 needs 101 patches per class, mipc is 100"
    assert "class '0' has 142 training images" in str(refuse(replace(own, mipc=300), facts, 200))
    assert "no range" in str(refuse(replace(own, level_low=0.8), facts, 1))
    assert "not a multiple of factor 3" in str(refuse(replace(own, factor=3), facts, 1))
    assert "no patch within" in str(refuse(replace(own, window=1.5), facts, 1))
    assert "pairs=0" in str(refuse(replace(own, pairs=0), facts, 1))
    with pytest.raises(InputError, match="cannot be computed in parts"):
        _made(QUICK, first=1)
    assert method("ddps").generators() == ["pretrained", "small"]
    assert not method("ddps").reads_centroids(own)
