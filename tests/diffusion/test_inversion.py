"""Starts that come from real images: inversion, typical groups, random latents, the search.

Belongs here: inversion.py, starts.py, searching.py. Does not belong: stages (test_class_gaussians_stage).
"""

from __future__ import annotations

import math
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.generate import Generated, _batches, conditions, generate, sample_rows
from dd_assets.diffusion.inversion import (
    class_gaussians,
    drawn_group,
    inverted,
    most_typical,
    off_in_latents,
    off_in_units,
)
from dd_assets.diffusion.sampling import Guidance, Start
from dd_assets.diffusion.searching import best_of_grid, divergence
from dd_assets.diffusion.starts import from_centroids, from_gaussians, from_random
from dd_assets.errors import InputError
from dd_assets.methods.registry import method
from dd_assets.methods.request import ClassCentroids, ClassGaussians, ReferenceLatents
from dd_assets.planning.digests import plain
from dd_assets.synthesis.batches import Batch
from tests.diffusion.tiny import LATENT, generator, rows
from tests.methods.requests import request
from tests.models.digits import digits
from tests.models.interruption import Killed, MemoryCheckpoints

FIVE = Sampling(steps=5, guidance_scale=1.0, batch=20)


def typical_group(
    size: int, dimensions: int, groups: int, seed: int, label: int, deviations: np.ndarray | None = None
) -> np.ndarray:
    """The draws of the most typical group, float32 (size, dimensions)."""
    chosen = most_typical(size, dimensions, groups, seed, label, deviations)
    return drawn_group(size, dimensions, seed, label, chosen)


def test_inversion_by_hand_for_noise_that_does_not_depend_on_x() -> None:
    made, schedule = generator(), generator().schedule(50)
    made.noise = lambda x, timestep, condition: torch.full_like(x, 2.0)
    asked, _ = conditions(made, rows(2), FIVE)
    z = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    # With ε = 2 everywhere the clean sample behind x stays what it was: x = sqrt(ᾱ) z' + 2 sqrt(1 - ᾱ) in the end.
    final = schedule.final_alpha_bar
    clean = (z - 2 * math.sqrt(1 - final)) / math.sqrt(final)
    for position in (18, 40):
        level = schedule.level(position)
        expected = math.sqrt(level) * clean + 2 * math.sqrt(1 - level)
        torch.testing.assert_close(inverted(made, z, asked, schedule, position), expected, rtol=1e-4, atol=1e-4)


def test_what_was_inverted_denoises_to_itself() -> None:
    made, batch = generator(LATENT, size=16), rows(4)
    for parameter in made.denoiser.module.parameters():
        parameter.data.mul_(0.3)
    how = Sampling(steps=200, guidance_scale=1.0)
    asked, _ = conditions(made, batch, how)
    schedule = made.schedule(200)
    position = schedule.position_of(0.3)
    z = torch.randn(4, *made.shape, generator=torch.Generator().manual_seed(1))
    x = inverted(made, z, asked, schedule, position)
    back = sample_rows(made, batch, how, 0, start=Start(latents=x, level=schedule.level(position), noised=True))
    off = (back - z).norm() / z.norm()
    # Starting from the sample as if it were clean would noise it once more.
    again = sample_rows(made, batch, how, 0, start=Start(latents=x, level=schedule.level(position)))
    assert off < 0.1
    assert (again - z).norm() / z.norm() > 5 * off


def test_distributions_are_those_of_the_inverted_images_of_the_class() -> None:
    made, train = generator(), digits()[0]
    asked, _ = conditions(made, rows(10), FIVE)
    schedule = made.schedule(5)
    found = class_gaussians(made, train, asked, schedule, 0.3)
    assert found.level == schedule.level(schedule.position_of(0.3))
    own = train.images[train.of_class(7)]
    under, _ = conditions(made, Batch(np.zeros(len(own), dtype=int), np.full(len(own), 7)), FIVE)
    whole = inverted(made, made.encode(own), under, schedule, schedule.position_of(0.3)).double().numpy()
    np.testing.assert_allclose(found.means[7], whole.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.deviations[7], whole.std(axis=0), atol=1e-5)


def test_the_group_that_is_kept_is_the_most_typical() -> None:
    def off(group: np.ndarray) -> float:
        return float((group.mean(axis=0) ** 2 + (group.std(axis=0) - 1) ** 2).mean())

    first, best = typical_group(10, 30, 1, 0, 3), typical_group(10, 30, 200, 0, 3)
    assert off(best) < 0.8 * off(first)
    # More groups never make it worse, and begin with the same ones.
    assert off(typical_group(10, 30, 400, 0, 3)) <= off(best)
    assert not np.array_equal(best, typical_group(10, 30, 200, 0, 4))


def test_the_codes_score_by_hand() -> None:
    drawn = np.array([[1.0, -1.0, 2.0, 0.0], [3.0, 1.0, 0.0, 0.0], [2.0, 0.0, 1.0, 3.0]])
    widths = np.array([1.0, 2.0, 0.0, 1.0])
    # Means 2, 0, 1, 1 and deviations 1, 1, 1, √3 of n - 1 = 2; the third number has no width and counts for nothing.
    mean, spread = math.hypot(2, 1), math.sqrt(3) - 1
    root = 1 / math.sqrt(3)
    # Standardised rows (-1, -1, 1, -1/√3), (1, 1, -1, -1/√3), (0, 0, 0, 2/√3); cubes over 4 numbers, times 4 / (3 · 2).
    skews = [(-1 - root**3) * 4 / 6, (1 - root**3) * 4 / 6, (2 * root) ** 3 * 4 / 6]
    assert off_in_latents(drawn, widths) == pytest.approx(mean + spread + 0.1 * math.hypot(*skews))
    assert off_in_units(drawn) == pytest.approx(
        np.mean(
            [
                4 + (math.sqrt(2 / 3) - 1) ** 2,
                (math.sqrt(2 / 3) - 1) ** 2,
                1 + (math.sqrt(2 / 3) - 1) ** 2,
                1 + (math.sqrt(2) - 1) ** 2,
            ]
        )
    )


def test_wide_numbers_decide_which_group_is_typical_where_the_recipe_says_so() -> None:
    widths = np.r_[np.full(3, 100.0), np.full(27, 0.01)]
    usual, wide = typical_group(10, 30, 200, 0, 3), typical_group(10, 30, 200, 0, 3, widths)
    assert not np.array_equal(usual, wide)
    first = [np.abs(found[:, :3].mean(axis=0)).max() for found in (usual, wide)]
    assert first[1] < first[0]
    # The starts hand a class's own deviations on.
    means = np.zeros((10, 1, 8, 8), dtype=np.float32)
    spread = np.ones_like(means)
    spread[2, 0, 0] = 50.0
    how = replace(FIVE, start="gaussian", groups=50, group_score="latents")
    gaussians = ClassGaussians(means=means, deviations=spread, level=0.02)
    found = from_gaussians(how, gaussians, 4, 0)(Batch(np.arange(4), np.full(4, 2)))
    assert found is not None
    expected = typical_group(4, 64, 50, 0, 2, spread[2].flatten().astype(np.float64)) * spread[2].flatten()
    np.testing.assert_array_equal(found.latents.numpy().reshape(4, -1), expected)
    assert method("d3hr").recipe_for("imagenette").parameters.group_score == "latents"
    assert "group_score" not in plain(method("d3hr").recipe_for("digits").parameters)


def test_of_single_images_the_first_is_kept() -> None:
    # The most typical single draw would be the class's mean, the same blur for every seed.
    first = typical_group(1, 30, 1, 0, 3)
    assert first.shape == (1, 30)
    assert np.array_equal(typical_group(1, 30, 500, 0, 3), first)
    # Of one draw the code's score is no number: IPC 1 ended after every image had been inverted.
    assert np.array_equal(typical_group(1, 30, 500, 0, 3, np.ones(30)), first)


@pytest.mark.filterwarnings("error")
def test_d3hr_as_published_draws_one_image_of_a_class() -> None:
    means = np.zeros((10, 1, 8, 8), dtype=np.float32)
    stated = method("d3hr").recipe_for("imagenet1k").parameters
    found = from_gaussians(stated, ClassGaussians(means=means, deviations=means + 1, level=0.02), 1, 0)
    start = found(Batch(np.zeros(10, dtype=np.int64), np.arange(10)))
    assert start is not None
    assert start.latents.isfinite().all()


def test_starts_from_a_distribution_scale_and_shift_it() -> None:
    means = np.full((10, 1, 8, 8), 3.0, dtype=np.float32)
    gaussians = ClassGaussians(means=means, deviations=np.full_like(means, 0.5), level=0.02)
    how = replace(FIVE, start="gaussian", groups=50)
    asked = request(how, 4)
    asked.class_gaussians = lambda: gaussians
    from dd_assets.diffusion.starts import starts_of

    start = starts_of(asked)(Batch(np.arange(4), np.full(4, 2)))
    assert start is not None
    assert (start.noised, start.level) == (True, 0.02)
    np.testing.assert_allclose(
        (start.latents.numpy().reshape(4, -1) - 3) / 0.5, typical_group(4, 64, 50, 0, 2), atol=1e-5
    )
    made = generate(asked, generator=generator())
    assert made.images.shape == (40, 8, 8, 1)


def test_candidates_share_the_centroids() -> None:
    whole = np.arange(20)
    centers = np.stack([np.full((1, 8, 8), row, dtype=np.float32) for row in whole])
    near = ClassCentroids(centers=centers, nearest=centers, source_index=whole, sizes=whole, classes=10)
    how = replace(FIVE, start="centroid", candidates=3)
    start = from_centroids(how, near, 2)(Batch(np.arange(6), np.full(6, 4)))
    assert start is not None
    assert start.latents[:, 0, 0, 0].tolist() == [4.0, 14.0] * 3


def _references(indices: int) -> ReferenceLatents:
    latents = np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1)
    return ReferenceLatents(
        latents=latents,
        source_index=np.arange(6),
        labels=np.array([0, 0, 0, 1, 1, 1]),
        indices=np.full(6, indices),
    )


def test_random_starts_are_real_latents_of_the_class_in_their_order() -> None:
    batch = Batch(np.array([0, 1, 2, 3]), np.array([0, 1, 1, 0]))
    found = from_random(FIVE, _references(-1), 0)(batch)
    assert found is not None
    assert found.latents.flatten().tolist() == [0.0, 4.0, 5.0, 0.0]
    other = from_random(FIVE, _references(-1), 1)(batch)
    assert other is not None
    assert other.latents.flatten().tolist() == [1.0, 5.0, 3.0, 1.0]
    with pytest.raises(InputError, match="references of whole classes"):
        from_random(FIVE, _references(0), 0)


def test_divergence_by_hand() -> None:
    real, made = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
    assert divergence(real, made) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    # The other way round is another number.
    assert divergence(made, real) != pytest.approx(divergence(real, made))
    assert divergence(real, real) == 0


def test_the_grid_keeps_the_pair_that_stays_nearest_at_half_the_steps() -> None:
    how = replace(FIVE, steps=50, start="random", search_scales=(1.0, 4.0), search_levels=(0.4, 0.1))
    tried = []

    def judged(quick: Sampling) -> np.ndarray:
        tried.append((quick.guidance_scale, quick.start_level, quick.steps))
        share = 0.5 if (quick.guidance_scale, quick.start_level) == (4.0, 0.4) else 0.3
        return np.array([[share, 1 - share]])

    found, off = best_of_grid(how, 0, np.array([[0.5, 0.5]]), judged)
    assert tried == [(1.0, 0.4, 25), (1.0, 0.1, 25), (4.0, 0.4, 25), (4.0, 0.1, 25)]
    assert (found.guidance_scale, found.start_level, found.steps, off) == (4.0, 0.4, 50, 0.0)


class _Kept(Guidance):
    """Keeps the clean latents of every batch; adds nothing."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.rows: list[tuple[int, int]] = []
        self.latents: list[torch.Tensor] = []

    def finished(self, rows: Batch, latents: torch.Tensor) -> None:
        self.rows += list(zip(rows.labels.tolist(), rows.indices.tolist(), strict=True))
        self.latents += list(latents)

    def ordered(self) -> torch.Tensor:
        """In (class, index) order."""
        return torch.stack([self.latents[row] for row in sorted(range(len(self.rows)), key=self.rows.__getitem__)])


SEARCHED = replace(FIVE, start="random", search_scales=(1.0, 3.0), search_levels=(0.97, 0.02))


def _searched(how: Sampling, ipc: int = 2, **further: Any) -> tuple[Generated, torch.Tensor]:
    """Images of the digits under a search, and their latents in (class, index) order."""
    latents = generator().encode(digits()[0].images[:200]).numpy()
    references = ReferenceLatents(
        latents=latents, source_index=np.arange(200), labels=digits()[0].labels[:200], indices=np.full(200, -1)
    )
    asked, kept = request(how, ipc, **further), _Kept()
    asked.reference_latents = lambda: references
    return generate(asked, [kept], generator=generator()), kept.ordered()


def test_a_search_chooses_per_class_and_is_told_in_the_curves() -> None:
    found, _ = _searched(replace(SEARCHED, batch=20))
    # One search of all twenty images would be one entry.
    assert {found.curves[f"search_{name}"].shape for name in ("scale", "level", "divergence")} == {(10,)}
    # An untrained network spoils what it touches: the less noise, the nearer the teacher's answers stay.
    assert (found.curves["search_level"] == 0.97).mean() >= 0.9


def test_another_batch_searches_the_same_and_draws_the_same_latents() -> None:
    how = replace(SEARCHED, repulsion=0.3)
    sets = [_searched(replace(how, batch=batch)) for batch in (20, 6, 2)]
    for made, latents in sets[1:]:
        assert torch.equal(latents, sets[0][1])
        assert np.array_equal(made.images, sets[0][0].images)
        for name in ("search_scale", "search_level", "search_divergence"):
            assert np.array_equal(made.curves[name], sets[0][0].curves[name])


def test_a_killed_search_goes_on_with_the_same_images() -> None:
    how = replace(SEARCHED, batch=4, repulsion=0.3)
    whole, place = _searched(how), MemoryCheckpoints(die_after=2)
    with pytest.raises(Killed):
        _searched(how, checkpoints=place)
    rest = _searched(how, checkpoints=place)
    assert torch.equal(rest[1], whole[1])
    # Only of the three passes of two classes that were left.
    assert np.array_equal(rest[0].curves["search_level"], whole[0].curves["search_level"][4:])


def test_groups_are_drawn_for_the_classes_that_are_still_to_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from dd_assets.diffusion import starts

    means = np.zeros((10, 1, 8, 8), dtype=np.float32)
    how = replace(FIVE, start="gaussian", groups=5, batch=4)
    drawn: list[int] = []

    def counted(size: int, dimensions: int, groups: int, seed: int, label: int) -> int:
        drawn.append(label)
        return most_typical(size, dimensions, groups, seed, label)

    monkeypatch.setattr(starts, "most_typical", counted)

    def made(place: MemoryCheckpoints) -> Generated:
        asked = request(how, 2, checkpoints=place)
        asked.class_gaussians = lambda: ClassGaussians(means=means, deviations=means + 1, level=0.02)
        return generate(asked, generator=generator())

    whole, place = made(MemoryCheckpoints()), MemoryCheckpoints(die_after=3)
    assert drawn == list(range(10))
    drawn.clear()
    with pytest.raises(Killed):
        made(place)
    assert drawn == list(range(6))
    drawn.clear()
    assert np.array_equal(made(place).images, whole.images)
    assert drawn == [6, 7, 8, 9]


@pytest.mark.parametrize(("batch", "score"), [(6, "units"), (2, "units"), (2, "latents")])
def test_draws_of_classes_that_are_done_are_let_go(batch: int, score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class's were kept to the end of the shard: 1.6 GB at ImageNet-1K and IPC 100."""
    from dd_assets.diffusion import starts

    kept: list[weakref.ref[np.ndarray]] = []
    chosen: list[int] = []

    def followed(size: int, dimensions: int, seed: int, label: int, group: int) -> np.ndarray:
        drawn = drawn_group(size, dimensions, seed, label, group)
        kept.append(weakref.ref(drawn))
        return drawn

    def counted(size: int, dimensions: int, groups: int, seed: int, label: int, *widths: np.ndarray) -> int:
        chosen.append(label)
        return most_typical(size, dimensions, groups, seed, label, *widths)

    monkeypatch.setattr(starts, "drawn_group", followed)
    monkeypatch.setattr(starts, "most_typical", counted)
    how = replace(FIVE, start="gaussian", groups=5, batch=batch, group_score=score)
    means = np.zeros((10, 1, 8, 8), dtype=np.float32)
    found = from_gaussians(how, ClassGaussians(means=means, deviations=means + 1, level=0.02), 3, 0)
    asked = request(how, 3)
    made: dict[int, list[np.ndarray]] = {}
    for rows_of in _batches(asked):
        start = found(rows_of)
        assert start is not None
        for label, latents in zip(rows_of.labels.tolist(), start.latents.numpy(), strict=True):
            made.setdefault(label, []).append(latents.reshape(-1))
        assert sum(one() is not None for one in kept) <= 1
    # A class of more than a batch comes back: which group it has is known, the draws are made again.
    assert chosen == list(range(10))
    widths = [np.ones(64)] if score == "latents" else []
    for label, own in made.items():
        np.testing.assert_array_equal(np.stack(own), typical_group(3, 64, 5, 0, label, *widths))
