"""Minimax's terms, memories, DiffFit and the fine-tuning loop, on worked examples and tiny generators.

Belongs here: minimax.py, difffit.py, finetuning.py. Does not belong: the asset (test_fine_tuned_stages.py), quality.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.denoisers import Condition, Denoiser
from dd_assets.diffusion.difffit import Subset, choose
from dd_assets.diffusion.finetuning import FineTuned, denoised, fine_tune
from dd_assets.diffusion.folders import load_folder
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.minimax import Memories, diversity, representativeness
from dd_assets.diffusion.registry import FineTuning
from dd_assets.diffusion.training import draw
from dd_assets.diffusion.weights import from_bytes, pack_generator, to_bytes
from dd_assets.errors import InputError
from tests.diffusion.tiny import LATENT, dit_folder, generator
from tests.models.interruption import Killed, MemoryCheckpoints

QUICK = FineTuning(iterations=40, batch=8, memory=4, learning_rate=1e-3, ema=0.5)
EAST, NORTH = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
BETWEEN = torch.tensor([0.6, 0.8])


def _maps(*rows: torch.Tensor) -> torch.Tensor:
    """Rows (d,) as latents (n, 1, 1, d)."""
    return torch.stack(rows)[:, None, None]


def _images(count: int = 24, size: int = 8, channels: int = 1, classes: int = 2) -> ImageArrays:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    return ImageArrays(images, np.arange(count) % classes)


def _tuned(base: Generator, recipe: FineTuning = QUICK, place: MemoryCheckpoints | None = None, **words) -> FineTuned:
    return fine_tune(base, words.get("train", _images()), recipe, 0, hflip=words.get("hflip", False), checkpoints=place)


def test_the_pair_that_is_furthest_apart_represents_and_the_nearest_one_repeats() -> None:
    predicted, memory = torch.stack([EAST, NORTH]), torch.stack([2 * EAST, BETWEEN])
    # Cosines: 1, .6 (of EAST), 0, .8 (of NORTH). min(1 - cos), the slip, would be 0: it looks at the nearest pair.
    assert float(representativeness(predicted, memory)) == pytest.approx(1 - 0.0)
    # Lengths do not count: an inner product would find 2.
    assert float(diversity(predicted, memory)) == pytest.approx(1.0)
    assert float(diversity(predicted[1:], memory)) == pytest.approx(0.8)
    # The paper's mean of each row's own lowest cosine would be 1 - (.6 + 0) / 2.
    assert float(representativeness(predicted[:1], memory)) == pytest.approx(0.4)


def test_gradients_pull_to_real_latents_and_push_from_earlier_predictions() -> None:
    x = BETWEEN.clone().requires_grad_()
    (pull,) = torch.autograd.grad(representativeness(x[None], EAST[None]), x)
    (push,) = torch.autograd.grad(diversity(x[None], EAST[None]), x)
    # Down the first is towards EAST, down the second away from it.
    assert float(-pull @ EAST) > 0 > float(-push @ EAST)


def test_terms_are_means_over_the_classes_of_the_batch_also_those_without_a_memory() -> None:
    memories = Memories(64)
    memories.remember(_maps(EAST), _maps(NORTH), np.array([0]))
    close, apart = memories.terms(_maps(BETWEEN, EAST), np.array([0, 1]))
    # Class 0: 1 - .6 and .8; class 1 is new, adds 0 and counts. A mean over classes with a memory would be twice that.
    assert float(close) == pytest.approx(0.4 / 2)
    assert float(apart) == pytest.approx(0.8 / 2)


def test_a_first_batch_has_no_terms_and_meets_itself_only_afterwards() -> None:
    memories, batch, labels = Memories(64), _maps(EAST, NORTH), np.array([0, 1])
    assert [float(term) for term in memories.terms(batch, labels)] == [0.0, 0.0]
    memories.remember(batch, batch, labels)
    # Remembered before its terms, every prediction would have had a cosine of 1 with itself from the start.
    assert float(memories.terms(batch, labels)[1]) == pytest.approx(1.0)


def test_memories_are_queues_without_a_graph() -> None:
    memories = Memories(3)
    for step in range(5):
        rows = torch.full((1, 1, 1, 2), float(step), requires_grad=True) * 1
        memories.remember(rows, rows + 10, np.array([7]))
    assert memories.real[7][:, 0].tolist() == [2.0, 3.0, 4.0]
    assert memories.predicted[7][:, 0].tolist() == [12.0, 13.0, 14.0]
    # With their graphs they would keep every past iteration alive.
    assert not memories.real[7].requires_grad
    assert not memories.predicted[7].requires_grad
    again = Memories(3)
    again.unpack(memories.pack(), "cpu")
    assert torch.equal(again.real[7], memories.real[7])
    assert torch.equal(again.predicted[7], memories.predicted[7])


def test_the_terms_see_the_unclipped_clean_sample_of_the_predicted_noise() -> None:
    made = generator()
    batch = draw(3, torch.arange(20) % 10, 1, made.shape, QUICK, made.denoiser.null, 0)
    clean = torch.randn(8, *made.shape)
    _, predicted = denoised(made.denoiser, clean, batch, made)
    alpha = torch.from_numpy(made.schedule(1).alpha_bars).float()[batch.timesteps][:, None, None, None]
    noisy = alpha**0.5 * clean + (1 - alpha) ** 0.5 * batch.noise
    eps = made.denoiser(noisy, batch.timesteps, Condition(classes=batch.labels))
    # What gives x_t back with this ε; pixels, too, are not clipped, which would end every gradient beyond [-1, 1].
    torch.testing.assert_close(alpha**0.5 * predicted + (1 - alpha) ** 0.5 * eps, noisy, rtol=1e-4, atol=1e-4)
    assert float(predicted.abs().max()) > 1.5


def test_difffit_moves_biases_class_embeddings_and_scales_alone() -> None:
    made = generator()
    before = {name: value.clone() for name, value in made.denoiser.module.state_dict().items()}
    tuned = _tuned(made, replace(QUICK, trained="difffit"))
    after = tuned.transformer.state_dict()
    assert set(after) == set(before)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    folded = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.2")
    weights = {name for name in moved if name.endswith("weight")}
    # One of two blocks has scales, which end up in its weights. The modulation's weight (norm1.linear) is not DiT's
    # "norm": choosing it by that word would train a third of the network.
    tables = {f"transformer_blocks.{n}.norm1.emb.class_embedder.embedding_table.weight" for n in (0, 1)}
    assert weights == {f"transformer_blocks.0.{layer}.weight" for layer in folded} | tables
    assert "transformer_blocks.1.attn1.to_q.bias" in moved
    assert tuned.trained < sum(value.numel() for value in before.values()) / 2
    for name, value in made.denoiser.module.state_dict().items():
        assert torch.equal(value, before[name]), "the base itself must stay"


def test_folded_scales_answer_as_the_scaled_layers_did() -> None:
    module = copy.deepcopy(generator().denoiser.module)
    scales = choose(module, "difffit")
    assert scales is not None
    names = Subset(module).state_dict()
    gammas = [name for name in names if name.endswith(("gamma", "gamma_block"))]
    # Queries, keys, values, twice the output of the attention, once that of the other branch.
    assert len(gammas) == 6
    torch.manual_seed(0)
    for name, value in module.named_parameters():
        if name.rsplit(".", 1)[-1].startswith("gamma"):
            torch.nn.init.uniform_(value, 0.5, 1.5)
    x, t, y = torch.randn(2, 1, 8, 8), torch.tensor([10, 500]), Condition(classes=torch.tensor([1, 2]))
    with torch.no_grad():
        scaled = Denoiser(module)(x, t, y)
        scales.fold()
        torch.testing.assert_close(Denoiser(module)(x, t, y), scaled, rtol=1e-4, atol=1e-5)
    assert not any("gamma" in name for name in module.state_dict())


@pytest.mark.parametrize("trained", ["all", "difffit"])
def test_a_killed_fine_tuning_ends_bit_identically(trained: str) -> None:
    made, recipe = generator(), replace(QUICK, trained=trained)
    whole = _tuned(made, recipe)
    place = MemoryCheckpoints(die_after=7)
    with pytest.raises(Killed):
        _tuned(made, recipe, place)
    at, place.die_after = place.saves, None
    rest = _tuned(made, recipe, place)
    assert 0 < at < place.saves
    for name, value in whole.transformer.state_dict().items():
        assert torch.equal(value, rest.transformer.state_dict()[name]), name
    # The memories came back too: without them the terms would begin at 0 again.
    for name, values in whole.losses.items():
        assert np.array_equal(values, rest.losses[name]), name


def test_the_loop_begins_without_terms_and_moves_what_they_measure() -> None:
    labels = np.arange(24) % 2
    greys = np.where(labels == 0, 220, 40)[:, None, None, None]
    noisy = greys + np.random.default_rng(0).integers(-20, 20, (24, 8, 8, 1))
    made, train = generator(), ImageArrays(noisy.astype(np.uint8), labels)
    plain, pulled, pushed = (
        _tuned(
            made,
            replace(QUICK, iterations=60, learning_rate=3e-3, representativeness=close, diversity=apart),
            train=train,
        ).losses
        for close, apart in ((0.0, 0.0), (5.0, 0.0), (0.0, 1.0))
    )
    assert plain["representativeness"][0] == plain["diversity"][0] == 0
    assert (plain["diversity"][1:] != 0).all()

    def ends(losses: Mapping[str, np.ndarray], name: str) -> float:
        return float(losses[name][-20:].mean())

    # Measured on the same batches: .847 where it is only watched and .471 where it is minimised, .748 and .641.
    assert ends(pulled, "representativeness") < ends(plain, "representativeness") - 0.2
    assert ends(pushed, "diversity") < ends(plain, "diversity") - 0.05


def test_a_short_fine_tuning_is_not_averaged_away() -> None:
    made = generator()

    def moved(ema: float) -> float:
        own, base = _tuned(made, replace(QUICK, ema=ema)).transformer.state_dict(), made.denoiser.module.state_dict()
        return sum(float((own[name] - value).abs().sum()) for name, value in base.items())

    # After 40 steps .9999 still holds .996 of where it began: sampling would show the base.
    assert moved(0.9999) < 0.02 * moved(0.5)


def test_memories_are_keyed_by_the_datasets_label_and_the_network_asked_by_its_own() -> None:
    images = _images()
    counting_down = replace(generator(), class_ids=tuple(range(9, -1, -1)))
    other = _tuned(counting_down, replace(QUICK, iterations=3), train=images)
    own = _tuned(generator(), replace(QUICK, iterations=3), train=images)
    # Rows, noise and memories are the same; only the classes that the network is asked for differ.
    assert other.losses["denoiser"][0] != own.losses["denoiser"][0]
    asked = {name for name, value in other.transformer.state_dict().items() if "class_embedder" in name}
    table = sorted(asked)[0]
    untouched = generator().denoiser.module.state_dict()[table]
    rows = (other.transformer.state_dict()[table] != untouched).any(1).nonzero().flatten().tolist()
    # Labels 0 and 1 are this generator's 9 and 8; 10 is the null class, where the label was dropped.
    assert set(rows) - {10} == {8, 9}


def test_memories_know_an_images_class_also_where_its_label_was_dropped() -> None:
    train = _images()
    greys = np.where(train.labels == 0, 220, 40)[:, None, None, None]
    train = ImageArrays(np.broadcast_to(greys, train.images.shape).astype(np.uint8), train.labels)
    place, counting_down = MemoryCheckpoints(), replace(generator(), class_ids=tuple(range(9, -1, -1)))
    losses = _tuned(counting_down, replace(QUICK, iterations=2, label_drop=1.0), place, train=train).losses
    assert place.state is not None
    # The network was asked for the null class 10 in every row; labels 0 and 1 are its classes 9 and 8.
    kept = {name: values for name, values in place.state.items() if name.startswith("memory/")}
    assert set(kept) == {f"memory/{which}/{label}" for which in ("real", "predicted") for label in (0, 1)}
    assert np.allclose(kept["memory/real/0"], 220 / 127.5 - 1, atol=1e-6)
    assert np.allclose(kept["memory/real/1"], 40 / 127.5 - 1, atol=1e-6)
    # Under the null class nothing would have been found in them.
    assert losses["representativeness"][1] != 0
    assert losses["diversity"][1] != 0


def test_labels_are_dropped_by_the_batch_alone_wherever_the_base_came_from(tmp_path: Path) -> None:
    train, recipe = _images(size=16, channels=3, classes=10), replace(QUICK, iterations=5, label_drop=0.0)
    saved = dit_folder(tmp_path / "dit")
    names = ("scheduler", "classes", "class_ids", "size", "channels")
    facts = {name: getattr(saved, name) for name in names}
    stored = from_bytes(to_bytes(*pack_generator(saved.denoiser.module, saved.autoencoder, facts)))
    loaded = load_folder(tmp_path / "dit", classes=saved.classes, class_ids=saved.class_ids, size=16, channels=3)
    wanted = _tuned(saved, recipe, train=train)
    table = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
    for base in (saved, stored, loaded):
        made = _tuned(base, recipe, train=train)
        # A drop of the blocks' own would come from torch's global stream, another one each time.
        assert np.array_equal(made.losses["denoiser"], wanted.losses["denoiser"])
        assert torch.equal(made.transformer.state_dict()[table][10], saved.denoiser.module.state_dict()[table][10])


def test_images_are_mirrored_only_where_recipe_and_setting_say_so() -> None:
    made = generator()
    first = [_tuned(made, replace(QUICK, iterations=1, hflip=r), hflip=s).losses["denoiser"][0] for r, s in _FLIPS]
    assert first[0] == first[1] == first[2] != first[3]


def test_class_ids_of_all_images_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from dd_assets.diffusion import finetuning

    given: list[torch.Tensor] = []
    monkeypatch.setattr(finetuning, "draw", lambda n, labels, *rest: (given.append(labels), draw(n, labels, *rest))[1])
    made = replace(generator(), class_ids=tuple(range(9, -1, -1)))
    _tuned(made, replace(QUICK, iterations=3))
    assert len(given) == 3
    # A look-up of 1.28 million ids in every iteration would be another tensor each time.
    assert all(labels is given[0] for labels in given)
    assert given[0].tolist() == [9 - label for label in _images().labels]


_FLIPS = ((False, False), (False, True), (True, False), (True, True))


def test_latents_of_an_autoencoder_are_fine_tuned_as_pixels_are() -> None:
    made = generator(LATENT, classes=2, size=16, channels=3)
    tuned = _tuned(made, replace(QUICK, iterations=2), train=_images(size=16, channels=3))
    assert np.isfinite(tuned.losses["denoiser"]).all()
    assert not any(parameter.requires_grad for parameter in tuned.transformer.parameters())


def test_what_cannot_be_fine_tuned_is_refused() -> None:
    made = generator()
    made.scheduler = {**made.scheduler, "prediction_type": "v_prediction"}
    with pytest.raises(InputError, match="predicts epsilon, not v_prediction"):
        _tuned(made)
    made = generator()
    made.denoiser.reads_text = True
    with pytest.raises(InputError, match="this one reads text"):
        _tuned(made)
    with pytest.raises(InputError, match="not finite"):
        _tuned(generator(), replace(QUICK, learning_rate=1e30))
