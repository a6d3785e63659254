"""Training: what a batch draws, label drop, averages, resumption, the autoencoder's scale.

Belongs here: training.py, autoencoder.py, producing.py, weights.py on tiny networks. Does not belong: quality (slow
test in test_digits.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.building import build_autoencoder, build_transformer, scheduler_config
from dd_assets.diffusion.denoisers import Condition, Denoiser
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.producing import Produced, brought_to, train_generator
from dd_assets.diffusion.recipes import RECIPES
from dd_assets.diffusion.registry import GeneratorRecipe, latent_shape
from dd_assets.diffusion.training import Averaged, draw, rate_at, train_denoiser
from dd_assets.diffusion.weights import from_bytes, pack_generator, to_bytes
from dd_assets.errors import InputError
from tests.diffusion.tiny import LATENT, TINY, generator
from tests.models.interruption import Killed, MemoryCheckpoints


def _images(count: int = 20, size: int = 8, channels: int = 1) -> ImageArrays:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    return ImageArrays(images, np.arange(count) % 2)


def _train(recipe: GeneratorRecipe, images: ImageArrays, place: MemoryCheckpoints | None = None) -> Produced:
    size, channels = images.images.shape[1], images.images.shape[3]
    return train_generator(images, recipe, classes=2, size=size, channels=channels, seed=0, checkpoints=place)


def test_no_block_drops_labels_on_its_own_account() -> None:
    model = build_transformer(TINY, latent_shape(TINY, 8, 1), 10, 0).train()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    x, t, y = torch.randn(64, 1, 8, 8), torch.full((64,), 10), torch.zeros(64, dtype=torch.long)
    denoiser = Denoiser(model)
    # As built by diffusers each call would drop other labels in each block, and the two would differ.
    assert torch.equal(denoiser(x, t, Condition(classes=y)), denoiser(x, t, Condition(classes=y)))
    assert denoiser.null == 10
    assert model.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.num_embeddings == 11


def test_no_block_of_a_stored_generator_drops_labels_in_training() -> None:
    loaded = _stored(generator())
    x, t = torch.randn(64, *loaded.shape), torch.full((64,), 10)
    condition = loaded.condition(np.zeros(64, dtype=np.int64))
    with torch.no_grad():
        still = loaded.denoiser(x, t, condition)
        loaded.denoiser.module.train()
        # The configuration does not hold it: diffusers builds the transformer anew with its own drop.
        assert torch.equal(loaded.denoiser(x, t, condition), still)
    assert not torch.allclose(loaded.denoiser(x, t, loaded.null_condition(64)), still, atol=1e-2)


def _stored(made: Generator) -> Generator:
    """The generator after a way through bytes."""
    names = ("scheduler", "classes", "class_ids", "size", "channels")
    facts = {name: getattr(made, name) for name in names}
    return from_bytes(to_bytes(*pack_generator(made.denoiser.module, made.autoencoder, facts)))


def test_a_batch_drops_the_share_of_labels_and_walks_every_row_once_per_epoch() -> None:
    recipe = replace(TINY, batch=50)
    labels = torch.arange(200) % 2
    batches = [draw(n, labels, 1, (1, 2, 2), recipe, 2, 0) for n in range(40)]
    first = torch.cat([batch.rows for batch in batches[:4]])
    assert sorted(first.tolist()) == list(range(200))
    assert not torch.equal(first, torch.cat([batch.rows for batch in batches[4:8]]))
    given = torch.cat([batch.labels for batch in batches])
    kept = given != 2
    # 2,000 draws at .1: three standard deviations are .02.
    assert abs(float((~kept).float().mean()) - 0.1) < 0.02
    assert torch.equal(given[kept], labels[torch.cat([batch.rows for batch in batches])][kept])
    times = torch.cat([batch.timesteps for batch in batches])
    assert 0 <= int(times.min()) < 50
    assert 950 < int(times.max()) < 1000
    assert not torch.equal(batches[0].noise, batches[1].noise)
    assert {int(v) for b in batches for v in b.views} == {0}
    assert {int(v) for v in draw(0, labels, 2, (1, 2, 2), recipe, 2, 0).views} == {0, 1}


def test_the_order_of_an_epoch_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(length: int, seed: int, *stream: randomness.Stream) -> np.ndarray:
        seen.append(int(stream[-1]))
        return permutation(length, seed, *stream)

    permutation = randomness.permutation
    monkeypatch.setattr(randomness, "permutation", counted)
    recipe, labels, seed = replace(TINY, batch=30), torch.arange(200) % 2, 12345
    batches = [draw(n, labels, 1, (1, 2, 2), recipe, 2, seed) for n in range(20)]
    # Three epochs of 200 in twenty batches, two of which lie in two of them; at 1.28 million rows each takes .15 s.
    assert seen == [0, 1, 2]
    expected = np.concatenate([permutation(200, seed, "generator", "order", epoch) for epoch in range(3)])
    assert torch.cat([batch.rows for batch in batches]).tolist() == expected.tolist()
    # Another seed's order is another one, and coming back to the first gives the same batch.
    assert not torch.equal(draw(0, labels, 1, (1, 2, 2), recipe, 2, seed + 1).rows, batches[0].rows)
    assert torch.equal(draw(0, labels, 1, (1, 2, 2), recipe, 2, seed).rows, batches[0].rows)


def test_the_average_rises_to_its_decay() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    averaged = Averaged(model, 0.5)
    nn.init.ones_(model.weight)
    averaged.update(model)
    # min(.5, 2 / 11) of zero and the rest of one.
    assert float(averaged.values["weight"]) == pytest.approx(1 - 2 / 11)
    for _ in range(100):
        averaged.update(model)
    assert float(averaged.values["weight"]) == pytest.approx(1.0)


def test_the_rate_ramps_holds_and_falls() -> None:
    recipe = replace(TINY, iterations=100, warmup=10, cooldown=0.2, learning_rate=1.0)
    assert [round(rate_at(n, recipe), 6) for n in (0, 9, 50, 80, 90, 99)] == [0.1, 1.0, 1.0, 1.0, 0.5, 0.05]


def test_a_network_that_says_nothing_has_loss_one() -> None:
    # Zero output layers: the first loss is the mean square of the noise.
    recipe = replace(TINY, iterations=1, batch=64)
    latents, labels = torch.zeros(1, 4, 1, 8, 8), torch.zeros(4, dtype=torch.long)
    model = build_transformer(recipe, (1, 8, 8), 2, 0)
    _, losses = train_denoiser(model, latents, labels, recipe, scheduler_config(recipe), 0)
    assert losses[0] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("recipe", [replace(TINY, iterations=40), replace(LATENT, iterations=40)])
def test_a_killed_training_ends_bit_identically(recipe: GeneratorRecipe) -> None:
    images = _images(size=16 if recipe.space == "latents" else 8)
    undisturbed = _train(recipe, images)
    place = MemoryCheckpoints(die_after=10)
    with pytest.raises(Killed):
        _train(recipe, images, place)
    at = place.saves
    place.die_after = None
    resumed = _train(recipe, images, place)
    assert 0 < at < place.saves
    for name, value in undisturbed.transformer.state_dict().items():
        assert torch.equal(value, resumed.transformer.state_dict()[name]), name
    assert np.array_equal(undisturbed.losses["denoiser"], resumed.losses["denoiser"])
    if recipe.space == "latents":
        ours, theirs = undisturbed.autoencoder, resumed.autoencoder
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
        assert ours.config["scaling_factor"] == theirs.config["scaling_factor"]
        assert np.array_equal(undisturbed.losses["autoencoder"], resumed.losses["autoencoder"])


def test_an_autoencoder_killed_in_the_middle_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    images = _images(size=16)
    undisturbed = _train(LATENT, images)
    place = MemoryCheckpoints(die_after=2)
    with pytest.raises(Killed):
        _train(LATENT, images, place)
    assert place.state is not None
    assert "autoencoder_iteration" in place.state
    place.die_after = None
    resumed = _train(LATENT, images, place)
    pairs = zip(undisturbed.autoencoder.parameters(), resumed.autoencoder.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_latents_have_deviation_one() -> None:
    made = _train(LATENT, _images(64, size=16))
    signed = torch.from_numpy(_images(64, size=16).images).permute(0, 3, 1, 2) / 127.5 - 1
    raw = made.autoencoder.encode(signed).latent_dist.mode()
    # The default .18215 belongs to Stable Diffusion's autoencoder and would leave these latents at another level.
    assert float((raw * made.autoencoder.config["scaling_factor"]).std()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("recipe", [TINY, LATENT])
def test_a_stored_generator_is_the_same_generator(recipe: GeneratorRecipe) -> None:
    images = _images(size=16 if recipe.space == "latents" else 8)
    made = _train(recipe, images)
    size = images.images.shape[1]
    facts = {"scheduler": made.scheduler, "classes": ["a", "b"], "class_ids": [0, 1], "size": size, "channels": 1}
    data = to_bytes(*pack_generator(made.transformer, made.autoencoder, facts))
    assert data == to_bytes(*pack_generator(made.transformer, made.autoencoder, facts))
    loaded = from_bytes(data)
    x, t = torch.randn(2, *loaded.shape), torch.tensor([3, 4])
    condition = loaded.condition(np.array([1, 0]))
    assert torch.equal(loaded.denoiser(x, t, condition), Denoiser(made.transformer)(x, t, condition))
    assert not any(parameter.requires_grad for parameter in loaded.denoiser.module.parameters())
    state, metadata = pack_generator(made.transformer, made.autoencoder, facts)
    state.pop("transformer.proj_out_1.weight")
    with pytest.raises(InputError, match="transformer does not fit"):
        from_bytes(to_bytes(state, metadata))


def test_images_are_brought_to_another_size_and_depth() -> None:
    colour = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    colour[..., 1] = 255
    grey = brought_to(colour, 2, 1)
    # Luma of pure green: .587 * 255.
    assert grey.shape == (2, 2, 2, 1)
    assert set(grey.reshape(-1).tolist()) == {150}
    assert brought_to(colour, 4, 3) is colour
    assert brought_to(grey, 4, 3).shape == (2, 4, 4, 3)


def test_sides_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="do not divide"):
        latent_shape(replace(LATENT, autoencoder_channels=(8, 16, 16)), 14, 1)
    with pytest.raises(InputError, match="no multiple of 3 heads"):
        build_transformer(replace(TINY, heads=3), (1, 8, 8), 2, 0)


@pytest.mark.parametrize(("channels", "groups"), [((32, 48, 64), 16), ((24, 48), 24), ((8, 16), 8), ((128, 64), 32)])
def test_an_autoencoder_of_any_widths_has_groups_that_divide_them(channels: tuple[int, ...], groups: int) -> None:
    made = build_autoencoder(replace(LATENT, autoencoder_channels=channels), 16, 1, 0)
    assert made.config["norm_num_groups"] == groups


def test_the_named_recipes_keep_their_groups() -> None:
    for name, recipe in RECIPES.items():
        with torch.device("meta"):
            groups = build_autoencoder(recipe, 32, 3, 0).config["norm_num_groups"]
        assert groups == min(32, *recipe.autoencoder_channels), name
