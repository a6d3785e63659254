"""Generators that follow prompts: words as numbers, captions from images, training, storage.

Belongs here: diffusion/text.py, captions.py, wording.py and what they change in training and weights. Does not belong:
prompt banks (tests/methods/test_prism_dfkd.py).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dd_assets.datasets.arrays import ImageArrays
from dd_assets.diffusion.captions import captions_of, embedded, measure, outstanding
from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.generate import sample_rows
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.producing import Named, Produced, train_generator
from dd_assets.diffusion.recipes import RECIPES
from dd_assets.diffusion.text import HashedText, SentenceText, ngrams
from dd_assets.diffusion.weights import from_bytes, pack_generator, to_bytes
from dd_assets.diffusion.wording import CONTENT, STYLE, compose, definitions, measured_words
from dd_assets.errors import InputError
from dd_assets.planning.digests import plain
from tests.diffusion.tiny import TINY, rows
from tests.models.interruption import Killed, MemoryCheckpoints

TEXT = dataclasses.replace(TINY, width=8, heads=2, layers=1, reads="text", iterations=6)


def test_words_and_neighbours_within_a_phrase() -> None:
    assert ngrams("Leaning left, dark") == ["dark", "leaning", "leaning left", "left"]
    # No pair reaches over a comma, so the order of phrases is nothing.
    assert ngrams("dark, leaning left") == ngrams("leaning left, dark")
    assert ngrams("left leaning") != ngrams("leaning left")
    assert ngrams(" , ") == []


def test_the_hashed_encoder_is_fixed_and_of_unit_variance() -> None:
    encode = HashedText()
    found = encode(["a dark 3", "a dark 8", "", "a dark 3"])
    assert found.shape == (4, 1, 128)
    assert torch.equal(found[0], found[3])
    assert found[2].abs().max() == 0
    torch.testing.assert_close(found[[0, 1, 3]].square().mean(dim=2), torch.ones(3, 1))
    # Pinned: another projection would make every stored generator deaf.
    expected = torch.tensor(PINNED)
    torch.testing.assert_close(encode(["crane"])[0, 0, :3], expected, atol=1e-4, rtol=0)
    similar = torch.nn.functional.cosine_similarity
    shared, strange = similar(found[0], found[1]).item(), similar(found[0], encode(["wide ring"])[0]).item()
    # Three of five n-grams shared; none.
    assert shared == pytest.approx(0.6, abs=0.15)
    assert abs(strange) < 0.25


PINNED = [0.3550, -0.6736, -1.5407]


def _strokes() -> np.ndarray:
    """A stroke like /, one like \\, an upright one and a wide bar, uint8 (4, 8, 8, 1)."""
    images = np.zeros((4, 8, 8, 1), dtype=np.uint8)
    for step in range(8):
        images[0, step, 7 - step] = 200
        images[1, step, step] = 200
        images[2, step, 4] = 200
        images[3, 4, step] = 250
    return images


def test_axes_point_the_way_their_words_say() -> None:
    axes = measure(_strokes())
    # By hand: a diagonal of 8 has covariance ± mean((i - 3.5)²) = ± 5.25; rows count downwards, so / leans right.
    assert axes["slant"].round(6).tolist() == [5.25, -5.25, 0, 0]
    np.testing.assert_allclose(axes["spread"], [5.25**0.5, 5.25**0.5, 0, 5.25**0.5], atol=1e-6)
    np.testing.assert_allclose(axes["tone"], [200 / 255 / 8] * 3 + [250 / 255 / 8], rtol=1e-6)
    assert CONTENT["slant"] == ("leaning left", "leaning right")
    labels = np.zeros(4, dtype=np.int64)
    said = outstanding(axes, labels, {"slant": CONTENT["slant"]})
    assert said[:2].tolist() == ["leaning right", "leaning left"]
    warm = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    warm[0, ..., 0] = 255
    assert measure(warm)["warmth"].tolist() == [1, 0]


def test_images_are_compared_with_their_own_class() -> None:
    # All of class 1 are brighter than all of class 0; "dark" and "bright" are still said in both.
    levels = np.array([10, 20, 30, 200, 210, 220], dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (6, 4, 4, 1)).copy()
    labels = np.array([0, 0, 0, 1, 1, 1])
    said = outstanding(measure(images), labels, {"tone": STYLE["tone"]})
    assert said[[0, 2, 3, 5]].tolist() == ["dark", "bright", "dark", "bright"]


def test_every_image_has_eight_captions_and_a_mirrored_one_leans_the_other_way() -> None:
    train = ImageArrays(_strokes(), np.zeros(4, dtype=np.int64))
    made = captions_of(train, ("old_bar",), ("a straight line",))
    assert made.shape == (4, 8)
    assert made[0, 0] == "old bar"
    assert made[0, 4] == "old bar, a straight line"
    assert all(word in compose(*measured_words(1)[0], *measured_words(1)[1]) for word in made[0, 3].split(", ")[1:])
    both = embedded(train, 2, ("old_bar",), ("a straight line",), HashedText())
    flipped = captions_of(ImageArrays(_strokes()[:, :, ::-1], train.labels), ("old_bar",), ("a straight line",))
    texts = np.unique(np.stack([made, flipped]))
    assert both.table.shape == (len(texts) + 1, 1, 128)
    assert both.table[-1].abs().max() == 0
    plain, mirrored = (texts[both.ids[view, 0].numpy()] for view in (0, 1))
    assert plain[2] == "old bar, leaning right"
    assert mirrored[2] == "old bar, leaning left"


def test_a_dropped_label_has_the_empty_prompt() -> None:
    train = ImageArrays(_strokes(), np.zeros(4, dtype=np.int64))
    made = embedded(train, 1, ("bar",), ("",), HashedText())
    views, chosen, dropped = (
        torch.zeros(4, dtype=torch.int64),
        torch.arange(4),
        torch.tensor([False, True, False, True]),
    )
    text = made.condition(views, chosen, dropped, 3, 0).text
    assert text is not None
    assert text[dropped].abs().max() == 0
    assert (text[~dropped].abs().amax(dim=(1, 2)) > 0).all()
    again = made.condition(views, chosen, dropped, 3, 0).text
    assert again is not None
    assert torch.equal(text, again)


def _bright_or_dark(count: int = 64) -> ImageArrays:
    """Two classes that only their level tells apart."""
    labels = np.arange(count) % 2
    images = np.where(labels[:, None, None, None] == 1, 240, 15) + np.arange(count)[:, None, None, None] % 8
    return ImageArrays(np.broadcast_to(images, (count, 8, 8, 1)).astype(np.uint8), labels)


def _trained(place: MemoryCheckpoints | None = None, **changes: float) -> Produced:
    named = Named(classes=("night", "day"), definitions=("", "the light half"), encoder=HashedText())
    recipe = dataclasses.replace(TEXT, **changes)  # type: ignore[arg-type]
    return train_generator(
        _bright_or_dark(), recipe, classes=2, size=8, channels=1, seed=0, checkpoints=place, named=named
    )


def _stored(made: Produced) -> bytes:
    facts = {"scheduler": made.scheduler, "classes": ["night", "day"], "class_ids": [], "size": 8, "channels": 1}
    return to_bytes(*pack_generator(made.transformer, made.autoencoder, {**facts, "text": {}}))


@pytest.fixture(scope="module")
def learnt() -> Generator:
    return from_bytes(_stored(_trained(iterations=600, batch=32, learning_rate=4e-3, ema=0.9)))


@pytest.mark.slow
def test_a_generator_does_what_the_prompt_says(learnt: Generator) -> None:
    sampling = Sampling(steps=10, condition="text", guidance_scale=1.5, batch=20)
    batch = rows(20, 2)
    by_class = sample_rows(learnt, batch, sampling, 0).mean(dim=(1, 2, 3)).numpy()
    assert by_class[batch.labels == 1].mean() > by_class[batch.labels == 0].mean() + 0.8
    # The same rows, asked for the other thing.
    swapped = (
        sample_rows(learnt, batch, sampling, 0, own_prompts=lambda asked: [("day", "night")[c] for c in asked.labels])
        .mean(dim=(1, 2, 3))
        .numpy()
    )
    assert swapped[batch.labels == 0].mean() > swapped[batch.labels == 1].mean() + 0.8


def test_a_stored_generator_is_the_same_and_asks_for_text() -> None:
    made = _trained()
    data = _stored(made)
    assert data == _stored(made)
    x, text = torch.ones(1, 1, 8, 8), HashedText()(["day"])
    loaded = from_bytes(data)
    assert loaded.denoiser.reads_text
    with pytest.raises(InputError, match="reads text, no class ids"):
        loaded.condition(np.zeros(1, dtype=np.int64))
    with torch.no_grad():
        direct = made.transformer(x, torch.tensor([300]), encoder_hidden_states=text, return_dict=False)[0]
        assert torch.equal(loaded.noise(x, 300, loaded.condition(np.array([1]), ["day"])), direct)
    assert direct.abs().max() > 0


def test_a_killed_training_goes_on_bit_identically() -> None:
    whole, place = _stored(_trained()), MemoryCheckpoints(die_after=2)
    with pytest.raises(Killed):
        _trained(place)
    assert _stored(_trained(place)) == whole


def test_a_sentence_encoder_comes_from_a_folder_or_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dark", "wide"]))
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    config = BertConfig(vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(tmp_path / "bert", safe_serialization=True)
    with pytest.raises(InputError, match=r"lacks tokenizer_config\.json"):
        SentenceText(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    encode = SentenceText(tmp_path / "bert")
    found = encode(["dark", "dark wide", ""])
    assert found.shape == (3, 1, encode.width)
    # Padding takes no part in the mean: "dark" alone has the vector that it has beside a longer prompt.
    torch.testing.assert_close(found[0], encode(["dark"])[0], atol=1e-5, rtol=1e-4)
    assert found[2].abs().max() == 0
    pooling = tmp_path / "bert" / "1_Pooling" / "config.json"
    pooling.parent.mkdir()
    pooling.write_text('{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}')
    SentenceText(tmp_path / "bert")
    pooling.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    with pytest.raises(InputError, match=r"another pooling than the mean .*1_Pooling/config\.json"):
        SentenceText(tmp_path / "bert")


def test_definitions_belong_to_a_dataset_and_contain_no_comma() -> None:
    digits = definitions("digits", tuple("0123456789"))
    assert digits == definitions("mnist", tuple("0123456789"))
    assert len(set(digits)) == 10
    assert not any("," in text for text in digits)
    assert definitions("imagenet1k", ("crane", "crane bird", "tench")) != ("", "", "")
    assert definitions("nobody's", ("crane",)) == ("",)


def test_recipes_by_class_keep_their_digests() -> None:
    # What a recipe gained must not retrain every generator in people's stores.
    assert not {"reads", "text_encoder"} & set(plain(RECIPES["digits"]))
    assert plain(RECIPES["digits_text"])["reads"] == "text"
