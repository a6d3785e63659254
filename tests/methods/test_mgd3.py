"""MGD3: towards which point, how far, and until when.

Belongs here: methods/mgd3 on tiny untrained generators. Does not belong: the loop (tests/diffusion).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generate import conditions
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.levels import Schedule
from dd_assets.diffusion.sampling import Step, Trace, backward, sample
from dd_assets.errors import InputError
from dd_assets.methods.mgd3.recipe import STOP, Parameters
from dd_assets.methods.mgd3.synthesis import ModeGuidance, guidance, synthesise
from dd_assets.methods.registry import method
from dd_assets.methods.request import ClassCentroids, SyntheticImages
from dd_assets.synthesis.batches import Batch
from tests.diffusion.tiny import LATENT, generator, rows
from tests.methods.requests import digit_facts, request
from tests.models.interruption import Killed, MemoryCheckpoints

QUICK = Parameters(steps=8, batch=5, guided_until=1.0)


def _centroids(ipc: int = 2, shape: tuple[int, int, int] = (1, 8, 8)) -> ClassCentroids:
    """Centres of one grey per (index, class)."""
    greys = np.linspace(-0.9, 0.8, ipc * 10, dtype=np.float32)[:, None, None, None]
    centers = np.broadcast_to(greys, (ipc * 10, *shape)).copy()
    whole = np.arange(ipc * 10)
    return ClassCentroids(centers=centers, nearest=centers + 0.1, source_index=whole, sizes=whole, classes=10)


def _made(parameters: Parameters, **further) -> SyntheticImages:
    asked = request(parameters, 2, **further)
    asked.generator, asked.centroids = generator, _centroids
    return synthesise(asked)


def _step(made: Generator, position: int = 5, batch: Batch | None = None) -> Step:
    batch = batch or rows(6)
    schedule = made.schedule(8)
    torch.manual_seed(0)
    x = torch.randn(len(batch.labels), *made.shape)
    condition, null = conditions(made, batch, QUICK)
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


@pytest.mark.parametrize("form", ["ddim", "ddpm"])
def test_a_step_lowers_the_distance_from_the_mode(form: str) -> None:
    made = generator()
    step = _step(made)
    guide = guidance(replace(QUICK, sampler=form), _centroids())
    guide.prepare(made, step.schedule)
    found = guide.correct(step)
    mode = torch.from_numpy(_centroids().centers[: len(step.x)])

    def after(sign: float) -> float:
        if form == "ddim":
            return float((mode - step.clean(eps=step.eps + sign * found.eps)).norm())
        mean, _ = backward(step.x, step.eps, step.alpha_bar, step.alpha_bar_next, 1.0, True)
        return float((math.sqrt(step.alpha_bar_next) * mode - mean - sign * found.mean).norm())

    # The paper's equations 4 and 6 have the other sign in places; it moves samples away.
    assert after(1.0) < after(0.0) < after(-1.0)


def test_both_forms_are_the_formulas() -> None:
    made = generator()
    step = _step(made)
    clean = step.clean().clamp(-1, 1)
    pull = torch.from_numpy(_centroids().centers[:6]) - clean
    for form, wanted in (("ddim", "eps"), ("ddpm", "mean")):
        guide = guidance(replace(QUICK, sampler=form, mode_scale=0.2), _centroids())
        guide.prepare(made, step.schedule)
        a, b = step.alpha_bar, step.alpha_bar_next
        deviation = math.sqrt((1 - b) / (1 - a) * (1 - a / b))
        scale = -math.sqrt(1 - a) * 0.2 if form == "ddim" else 0.2 * deviation
        torch.testing.assert_close(getattr(guide.correct(step), wanted), scale * pull)


def test_the_mode_is_the_mean_or_the_real_latent_nearest_to_it() -> None:
    made = generator()
    step = _step(made)
    pulls, means = {}, {}
    for mode in ("centroid", "nearest"):
        parameters = replace(QUICK, mode=mode, mode_scale=5.0)
        guide = guidance(parameters, _centroids())
        guide.prepare(made, step.schedule)
        pulls[mode] = guide.difference(step)
        means[mode] = _made(parameters).images.mean()
    # The nearest latents here are a little lighter than the centres: .1 of [-1, 1], 12.75 levels.
    torch.testing.assert_close(pulls["nearest"] - pulls["centroid"], torch.full((6, 1, 8, 8), 0.1))
    assert means["nearest"] - means["centroid"] == pytest.approx(12.75, abs=4)


def test_every_image_is_drawn_to_the_mode_of_its_own_index_and_class() -> None:
    # A strong pull on a network that knows nothing: what remains is the mode. (c, k) would be off by 60 levels on
    # average; modes keyed by the order in which classes are met cost another implementation 9 points.
    made = _made(replace(QUICK, mode_scale=5.0))
    levels = made.images.reshape(20, -1).mean(axis=1)
    expected = (np.linspace(-0.9, 0.8, 20) + 1) / 2 * 255
    assert np.abs(levels - expected).mean() < 25
    assert np.corrcoef(levels, expected)[0, 1] > 0.95
    swapped = expected.reshape(10, 2).T.reshape(-1)
    assert np.abs(levels - swapped).mean() > 40


def test_candidates_share_the_modes() -> None:
    found = guidance(QUICK, _centroids()).modes(Batch(np.array([0, 1, 2, 3]), np.full(4, 7)))
    np.testing.assert_array_equal(found, _centroids().centers[[7, 17, 7, 17]])


def test_scale_zero_is_plain_sampling_bit_for_bit() -> None:
    from dd_assets.methods.d4m import recipe
    from dd_assets.methods.d4m.synthesis import synthesise as plain

    asked = request(recipe.Parameters(steps=8, batch=5, start="noise", guidance_scale=1.5), 2)
    asked.generator = generator
    assert np.array_equal(_made(replace(QUICK, mode_scale=0.0)).images, plain(asked).images)


def test_the_distance_falls_with_the_scale() -> None:
    def distance(scale: float) -> float:
        images = _made(replace(QUICK, mode_scale=scale)).images
        return float(np.abs(images / 127.5 - 1 - _centroids().centers.transpose(0, 2, 3, 1)).mean())

    plain, weak, strong = distance(0.0), distance(1.0), distance(5.0)
    assert weak < 0.9 * plain
    assert strong < 0.5 * plain


def test_the_window_is_the_first_twenty_four_of_fifty_steps() -> None:
    made = _made(Parameters(steps=50, batch=10))
    # Noisy side first: indices 49 to 26. The last 24 would be the reversed window.
    assert made.curves["mode_distance_index"].tolist() == list(range(49, 25, -1))
    assert made.curves["guided"].tolist() == [24 * 2]
    schedule = generator().schedule(50)
    assert schedule.shown(0.0, STOP) == "ᾱ 0 to 0.0702: 24 of 50 steps, index 49 down to 26, t = 980 to 520"


def _guided(made: Generator, form: str, scale: float, bound: float) -> float:
    """The largest |x| after 20 steps to modes within ±.9; infinite where sampling overflows."""
    parameters = replace(QUICK, steps=20, sampler=form, mode_scale=scale, bound=bound)
    condition, null = conditions(made, rows(8), parameters)
    guide = guidance(parameters, _centroids(shape=made.shape))
    try:
        found = sample(made, rows(8), parameters, 0, condition=condition, null=null, guidances=[guide])
    except InputError:
        return math.inf
    return float(found.abs().max())


@pytest.mark.parametrize("form", ["ddim", "ddpm"])
def test_a_network_that_errs_explodes_unless_clipped(form: str) -> None:
    made = generator(LATENT, size=16, channels=3)
    plain = _guided(made, form, 0.0, 4.0)
    for scale in (1.0, 100.0):
        clipped, loose = (_guided(made, form, scale, bound) for bound in (4.0, 0.0))
        # The untrained network's own latents reach several hundred, guided ones less at any scale.
        assert clipped < plain
        assert loose > 100 * clipped


class _Knowing(Generator):
    """Predicts the expected ε of latents that are N(0, 1)."""

    def noise(self, x: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        return math.sqrt(1 - self.schedule(1).alpha_bars[timestep]) * x


def _reach(schedule: Schedule, form: str, scale: float, bound: float, mode: float) -> float:
    """What |x| can come to with `_Knowing`, |x̂_0| clipped to `bound`, |m| <= mode and no noise beyond 5.

    Its x̂_0 is sqrt(ᾱ) x, so that a step takes x to ρ x + κ (m - clip(sqrt(ᾱ) x)) and noise: piecewise linear, and
    largest where the bound sets in or at the end of x's own range.
    """
    x = 5.0
    for position in range(len(schedule.timesteps)):
        a, b = schedule.level(position), schedule.level(position + 1)
        sigma = math.sqrt((1 - b) / (1 - a) * (1 - a / b)) if form == "ddpm" else 0.0
        rho = math.sqrt(a * b) + math.sqrt((1 - b - sigma**2) * (1 - a))
        turned = math.sqrt(1 - a) * (math.sqrt(b / a * (1 - a)) - math.sqrt(1 - b))
        kappa = scale * (sigma if form == "ddpm" else turned)
        corners = [min(x, bound / math.sqrt(a)), x]
        pulled = [abs(rho * x - kappa * min(math.sqrt(a) * x, bound)) for x in corners]
        x = max(pulled) + kappa * mode + 5 * sigma
    return x


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 10.0, 30.0, 100.0])
@pytest.mark.parametrize("form", ["ddim", "ddpm"])
def test_latents_end_within_what_clipping_leaves_of_a_scale(form: str, scale: float) -> None:
    made = generator(LATENT, size=16, channels=3)
    knowing = _Knowing(**{name: getattr(made, name) for name in made.__dataclass_fields__})
    found = _guided(knowing, form, scale, 4.0)
    assert found <= _reach(made.schedule(20), form, scale, 4.0, 0.9)


def test_pixels_are_bound_to_one_whatever_is_stated() -> None:
    made, guide = generator(), ModeGuidance(1.0, lambda batch: np.zeros((6, 1, 8, 8), np.float32), bound=0.0)
    step = _step(made, position=0)
    guide.prepare(made, step.schedule)
    assert step.clean().abs().max() > 5
    assert guide.difference(step).abs().max() <= 1


def test_killed_or_in_parts_the_images_are_the_same() -> None:
    whole, place = _made(QUICK), MemoryCheckpoints(die_after=1)
    with pytest.raises(Killed):
        _made(QUICK, checkpoints=place)
    assert np.array_equal(_made(QUICK, checkpoints=place).images, whole.images)
    parts = [_made(QUICK, first=k, last=k + 1).images for k in range(2)]
    assert np.array_equal(np.concatenate(parts), whole.images)


def test_it_composes_with_a_start_and_with_repulsion() -> None:
    trace = Trace()
    made, how = generator(), replace(QUICK, start="centroid", start_level=0.4, steps=50)
    batch = rows(4)
    condition, null = conditions(made, batch, how)
    from dd_assets.diffusion.starts import from_centroids

    start = from_centroids(how, _centroids(), 2)(batch)
    guides = [guidance(how, _centroids())]
    sample(made, batch, how, 0, condition=condition, null=null, guidances=guides, start=start, trace=trace)
    assert (trace.passes, trace.guided) == (16, [16])
    assert _made(replace(QUICK, repulsion=0.3)).curves["guided"].tolist() == [40.0, 25.0]


def test_what_cannot_apply_has_a_reason() -> None:
    facts, chosen = replace(digit_facts(), generators=("small",)), method("mgd3")
    own = chosen.recipe_for("digits").parameters
    assert chosen.reason_against(own, facts, 10) is None
    assert "IPC is 1000" in str(chosen.reason_against(own, facts, 1000))
    assert "is no window" in str(chosen.reason_against(replace(own, guided_from=0.5, guided_until=0.1), facts, 1))
    assert "neither may be negative" in str(chosen.reason_against(replace(own, mode_scale=-1.0), facts, 1))
    assert "neither centroid nor nearest" in str(chosen.reason_against(replace(own, mode="mean"), facts, 1))
    published = chosen.recipe_for("imagenet1k").parameters
    assert (published.mode_scale, published.guided_until, published.guidance_scale) == (0.1, STOP, 4.0)
    assert chosen.reads_centroids(published)
