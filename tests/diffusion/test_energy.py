"""Energy guidance: closed form, direction, scale, window (generation reference §9 pitfalls 1 to 4, §13.1 to 13.3).

Belongs here: diffusion/energy.py. Does not belong: the loop (test_sampling.py), prompts (tests/methods).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import Normalisation
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.energy import EnergyGuidance, energy
from dd_assets.diffusion.generate import conditions
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.sampling import Step, Trace, sample
from dd_assets.synthesis.batches import Batch
from tests.diffusion.tiny import LATENT, generator, rows
from tests.models.digits import NORMALISATION, teacher

PLAIN = Normalisation(mean=(0.0,), std=(1.0,))
SAMPLING = Sampling(steps=10, guidance_scale=1.5)


def _step(made: Generator, count: int = 4, position: int = 6, seed: int = 0, batch: Batch | None = None) -> Step:
    """A step of ten in the middle of things: t = 300, ᾱ = .39."""
    batch, schedule = batch or rows(count), made.schedule(10)
    condition, null = conditions(made, batch, SAMPLING)
    x = torch.randn((count, *made.shape), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        eps = made.guided_noise(x, int(schedule.timesteps[position]), condition, null, 1.5)
    return Step(
        x=x,
        eps=eps,
        position=position,
        schedule=schedule,
        rows=batch,
        generator=made,
        condition=condition,
        null=null,
        scale=1.5,
        seed=0,
    )


def _guidance(strength: float = 0.1, judge: nn.Module | None = None, **further: Any) -> EnergyGuidance:
    return EnergyGuidance(judge or teacher(), NORMALISATION, strength, **further)


def test_the_energy_is_minus_logsumexp() -> None:
    logits = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    labels = torch.tensor([1, 1])
    expected = [-math.log(2), -math.log(math.exp(3) + 1)]
    torch.testing.assert_close(energy(logits, labels, 0.0), torch.tensor(expected))
    # With weight 1 what is left is -f_y: 0 for both, though the plain energy calls the second one far more familiar.
    torch.testing.assert_close(energy(logits, labels, 1.0), torch.zeros(2), atol=1e-6, rtol=0)


def test_the_class_counts_with_its_weight_in_what_guides() -> None:
    made, judge, labels = generator(), teacher(), np.array([7, 1, 4, 4])
    step = _step(made, batch=Batch(np.array([3, 2, 1, 0]), labels))
    images = ((step.clean() + 1) / 2).clamp(0, 1)
    with torch.no_grad():
        logits = judge((images - NORMALISATION.mean[0]) / NORMALISATION.std[0])
        free, own = -torch.logsumexp(logits, dim=1), logits[torch.arange(4), torch.from_numpy(labels)]
        for weight in (0.0, 1.0, 2.5):
            found = _guidance(judge=judge, class_weight=weight).energies(step, step.x)
            # log p(y | x) = f_y - logsumexp f. The energy of the rows' own labels, which no position gives.
            torch.testing.assert_close(found, free - weight * (own + free), rtol=1e-3, atol=1e-3)
    plain, asked = (_guidance(0.1, judge=judge, class_weight=weight).correct(step).eps for weight in (0.0, 2.5))
    assert plain is not None
    assert asked is not None
    guided = _guidance(judge=judge, class_weight=2.5)
    with torch.no_grad():
        # Down the gradient of the plain energy the classes become others: the weighted one rises.
        by_plain, by_class = (
            (guided.energies(step, step.x - 0.02 * eps) - guided.energies(step, step.x)) for eps in (plain, asked)
        )
    assert by_class.mean() < 0 < by_plain.mean()


class _Bright(nn.Module):
    """One logit: the sum of the normalised pixels, so that the energy is minus that."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images.detach()
        return images.flatten(1).sum(dim=1, keepdim=True)


def test_the_teacher_sees_normalised_pixels_within_range() -> None:
    judge, made = _Bright(), generator()
    guidance = EnergyGuidance(judge, Normalisation(mean=(0.25,), std=(0.5,)), 1.0)
    step = _step(made)
    guidance.correct(step)
    # [-1, 1] becomes [0, 1], clipped, then (p - .25) / .5: -.5 to 1.5. Unclipped x̂0 of an untrained network at t = 300
    # goes far beyond; fed as [-1, 1] it would reach -2.5.
    assert (judge.seen.min(), judge.seen.max()) == (-0.5, 1.5)
    expected = ((step.clean().clamp(-1, 1) + 1) / 2 - 0.25) / 0.5
    torch.testing.assert_close(judge.seen, expected, atol=1e-4, rtol=0)


def test_the_correction_has_the_stated_size_and_lowers_the_energy() -> None:
    for recipe in (None, LATENT):
        made = generator() if recipe is None else generator(recipe)
        step, guidance = _step(made), _guidance(0.1)
        correction = guidance.correct(step).eps
        assert correction is not None
        size = correction.flatten(1).norm(dim=1)
        torch.testing.assert_close(size, 0.1 * math.sqrt(1 - step.alpha_bar) * step.eps.flatten(1).norm(dim=1))
        # Down the gradient of x: a wrong sign raises every one of them.
        with torch.no_grad():
            before = guidance.energies(step, step.x)
            after = guidance.energies(step, step.x - 0.02 * correction)
        assert (after < before).all()


def test_the_gradient_is_that_of_finite_differences() -> None:
    made = generator()
    made.denoiser.module.double()
    step = _step(made, count=1)
    guidance = _guidance(1.0, judge=_Quadratic(), unit_norm=False)
    correction = guidance.correct(step).eps
    assert correction is not None
    direction = torch.randn(step.x.shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        up, down = (guidance.energies(step, step.x + sign * 1e-2 * direction).item() for sign in (1, -1))
    slope = float((correction * direction).sum()) / math.sqrt(1 - step.alpha_bar)
    # Without the path through the denoiser the slope would be another: x̂0 then moves with x alone.
    assert slope == pytest.approx((up - down) / 2e-2, rel=0.05)


class _Quadratic(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return 1e-2 * images.flatten(1).square().sum(dim=1, keepdim=True)


def test_an_image_is_led_by_itself_alone() -> None:
    made = generator()
    whole, alone = _step(made, count=4), _step(made, count=4)
    one = Step(
        **{
            **vars(alone),
            "x": alone.x[:1],
            "eps": alone.eps[:1],
            "rows": rows(1),
            "condition": alone.condition.rows(slice(0, 1)),
            "null": alone.null.rows(slice(0, 1)),
        }
    )
    first, single = _guidance().correct(whole).eps, _guidance().correct(one).eps
    assert first is not None
    assert single is not None
    torch.testing.assert_close(first[:1], single, atol=1e-5, rtol=1e-4)


def test_no_gradient_is_no_correction() -> None:
    class Deaf(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return 0 * images.flatten(1).sum(dim=1, keepdim=True)

    correction = _guidance(1.0, judge=Deaf()).correct(_step(generator())).eps
    assert correction is not None
    # 0 / 0 would be NaN, and end the whole batch.
    assert correction.abs().max() == 0


def _sampled(made: Generator, *guidances: EnergyGuidance, trace: Trace | None = None) -> Tensor:
    batch = rows(20)
    condition, null = conditions(made, batch, SAMPLING)
    return sample(made, batch, SAMPLING, 0, condition=condition, null=null, guidances=guidances, trace=trace)


def test_strength_zero_changes_no_bit_and_the_window_counts() -> None:
    made = generator()
    plain = _sampled(made)
    assert torch.equal(_sampled(made, _guidance(0.0)), plain)
    assert torch.equal(_sampled(made, _guidance(0.5, low=0.9999, high=1.0)), plain)
    trace = Trace()
    _sampled(made, _guidance(0.1, low=0.05, high=0.8), trace=trace)
    # t = 500, 400, 300, 200 have ᾱ = .078, .19, .39, .66; 600 has .025 and 100 has .90.
    assert trace.guided == [4]


def test_guidance_lowers_the_energy_of_finished_images() -> None:
    made, judge = generator(), teacher()

    def mean_energy(x: Tensor) -> float:
        images = made.decode(x).clamp(0, 1)
        logits = judge((images - NORMALISATION.mean[0]) / NORMALISATION.std[0])
        return float(energy(logits, torch.zeros(len(x), dtype=torch.int64), 0.0).mean())

    plain, guided = mean_energy(_sampled(made)), mean_energy(_sampled(made, _guidance(0.3, judge=judge)))
    # -11.87 and -15.57 measured; the wrong sign gives more than the plain one.
    assert guided < plain - 2


def test_a_large_strength_stays_finite_in_pixels() -> None:
    x = _sampled(generator(), _guidance(20.0))
    assert torch.isfinite(x).all()
    assert np.abs(x.numpy()).max() <= 1.0001
