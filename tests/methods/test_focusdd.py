"""FocusDD: importance, windows, ranking, mosaics, refusals (reference 12, traps 1 to 5).

Belongs here: focusdd's synthesis and recipe, and synthesis/attention_patches.py. Does not belong: attention by itself
(tests/models/test_attention.py).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.errors import InputError
from dd_assets.methods.contract import Facts
from dd_assets.methods.focusdd import synthesis
from dd_assets.methods.focusdd.recipe import MOSAIC, Parameters, refuse
from dd_assets.methods.focusdd.synthesis import importance, synthesise
from dd_assets.methods.registry import method
from dd_assets.models.architectures import build_model
from dd_assets.models.attention import Attended
from dd_assets.synthesis.attention_patches import best_window, spread, window_sums
from tests.methods.requests import request
from tests.models.digits import NORMALISATION, digits, facts

GREY = Facts(
    setting="grey",
    classes=("dark", "light"),
    train_counts=(12, 12),
    size=8,
    channels=1,
    normalisation=Normalisation(mean=(0.25,), std=(0.5,)),
    hflip=True,
    committee=("vit_micro",),
)


def looks_at_brightness() -> VisionTransformer:
    """One block whose class token looks at patches by exp(sqrt(2) level); two equal logits.

    Width 2: a patch's token is (twice its mean normalised level, 0), the class token (0, 1); q = (the second entry, 0),
    k = (the first entry, 0). The product of the class token's query with a patch's key is that, times 1/sqrt(2).
    """
    model = VisionTransformer(img_size=8, patch_size=2, in_chans=1, num_classes=2, embed_dim=2, depth=1, num_heads=1)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    block = model.blocks[0]
    block.norm1 = nn.Identity()
    with torch.no_grad():
        model.patch_embed.proj.weight[0] = 2 / 4
        model.cls_token[0, 0, 1] = 1
        block.attn.qkv.weight[0, 1] = 1
        block.attn.qkv.weight[2, 0] = 1
    return model.eval().requires_grad_(False)


def planted(*places: tuple[int, int]) -> np.ndarray:
    """8x8 images of level 20, uint8 (n, 8, 8, 1), each with four bright patches whose first is at (row, column)."""
    images = np.full((len(places), 8, 8, 1), 20, dtype=np.uint8)
    for image, (row, column) in zip(images, places, strict=True):
        image[2 * row : 2 * row + 4, 2 * column : 2 * column + 4] = 250
    return images


def test_bright_patches_are_found_where_they_are() -> None:
    # Four of 4x4 patches of 2 px; row and column differ, so that a transposed map or one that begins with the class
    # token gives another window.
    pixels = torch.from_numpy(planted((1, 2), (2, 0), (0, 1))).permute(0, 3, 1, 2).float() / 255
    maps = importance(looks_at_brightness(), (pixels - 0.25) / 0.5, label=1)
    top, left, score = best_window(maps, 4)
    assert torch.stack([top, left], dim=1).tolist() == [[2, 4], [4, 0], [0, 2]]
    # By hand: levels 20 and 250 are -.343 and 1.461 normalised; 4 patches of one, 12 of the other, a class token at 0.
    dark, light = (np.exp(2 * (level / 255 - 0.25) / 0.5 / np.sqrt(2)) for level in (20, 250))
    share = 4 * light / (4 * light + 12 * dark + 1)
    np.testing.assert_allclose(score.numpy(), share / 2, rtol=1e-5)
    np.testing.assert_allclose(maps.sum(dim=(1, 2)).numpy(), (1 - 1 / (4 * light + 12 * dark + 1)) / 2, rtol=1e-5)


def test_the_transformer_sees_normalised_images() -> None:
    # Without normalisation levels .078 and .98 would give a share of .526, not .790.
    result = _grey(Parameters(layout=("key",), window=0.5, mipc=12), 1, looks_at_brightness())
    dark, light = (np.exp(2 * (level / 255 - 0.25) / 0.5 / np.sqrt(2)) for level in (20, 250))
    expected = 4 * light / (4 * light + 12 * dark + 1) / 2
    np.testing.assert_allclose(result.columns["score"], expected, rtol=1e-5)
    raw_dark, raw_light = (np.exp(2 * level / 255 / np.sqrt(2)) for level in (20, 250))
    assert abs(2 * expected - 4 * raw_light / (4 * raw_light + 12 * raw_dark + 1)) > 0.1


def test_values_spread_over_their_pixels_and_keep_their_sum() -> None:
    values = torch.tensor([[[1.0, 2.0], [4.0, 8.0]]])
    even = spread(values, (2, 2), 4, 4)
    assert even[0, :, 0].tolist() == [0.25, 0.25, 1, 1]
    assert even[0, 0].tolist() == [0.25, 0.25, 0.5, 0.5]
    # A fifth row and column that no patch covers gets nothing; a map resized to 5 px would begin patch 1 at 2.5.
    odd = spread(values, (2, 2), 5, 5)
    torch.testing.assert_close(odd[:, :4, :4], even)
    assert odd[0, 4].tolist() == [0] * 5
    assert odd.sum() == 15
    # Each side has its own margin.
    assert spread(values, (3, 2), 7, 5).shape == (1, 7, 5)
    # Padded input: patches reach beyond the image.
    assert spread(values, (2, 2), 3, 3)[0, :, 2].tolist() == [0.5, 0.5, 2]


def test_window_sums_are_those_of_every_window() -> None:
    maps = torch.arange(24, dtype=torch.float64).sin().view(2, 3, 4)
    sums = window_sums(maps, 2)
    assert sums.shape == (2, 2, 3)
    for image in range(2):
        for row in range(2):
            for column in range(3):
                by_hand = maps[image, row : row + 2, column : column + 2].sum()
                torch.testing.assert_close(sums[image, row, column], by_hand)
    # Equal windows: the first in reading order, whatever rounding says.
    top, left, score = best_window(torch.full((1, 7, 7), 0.1, dtype=torch.float64), 3)
    assert (top.item(), left.item()) == (0, 0)
    torch.testing.assert_close(score, torch.tensor([0.9], dtype=torch.float64))
    whole = best_window(maps, 3)
    assert whole[0].tolist() == [0, 0]


class Fake(nn.Module):
    """Says how much it looks at each quadrant and what it believes, by the image's level alone."""


def _fake_attend(model: nn.Module, images: Tensor) -> Attended:
    """Level l of an image's first pixel (0 to 255): attention l / 255 on one quadrant, p(class 1) = 1 / 4 or 3 / 4.

    The quadrant is the top right one; even levels are believed to be class 1 with 3/4, odd ones with 1/4.
    """
    level = torch.round((images[:, 0, 0, 0] * 0.5 + 0.25) * 255)
    patches = torch.zeros(len(images), 2, 2, 2)
    # Two heads of different opinion, with mean l / 255.
    patches[:, 0, 0, 1], patches[:, 1, 0, 1] = 1.5 * level / 255, 0.5 * level / 255
    odds = torch.where(level % 2 == 0, torch.log(torch.tensor(3.0)), -torch.log(torch.tensor(3.0)))
    logits = torch.stack([torch.zeros(len(images)), odds], dim=1)
    return Attended(logits=logits, tokens=torch.zeros(len(images), 2, 5), patches=patches, patch=(4, 4))


def _levels() -> ImageArrays:
    """Constant images: class 0 of odd levels, class 1 of four even and eight odd levels, shuffled by nothing."""
    dark = np.arange(11, 131, 10)
    light = np.array([40, 60, 80, 20, 101, 111, 121, 131, 141, 151, 161, 181])
    levels = np.concatenate([dark, light]).astype(np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (24, 8, 8, 1)).copy()
    return ImageArrays(images, np.repeat(np.arange(2), 12))


def _grey(parameters: Parameters, ipc: int, model: nn.Module, train=None, **changes):
    chosen = train or (lambda: ImageArrays(planted(*[(1, 2)] * 24), np.repeat(np.arange(2), 12)))
    asked = request(parameters, ipc, facts=GREY, train=chosen, **changes)
    return synthesise(dataclasses.replace(asked, committee=lambda: {"vit_micro": model}))


def test_ranking_is_attention_times_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "attend", _fake_attend)
    result = _grey(Parameters(layout=("key",), mipc=12), 3, Fake(), _levels)
    # Class 1: 80 · 3/4 = 60, 181 / 4 = 45.25, 60 · 3/4 = 45. By attention alone it would be 181, 161, 151; by
    # probability alone 40, 60, 80.
    assert result.images[1::2, 0, 0, 0].tolist() == [80, 181, 60]
    np.testing.assert_allclose(result.columns["score"][1::2], np.array([60, 45.25, 45]) / 255, rtol=1e-6)
    assert result.columns["source_index"][1::2].tolist() == [14, 23, 13]
    # Class 0, all odd: p(class 0) = 3/4 throughout, so by level.
    assert result.images[::2, 0, 0, 0].tolist() == [121, 111, 101]
    assert result.columns["crop"].tolist() == [[0, 4, 4, 4]] * 6


def test_a_mosaic_holds_four_images_of_the_class_the_last_one_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "attend", _fake_attend)
    result = _grey(Parameters(mipc=12), 2, Fake(), _levels)
    assert result.labels.tolist() == [0, 1, 0, 1]
    # Class 0, ranks 0…7 are levels 121, 111, … 51; image 0 takes ranks 0, 2, 4, 6 and image 1 ranks 1, 3, 5, 7.
    assert result.images[0, ::4, ::4, 0].tolist() == [[121, 101], [81, 61]]
    assert result.images[2, ::4, ::4, 0].tolist() == [[111, 91], [71, 51]]
    assert [result.columns[f"crop_{cell}"][0].tolist() for cell in range(4)] == [[0, 4, 4, 4]] * 3 + [[0, 0, 8, 8]]
    # Class 1 scores: 60, 45.25, 45, 40.25, 37.75, 35.25, 32.75, 30.25 (levels 80, 181, 60, 161, 151, 141, 131, 121).
    sources = np.stack([result.columns[f"source_index_{cell}"] for cell in range(4)], axis=1)
    levels = _levels()
    assert levels.images[sources[1], 0, 0, 0].tolist() == [80, 60, 151, 131]
    assert (levels.labels[sources] == result.labels[:, None]).all()


def _digits(parameters: Parameters, ipc: int, seed: int = 0):
    model = build_model("vit_micro", classes=10, channels=1, size=8, seed=0).eval().requires_grad_(False)
    asked = request(parameters, ipc, seed=seed)
    return synthesise(dataclasses.replace(asked, committee=lambda: {"vit_micro": model}))


def test_recorded_boxes_reproduce_every_cell() -> None:
    result, train = _digits(Parameters(mipc=60), 2), digits()[0]
    for row, image in enumerate(result.images[..., 0]):
        for cell, kind in enumerate(MOSAIC):
            top, left, height, width = result.columns[f"crop_{cell}"][row]
            source = train.images[result.columns[f"source_index_{cell}"][row]][..., 0]
            assert train.labels[result.columns[f"source_index_{cell}"][row]] == result.labels[row]
            shown = image[4 * (cell // 2) :, 4 * (cell % 2) :][:4, :4]
            if kind == "key":
                np.testing.assert_array_equal(shown, source[top : top + height, left : left + width])
            else:
                assert (top, left, height, width) == (0, 0, 8, 8)
                # The antialiased half of an image keeps its mean; its top left quarter would not.
                assert abs(float(shown.mean()) - float(source.mean())) < 8


def test_draws_differ_and_repeat_and_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = Parameters(mipc=60)
    first, other = _digits(parameters, 1), _digits(parameters, 1, seed=1)
    assert not np.array_equal(first.columns["source_index_0"], other.columns["source_index_0"])
    monkeypatch.setattr(synthesis, "BATCH", 7)
    again = _digits(parameters, 1)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_allclose(first.columns["score_0"], again.columns["score_0"], rtol=1e-5)


def test_a_window_of_another_side_is_resized_to_its_cell() -> None:
    enlarged = _digits(Parameters(layout=("key",), window=0.75, mipc=60), 1)
    assert enlarged.images.shape == (10, 8, 8, 1)
    assert (enlarged.columns["crop"][:, 2:] == 6).all()
    whole = _digits(Parameters(layout=("key",), window=1.0, mipc=60), 1)
    np.testing.assert_array_equal(whole.images, digits()[0].images[whole.columns["source_index"]])


def test_refusals_name_the_limit() -> None:
    many = dataclasses.replace(facts(), train_counts=(500,) * 10)
    assert refuse(Parameters(), many, 100) == "IPC 100 with 4 cells needs 400 images per class, mipc is 300"
    assert "143" in str(refuse(Parameters(), dataclasses.replace(many, train_counts=(143,) * 10), 50))
    odd = dataclasses.replace(many, size=9)
    assert refuse(Parameters(), odd, 1) == "9 px is not a multiple of factor 2"
    assert refuse(Parameters(layout=("key",)), odd, 1) is None
    assert "no square grid" in str(refuse(Parameters(layout=("key", "whole")), many, 1))
    assert "no square grid" in str(refuse(Parameters(layout=("corner",)), many, 1))
    assert "no square grid" in str(refuse(Parameters(layout=()), many, 1))
    assert "exactly one" in str(refuse(Parameters(pool=("vit_micro", "resnet18")), many, 1))
    assert "no region" in str(refuse(Parameters(window=1.2), many, 1))
    with pytest.raises(InputError, match="class 'dark' has 12 training images, IPC 4 needs 16"):
        _grey(Parameters(), 4, looks_at_brightness())
    with pytest.raises(InputError, match="in parts"):
        _grey(Parameters(), 2, looks_at_brightness(), first=1)
    with pytest.raises(InputError, match="ConvNet has no class attention"):
        _grey(Parameters(), 1, build_model("convnet2_w64", classes=2, channels=1, size=8, seed=0))


def test_a_setting_needs_its_transformer() -> None:
    focusdd = method("focusdd")
    assert "re-derived from text" in focusdd.differs.lower()
    assert focusdd.fidelity == "text"
    recipe = focusdd.recipe_for("imagenet1k").parameters
    large = dataclasses.replace(facts(), size=224, train_counts=(1300,) * 10, committee=("resnet18",))
    assert focusdd.reason_against(recipe, large, 10) == (
        "the committee of digits lacks vit_base_patch16_224; it has resnet18"
    )
    assert focusdd.reason_against(recipe, dataclasses.replace(large, committee=recipe.pool), 10) is None
    native = [entry.data for entry in CATALOGUE.values() if entry.size == 224]
    assert {"imagenette", "imagewoof", "imageidc", "imagenet1k"} <= set(native)
    for data in native:
        assert focusdd.recipe_for(data).parameters.pool == ("vit_base_patch16_224",), data
    for name in ("digits", "cifar10", "cifar100"):
        members = {choice.key for choice in CATALOGUE[name].committee}
        assert set(focusdd.recipe_for(name).parameters.pool) <= members


def test_digits_recipe_fits_every_ipc_of_the_setting() -> None:
    parameters = method("focusdd").recipe_for("digits").parameters
    chosen = dataclasses.replace(facts(), normalisation=NORMALISATION)
    assert [refuse(parameters, chosen, ipc) for ipc in (1, 10, 50)] == [None] * 3
