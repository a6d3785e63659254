"""The sampling loop against diffusers' schedulers, and what guidances may rely on.

Belongs here: sampling.py and generate.py with tiny untrained networks. Does not belong: any method.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from dd_assets.diffusion import sampling as loop
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.generate import conditions, generate, sample_rows, to_images
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.sampling import Correction, Guidance, Start, Step, Trace, backward, sample
from dd_assets.errors import InputError
from dd_assets.synthesis.batches import Batch
from tests.diffusion.tiny import LATENT, generator, rows
from tests.methods.requests import request
from tests.models.interruption import Killed, MemoryCheckpoints

FIVE = Sampling(steps=5)


def _draw(made: Generator, batch: Batch, how: Sampling = FIVE, *guidances: Guidance, **further) -> torch.Tensor:
    condition, null = conditions(made, batch, how)
    return sample(made, batch, how, 0, condition=condition, null=null, guidances=guidances, **further)


class Pull(Guidance):
    """Towards a point, through the predicted clean sample."""

    def __init__(self, strength: float, target: float = 0.5, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(strength, low, high)
        self.target, self.seen = target, list[float]()

    def correct(self, step: Step) -> Correction:
        self.seen.append(step.alpha_bar)
        # Moves the clean sample by `strength` of the way.
        ratio = (step.alpha_bar / (1 - step.alpha_bar)) ** 0.5
        return Correction(eps=self.strength * ratio * (step.clean() - self.target))


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_step_is_diffusers_ddim_step(eta: float, clip: bool) -> None:
    scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=clip)
    scheduler.set_timesteps(10)
    torch.manual_seed(0)
    x, eps, noise = torch.randn(3, 2, 1, 4, 4)
    for timestep in (900, 500, 0):
        theirs = scheduler.step(
            eps, timestep, x, eta=eta, use_clipped_model_output=True, variance_noise=noise
        ).prev_sample
        after = float(scheduler.alphas_cumprod[timestep - 100]) if timestep else 1.0
        mean, deviation = backward(x, eps, float(scheduler.alphas_cumprod[timestep]), after, eta, clip)
        torch.testing.assert_close(mean + deviation * noise, theirs, rtol=1e-4, atol=1e-5)


def test_the_ancestral_step_is_diffusers_ddpm_step() -> None:
    scheduler = DDPMScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", variance_type="fixed_small", clip_sample=True
    )
    scheduler.set_timesteps(10)
    torch.manual_seed(0)
    x, eps = torch.randn(2, 2, 1, 4, 4)
    drawn = torch.randn((2, 1, 4, 4), generator=torch.Generator().manual_seed(7))
    theirs = scheduler.step(eps, 500, x, generator=torch.Generator().manual_seed(7)).prev_sample
    levels = [float(scheduler.alphas_cumprod[t]) for t in (500, 400)]
    mean, deviation = backward(x, eps, *levels, 1.0, True)
    torch.testing.assert_close(mean + deviation * drawn, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", [FIVE, replace(FIVE, sampler="ddpm"), replace(FIVE, eta=0.3)])
def test_neither_batch_nor_shard_changes_an_image(how: Sampling) -> None:
    made = generator()
    whole = _draw(made, rows(8), how)
    alone = torch.cat([_draw(made, Batch(*np.divmod(np.array([n]), 10)), how) for n in range(8)])
    # Latents agree to rounding, which sums in another order bring (2e-5 with AVX-512); 8-bit images agree exactly.
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-4)
    assert np.array_equal(to_images(made, whole), to_images(made, alone))
    assert len(torch.unique(whole.flatten(1), dim=0)) == 8


def test_shards_of_single_indices_give_the_bits_of_the_whole_set() -> None:
    made, how = generator(), replace(FIVE, batch=4)
    whole = generate(request(how, 3), generator=made)
    parts = [generate(request(how, 3, first=k, last=k + 1), generator=made) for k in range(3)]
    assert np.array_equal(whole.images, np.concatenate([part.images for part in parts]))
    assert whole.labels.tolist() == list(range(10)) * 3


def test_strength_zero_is_plain_sampling_bit_for_bit() -> None:
    made = generator()
    plain = _draw(made, rows(6))
    trace = Trace()
    assert torch.equal(_draw(made, rows(6), FIVE, Pull(0.0), trace=trace), plain)
    assert (trace.passes, trace.guided) == (5, [0])
    # A correction of zeros, too, changes no bit.
    assert torch.equal(_draw(made, rows(6), FIVE, _Zero(1.0)), plain)


class _Zero(Guidance):
    def correct(self, step: Step) -> Correction:
        return Correction(eps=torch.zeros_like(step.eps), mean=torch.zeros_like(step.x))


def test_guidance_acts_in_its_window_alone_and_pulls_the_right_way() -> None:
    made = generator()
    schedule = made.schedule(5)
    levels = [schedule.level(position) for position in range(5)]
    early = Pull(0.5, low=0.0, high=levels[1])
    guided = _draw(made, rows(6), FIVE, early)
    # The noisy side comes first: ᾱ rises.
    assert early.seen == levels[:2]
    assert not torch.equal(guided, _draw(made, rows(6)))
    plain = (_draw(made, rows(6)) - 0.5).pow(2).mean()
    pulled = (_draw(made, rows(6), FIVE, Pull(0.5)) - 0.5).pow(2).mean()
    # Adding to ε what lies between the clean sample and the target moves it there; the other sign moves it away.
    assert pulled < 0.5 * plain
    assert (_draw(made, rows(6), FIVE, Pull(-0.5)) - 0.5).pow(2).mean() > plain


def test_corrections_add_up_whatever_their_order() -> None:
    made = generator()
    one, other = Pull(0.3), Pull(0.2, target=-0.5)
    both = _draw(made, rows(4), FIVE, one, other)
    torch.testing.assert_close(both, _draw(made, rows(4), FIVE, other, one), rtol=1e-5, atol=1e-6)


class _Gradient(Guidance):
    """Down the gradient of the predicted clean sample's distance, through the network."""

    def correct(self, step: Step) -> Correction:
        x = step.x.clone().requires_grad_()
        distance = (step.clean(x, step.noise(x)) - 0.5).pow(2).sum()
        (slope,) = torch.autograd.grad(distance, x)
        assert slope.abs().sum() > 0
        return Correction(
            mean=-self.strength * slope / slope.flatten(1).norm(dim=1).clamp(min=1e-8)[:, None, None, None]
        )


def test_a_guidance_can_differentiate_through_the_network_and_move_the_mean() -> None:
    made = generator()
    plain, guided = _draw(made, rows(4)), _draw(made, rows(4), FIVE, _Gradient(0.3, low=0.0, high=0.9))
    assert (guided - 0.5).pow(2).mean() < (plain - 0.5).pow(2).mean()
    assert not guided.requires_grad


def test_features_of_a_layer_are_differentiable_and_stop_there() -> None:
    made = generator()
    x = torch.randn(2, *made.shape, requires_grad=True)
    found = made.features(x, 500, made.condition(np.array([1, 2])), 1)
    assert found.shape == (2, 16, 32)
    assert torch.autograd.grad(found.sum(), x)[0].abs().sum() > 0
    with pytest.raises(InputError, match="it has 0 to 1"):
        made.features(x, 500, made.condition(np.array([1, 2])), 2)


def test_the_null_class_comes_after_the_last_and_matters_only_above_scale_one() -> None:
    made = generator(classes=10)
    assert made.null_condition(3).classes.tolist() == [10, 10, 10]
    alone, guided = _draw(made, rows(5), replace(FIVE, guidance_scale=1.0)), _draw(made, rows(5))
    for block in made.denoiser.module.transformer_blocks:
        block.norm1.emb.class_embedder.embedding_table.weight[10] += 1.0
    assert torch.equal(_draw(made, rows(5), replace(FIVE, guidance_scale=1.0)), alone)
    assert not torch.equal(_draw(made, rows(5)), guided)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 4.0])
def test_classifier_free_guidance_leads_away_from_the_null_class(scale: float) -> None:
    made = generator()
    x, asked, null = torch.randn(3, *made.shape), made.condition(np.array([1, 7, 1])), made.null_condition(3)
    wanted, free = made.noise(x, 500, asked), made.noise(x, 500, null)
    # Ho and Salimans' weight w is scale - 1. Swapped halves would give the null class at 1 and flee the asked one.
    expected = (1 - scale) * free + scale * wanted
    torch.testing.assert_close(made.guided_noise(x, 500, asked, null, scale), expected, rtol=1e-4, atol=1e-4)
    assert (wanted - free).abs().max() > 0.1


def test_a_start_runs_only_the_steps_that_are_left() -> None:
    made = generator()
    how, trace = replace(FIVE, steps=50), Trace()
    level = made.schedule(50).level(40)
    clean = torch.zeros(4, *made.shape)
    near = _draw(made, rows(4), how, start=Start(latents=clean, level=level), trace=trace)
    assert trace.passes == 10
    # At the clean end the start comes back; from noise the same untrained network ends far away.
    last = made.schedule(50).level(49)
    kept = _draw(made, rows(4), how, start=Start(latents=clean + 0.25, level=last))
    assert (kept - 0.25).abs().max() < 0.2
    assert near.shape == clean.shape


def test_latents_are_scaled_and_pixels_are_clipped() -> None:
    latent, pixel = generator(LATENT, size=16, channels=3), generator()
    assert (latent.clips, pixel.clips) == (False, True)
    assert float(_draw(pixel, rows(6)).abs().max()) <= 1.0
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    encoded = latent.encode(images)
    raw = latent.autoencoder.encode(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mode()
    torch.testing.assert_close(encoded, 0.5 * raw, rtol=1e-4, atol=1e-5)
    restored = latent.autoencoder.decode(raw).sample
    torch.testing.assert_close(latent.decode(encoded), (restored + 1) / 2, rtol=1e-4, atol=1e-4)
    own = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    assert np.array_equal(to_images(pixel, pixel.encode(own)), own)


def test_a_killed_set_goes_on_with_the_same_images() -> None:
    made, how = generator(), replace(FIVE, batch=5, sampler="ddpm")
    whole = generate(request(how, 2), generator=made)
    place = MemoryCheckpoints(die_after=2)
    with pytest.raises(Killed):
        generate(request(how, 2, checkpoints=place), generator=made)
    seen = _Counting(1.0)
    rest = generate(request(how, 2, checkpoints=place), [seen], generator=made)
    assert np.array_equal(rest.images, whole.images)
    assert rest.curves["passes"] == 2 * 5
    # What a guidance with a memory must have seen: all four batches, the two finished ones too.
    assert seen.batches == 4


class _Counting(Guidance):
    batches = 0

    def correct(self, step: Step) -> Correction:
        return Correction()

    def finished(self, batch: Batch, latents: torch.Tensor) -> None:
        self.batches += 1


def test_methods_share_the_noise_and_draws_do_not() -> None:
    made = generator()
    assert torch.equal(loop.normals(rows(2), made.shape, 0, "start"), loop.normals(rows(2), made.shape, 0, "start"))
    assert not torch.equal(loop.normals(rows(2), made.shape, 0, "start"), loop.normals(rows(2), made.shape, 1, "start"))


def test_values_that_are_not_finite_are_refused() -> None:
    # In pixels the clean sample is clipped, so that no strength explodes; latents have no such bound.
    assert float(_draw(generator(), rows(2), FIVE, Pull(1e6)).abs().max()) <= 1.0
    with pytest.raises(InputError, match="lower the guidance's strength"):
        _draw(generator(LATENT, size=16, channels=3), rows(2), FIVE, Pull(1e38))


def test_text_is_refused_where_there_is_no_text_encoder() -> None:
    with pytest.raises(InputError, match="set condition: class"):
        sample_rows(generator(), rows(2), replace(FIVE, condition="text"), 0)
