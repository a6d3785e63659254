"""IGD: what its two guidances raise, where they act, what they leave alone.

Belongs here: methods/igd on tiny untrained generators and surrogates. Does not belong: gradients
(tests/synthesis/test_influence.py), the asset (tests/diffusion/test_fine_tuned_stages.py).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.generate import generate
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.levels import schedule_of
from dd_assets.diffusion.sampling import Guidance, Step
from dd_assets.methods.igd import recipe
from dd_assets.methods.igd.synthesis import DeviationGuidance, InfluenceGuidance, synthesise
from dd_assets.methods.registry import method
from dd_assets.methods.request import Influence, Request, SyntheticImages
from dd_assets.models.networks.own import ConvNet
from dd_assets.models.pixels import normalised, normalised_unit
from dd_assets.synthesis.batches import Batch
from dd_assets.synthesis.influence import class_gradient, mean_loss_and_slope
from tests.diffusion.tiny import LATENT, generator, rows
from tests.methods.requests import digit_facts, request
from tests.models.digits import NORMALISATION, digits
from tests.models.interruption import Killed, MemoryCheckpoints

QUICK = recipe.Parameters(steps=10, batch=5, influence=0.2, deviation=0.2, low=0.01, high=0.9)


def _surrogate(seed: int) -> ConvNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = ConvNet(width=8, depth=2, classes=10, channels=1, size=8, instance_norm=True)
    return made.eval().requires_grad_(False)


@cache
def _influence() -> Influence:
    """Two untrained surrogates and the digits' class gradients at them."""
    networks = (_surrogate(0), _surrogate(1))
    found = {
        label: np.stack([class_gradient(net, digits()[0], label, 50, NORMALISATION, 0).numpy() for net in networks])
        for label in range(10)
    }
    return Influence(networks=networks, gradients=found.__getitem__)


def _asked(parameters: recipe.Parameters, ipc: int = 1, **further) -> Request:
    asked = request(parameters, ipc, **further)
    asked.generator, asked.influence = generator, _influence
    return asked


def _made(parameters: recipe.Parameters, ipc: int = 1, **further) -> SyntheticImages:
    return synthesise(_asked(parameters, ipc, **further))


def _loss(images: np.ndarray) -> float:
    """The mean of 1 - cos over finished images in row order."""
    labels = np.arange(len(images)) % 10
    given = [torch.from_numpy(_influence().gradients(int(label))) for label in labels]
    wanted = list(torch.stack(given, dim=1))
    pixels = normalised(images, NORMALISATION, "cpu")
    return float(mean_loss_and_slope(_influence().networks, pixels, torch.from_numpy(labels), wanted)[0].mean())


def _similar(images: np.ndarray) -> float:
    """The mean over classes of the cosine between their two images, in [-1, 1] pixels."""
    signed = torch.from_numpy(images.reshape(2, 10, -1)).double() / 127.5 - 1
    return float(F.cosine_similarity(signed[0], signed[1], dim=1).mean())


def _step(made: Generator, batch: Batch, x: torch.Tensor, position: int, eps: torch.Tensor | None = None) -> Step:
    condition, null = made.condition(batch.labels), made.null_condition(len(batch.labels))
    schedule = made.schedule(10)
    if eps is None:
        with torch.no_grad():
            eps = made.guided_noise(x, int(schedule.timesteps[position]), condition, null, 1.0)
    return Step(
        x=x,
        eps=eps,
        position=position,
        schedule=schedule,
        rows=batch,
        generator=made,
        condition=condition,
        null=null,
        scale=1.0,
        seed=0,
    )


def test_strength_zero_is_plain_sampling_bit_for_bit() -> None:
    plain = generate(request(QUICK, 2), generator=generator()).images
    assert np.array_equal(_made(replace(QUICK, influence=0.0, deviation=0.0), 2).images, plain)
    # Nothing is drawn before the first image of a class, so that deviation begins with the second.
    far = _made(replace(QUICK, influence=0.0), 2).images
    assert np.array_equal(far[:10], plain[:10])
    assert not np.array_equal(far[10:], plain[10:])


def test_influence_brings_gradients_nearer_to_the_classes() -> None:
    plain = _loss(_made(replace(QUICK, influence=0.0)).images)
    guided = _loss(_made(replace(QUICK, deviation=0.0)).images)
    # Measured: .353 and .205 (.169 at twice the strength). The other sign would raise it.
    assert guided < plain - 0.1


def test_deviation_parts_the_images_of_a_class() -> None:
    plain = _similar(_made(replace(QUICK, influence=0.0, deviation=0.0), 2).images)
    parted = _similar(_made(replace(QUICK, influence=0.0), 2).images)
    # Measured: .734 and .507.
    assert parted < plain - 0.1


@pytest.mark.parametrize("through_denoiser", [False, True])
@pytest.mark.parametrize("latent", [False, True])
def test_a_step_lowers_the_loss_and_has_the_stated_length(through_denoiser: bool, latent: bool) -> None:
    made = generator(replace(LATENT, autoencoder_channels=(8, 8)), size=8) if latent else generator()
    torch.manual_seed(0)
    batch, x = rows(4), torch.randn(4, *made.shape)
    guidance = InfluenceGuidance(_influence(), NORMALISATION, 0.005, through_denoiser=through_denoiser)
    step = _step(made, batch, x, 6)
    before, _ = guidance.loss_and_slope(step)
    moved = guidance.correct(step).mean
    assert moved is not None
    lengths = moved.flatten(1).norm(dim=1) / step.eps.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((4,), 0.005 * (1 - step.alpha_bar) ** 0.5), rtol=1e-4, atol=1e-6)
    after, _ = guidance.loss_and_slope(_step(made, batch, x + moved, 6, None if through_denoiser else step.eps))
    # All rows but for one that a kink of the surrogate's catches: .001 on average, of losses around .4.
    assert float((after - before).mean()) < -0.001
    assert int((after < before).sum()) >= 3


def test_the_slope_in_x_is_the_second_derivative_through_decoder_and_denoiser() -> None:
    made = generator(replace(LATENT, autoencoder_channels=(8, 8)), size=8)
    torch.manual_seed(0)
    batch, x = rows(1), torch.randn(1, *made.shape)
    guidance = InfluenceGuidance(_influence(), NORMALISATION, 1.0)
    step = _step(made, batch, x, 6)
    losses, slope = guidance.loss_and_slope(step)
    # The same by autograd alone, with graphs of graphs from x_t to the gradient of the surrogates and back.
    free = x.clone().requires_grad_()
    images = normalised_unit(made.decode(step.clean(free, step.noise(free))), NORMALISATION)
    total = torch.zeros(())
    for number, frozen in enumerate(_influence().networks):
        network = copy.deepcopy(frozen).requires_grad_(True)
        error = F.cross_entropy(network(images), torch.from_numpy(batch.labels))
        parts = torch.autograd.grad(error, list(network.parameters()), create_graph=True)
        own, wanted = torch.cat([part.flatten() for part in parts]), _influence().gradients(0)[number]
        total = total + (1 - F.cosine_similarity(own, torch.from_numpy(wanted), dim=0)) / 2
    (expected,) = torch.autograd.grad(total, free)
    assert float(losses) == pytest.approx(float(total), abs=1e-5)
    # Rows keep their direction; the length is set by the step.
    assert float(F.cosine_similarity(slope.flatten(), expected.flatten(), dim=0)) > 0.9999
    _, alone = InfluenceGuidance(_influence(), NORMALISATION, 1.0, through_denoiser=False).loss_and_slope(step)
    assert float(F.cosine_similarity(alone.flatten(), expected.flatten(), dim=0)) < 0.999


def test_rows_are_compared_with_their_own_class() -> None:
    made, guidance = generator(), InfluenceGuidance(_influence(), NORMALISATION, 0.1)
    torch.manual_seed(0)
    x = torch.randn(1, *made.shape).expand(2, -1, -1, -1).contiguous()
    step = _step(made, Batch(np.array([0, 0]), np.array([3, 7])), x, 6)
    same_question = replace(
        step, condition=Condition(classes=torch.tensor([3, 3])), eps=step.eps[:1].expand(2, -1, -1, -1)
    )
    losses, slopes = guidance.loss_and_slope(same_question)
    # The same image of the same answer: only the class whose gradient is wanted differs.
    assert abs(float(losses[0] - losses[1])) > 1e-3
    assert not torch.allclose(slopes[0], slopes[1])
    swapped = replace(same_question, rows=Batch(np.array([0, 0]), np.array([7, 3])))
    torch.testing.assert_close(guidance.loss_and_slope(swapped)[0], losses.flip(0), rtol=1e-4, atol=1e-5)


def test_deviation_follows_the_derivative_of_the_highest_cosine() -> None:
    made, guidance = generator(), DeviationGuidance(0.5, 2)
    batch = Batch(np.array([1]), np.array([4]))
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 0] = 2.0
    up, side = torch.zeros(2, 1, 1, 8, 8)
    up[0, 0, 0, 0], up[0, 0, 0, 1] = 0.6, 0.8
    side[0, 0, 0, 2] = 1.0
    for latent in (side, up):
        guidance.finished(Batch(np.array([0]), np.array([4])), latent)
    step = _step(made, batch, x, 6)
    moved = guidance.correct(step).mean
    assert moved is not None
    # ∇cos = (m - cos x̂) / |x| with m = (.6, .8), x̂ = (1, 0), |x| = 2: (0, .4), times -.5 * |x|².
    expected = torch.zeros_like(x)
    expected[0, 0, 0, 1] = -0.8
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-6)
    assert guidance.losses == pytest.approx([0.6])


def test_the_memory_is_a_queue_per_class_and_holds_what_was_finished() -> None:
    guidance = DeviationGuidance(0.1, 2)
    for index in range(3):
        guidance.finished(Batch(np.array([index] * 2), np.array([0, 5])), torch.full((2, 1, 1, 2), float(index)))
    assert guidance.kept[0][:, 0].tolist() == guidance.kept[5][:, 0].tolist() == [1.0, 2.0]
    made = generator()
    step = _step(made, Batch(np.array([0]), np.array([9])), torch.randn(1, *made.shape), 6)
    # Nothing of class 9 was finished.
    assert float(guidance.correct(step).mean.abs().max()) == 0.0  # type: ignore[union-attr]


class _Counted(Guidance):
    def __init__(self, inner: Guidance) -> None:
        super().__init__(inner.strength, inner.low, inner.high)
        self.inner, self.seen = inner, list[int]()

    def correct(self, step: Step):
        self.seen.append(step.index)
        return self.inner.correct(step)


def test_the_published_window_is_the_originals_fifteen_noisy_steps() -> None:
    published = method("igd").recipe_for("imagewoof").parameters
    config = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    schedule = schedule_of({**config, "timestep_spacing": "leading"}, 50)
    shown = schedule.shown(published.low, published.high)
    # Index 30 to 45 of the original's spacing is t = 612 to 917. Guiding the last steps, the window turned round, would
    # begin at index 20.
    assert shown.endswith("15 steps, index 45 down to 31, t = 900 to 620") or "15 of 50 steps" in shown
    assert "t = 900 to 620" in shown
    counted = _Counted(DeviationGuidance(0.1, 4, published.low, published.high))
    generate(request(replace(QUICK, steps=50), 1), [counted], generator=generator())
    assert counted.seen[:15] == list(range(45, 30, -1))


def test_a_killed_set_goes_on_with_the_same_images() -> None:
    whole = _made(QUICK, 2).images
    place = MemoryCheckpoints(die_after=3)
    with pytest.raises(Killed):
        _made(QUICK, 2, checkpoints=place)
    place.die_after = None
    # The memory must have been filled again from the checkpoint: without it the last batch would be plain.
    assert np.array_equal(_made(QUICK, 2, checkpoints=place).images, whole)
    lonely = _made(replace(QUICK, deviation=0.0), 2).images
    assert not np.array_equal(lonely[15:], whole[15:])


def test_image_k_does_not_depend_on_how_many_follow() -> None:
    assert np.array_equal(_made(QUICK, 1).images, _made(QUICK, 2).images[:10])
    assert not method("igd").per_index


def test_curves_tell_the_objectives() -> None:
    curves = _made(QUICK, 2).curves
    guided = len(generator().schedule(10).within(QUICK.low, QUICK.high))
    # Four batches, of which the last two have something to deviate from.
    assert curves["influence_loss"].shape == (4 * guided,)
    assert curves["deviation_loss"].shape == (2 * guided,)
    assert 0 < curves["influence_loss"].min() <= curves["influence_loss"].max() < 2


def test_published_steps_are_the_originals_on_its_latents() -> None:
    published = method("igd").recipe_for("imagenet1k").parameters
    numbers = 4 * 32 * 32
    # gaussian_diffusion.py: k .0015 RMS(ε) / RMS(g) sqrt(1 - ᾱ) g, which is .0015 k of the noise's length;
    # γ ∇cos is γ / d of x's length at right angles.
    assert published.influence == pytest.approx(0.0015 * 5)
    assert published.deviation * numbers == pytest.approx(120)
    assert (published.memory, published.guidance_scale, published.sampler) == (64, 4.0, "ddpm")


def test_what_cannot_apply_has_a_reason() -> None:
    chosen, facts = method("igd"), replace(digit_facts(), generators=("small",))
    own = chosen.recipe_for("digits").parameters
    assert chosen.reason_against(own, facts, 10) is None
    for changes, named in (
        ({"influence": -1.0}, "neither may be negative"),
        ({"low": 0.5, "high": 0.4}, "no window"),
        ({"memory": 0}, "at least 1"),
        ({"batch": 0}, "must be at least 1"),
        ({"repulsion": 0.3}, "no earlier ones to deviate from"),
        ({"candidates": 2}, "no earlier ones to deviate from"),
    ):
        assert named in str(chosen.reason_against(replace(own, **changes), facts, 10))
    # Influence alone asks for no earlier image.
    assert chosen.reason_against(replace(own, repulsion=0.3, deviation=0.0), facts, 10) is None
