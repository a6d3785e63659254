"""RandAugment, colour jitter and Mixup of views: against torchvision, a distribution and hand-made cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from dd_assets.errors import InputError
from dd_assets.evaluation.labels import MIX_KINDS, label_geometry, replay_check
from dd_assets.evaluation.mixing import mixup_shares
from dd_assets.evaluation.pixel_views import OPERATIONS, ORDERS, change, drawn_changes, jittered, rand_augment
from dd_assets.evaluation.presets import apply
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS, Views
from dd_assets.evaluation.views import checksum, epoch_geometry, render
from dd_assets.planning.digests import plain
from tests.evaluation.helpers import NORMALISATION, images, normalised

STILL = Views(preset="own", shuffle_factor=1, crop_scale_min=1.0, hflip=0.0, cutmix_alpha=0)
RAND = replace(STILL, rand_operations=2, rand_magnitude=9)
JITTER = replace(STILL, jitter=0.4)
MIXUP = replace(STILL, mixup_alpha=0.8)


def test_fields_that_came_later_leave_the_digests_of_views_alone() -> None:
    assert set(plain(VIEW_PRESETS["rd3"])) == {"preset", "shuffle_factor", "crop_scale_min", "hflip", "cutmix_alpha"}
    assert plain(RAND)["rand_magnitude"] == 9


@pytest.mark.parametrize("magnitude", [1, 9, 30])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_torchvisions(name: str, magnitude: int) -> None:
    """At the same magnitude of its 31 bins and the same direction; shears about the centre would differ."""
    pixels = torch.from_numpy(images(3, 32)).permute(0, 3, 1, 2).contiguous()
    transform = v2.RandAugment()
    values, signed = transform._AUGMENTATION_SPACE[name]
    bins = values(31, 32, 32)
    for sign in (1, -1):
        stated = 0.0 if bins is None else float(bins[magnitude]) * (sign if signed else 1)
        expected = transform._apply_image_or_video_transform(
            pixels, name, stated, interpolation=v2.InterpolationMode.NEAREST, fill={}
        )
        code = 2 * list(OPERATIONS).index(name) + (sign < 0)
        got = rand_augment(pixels, torch.full((3, 1), code), magnitude)
        # torchvision's bins are float32, so that a blended value may be cut off one level away.
        blended = name in ("Brightness", "Color", "Contrast", "Sharpness")
        assert (got.int() - expected.int()).abs().max() <= int(blended), sign


def test_operations_follow_one_another_image_by_image() -> None:
    pixels = torch.from_numpy(images(2, 8)).permute(0, 3, 1, 2).contiguous()
    names = list(OPERATIONS)
    solarize, posterize = 2 * names.index("Solarize"), 2 * names.index("Posterize")
    got = rand_augment(pixels, torch.tensor([[solarize, posterize], [posterize, solarize]]), 20)
    threshold, bits = 255 * (1 - 20 / 30), 8 - round(4 * 20 / 30)
    assert torch.equal(got[0], tv.posterize(tv.solarize(pixels[0], threshold), bits))
    assert torch.equal(got[1], tv.solarize(tv.posterize(pixels[1], bits), threshold))


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_torchvisions_in_every_order(channels: int) -> None:
    pixels = torch.from_numpy(images(len(ORDERS), 8)).permute(0, 3, 1, 2)[:, :channels].float() / 255
    factors = torch.tensor([[1.3, 0.7, 1.4]]).repeat(len(ORDERS), 1)
    got = jittered(pixels, factors, torch.arange(len(ORDERS)))
    apply_one = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
    for row, order in enumerate(ORDERS):
        expected = pixels[row]
        for which in order:
            expected = apply_one[which](expected, float(factors[row, which]))
        assert (got[row] - expected).abs().max() < 1e-6


def test_jitters_draws_become_factors_around_one() -> None:
    """Draws 0, 32,768 and 65,535 of 65,536 steps under a jitter of .4: .6, 1 and 1.4, to half a step."""
    pixels = torch.from_numpy(images(2, 8))
    got = change(pixels, np.array([[0, 32_768, 65_535, 2], [65_535, 0, 32_768, 4]]), JITTER)
    factors = torch.tensor([[0.6, 1.0, 1.4], [1.4, 0.6, 1.0]])
    expected = jittered(pixels.permute(0, 3, 1, 2).float() / 255, factors, torch.tensor([2, 4]))
    assert got.dtype == torch.float32
    assert (got - 255 * expected.permute(0, 2, 3, 1)).abs().max() < 0.02
    assert (got - pixels).abs().max() > 20


def test_draws_are_uniform_per_image_and_keyed_by_epoch() -> None:
    codes = drawn_changes(RAND, 20_000, 0, 3)
    counts = np.bincount(codes.reshape(-1), minlength=28)
    assert counts.min() > 0.9 * counts.mean()
    assert len(counts) == 28
    drawn = drawn_changes(JITTER, 20_000, 0, 3)
    assert drawn.shape == (20_000, 4)
    assert np.bincount(drawn[:, 3]).min() > 0.9 * 20_000 / 6
    assert abs(drawn[:, :3].mean() / 2**16 - 0.5) < 0.01
    assert not np.array_equal(drawn, drawn_changes(JITTER, 20_000, 0, 4))
    assert drawn_changes(STILL, 5, 0, 0).shape == (5, 0)


@pytest.mark.parametrize("alpha", [0.8, 1.0, 2.0])
def test_mixups_share_is_beta_distributed(alpha: float) -> None:
    found = mixup_shares(4000, alpha, 1, 0)
    assert kstest(found, beta(alpha, alpha).cdf).pvalue > 0.01
    assert np.array_equal(found * 2**16, np.rint(found * 2**16))


def test_mixups_smallest_parameter_gives_shares_near_0_and_1() -> None:
    found = mixup_shares(4000, 0.05, 1, 0)
    assert np.isfinite(found).all()
    assert found.std() == pytest.approx(beta(0.05, 0.05).std(), abs=0.01)
    assert found.mean() == pytest.approx(0.5, abs=0.03)


def test_mixup_is_the_weighted_mean_of_two_views_of_one_batch() -> None:
    pixels = images(7, 8)
    schedule = epoch_geometry(MIXUP, 7, 8, batch=4, seed=2, epoch=1)
    assert not schedule.box.any()
    got = render(torch.from_numpy(pixels), schedule, NORMALISATION)
    base = pixels[schedule.image_id].astype(np.float64)
    for row in range(7):
        batch = row // 4
        share = schedule.lam[batch]
        partner = base[4 * batch + schedule.mix_slot[row]]
        blended = torch.from_numpy((share * base[row] + (1 - share) * partner)[None] / 255)
        expected = normalised(blended.permute(0, 3, 1, 2))
        assert (got[row] - expected[0]).abs().max() < 1e-5
    one = render(torch.from_numpy(pixels), schedule, NORMALISATION, batch=1)
    assert torch.equal(one, got[4:])


def test_changes_happen_before_mixing_and_depend_on_no_batch() -> None:
    pixels = torch.from_numpy(images(6, 8))
    both = replace(RAND, jitter=0.4)
    alone = epoch_geometry(both, 6, 8, batch=6, seed=0, epoch=0)
    mixed = epoch_geometry(replace(both, mixup_alpha=0.8), 6, 8, batch=6, seed=0, epoch=0)
    views, found = (render(pixels, entry, NORMALISATION) for entry in (alone, mixed))
    share = float(mixed.lam[0])
    assert (found - (share * views + (1 - share) * views[mixed.mix_slot.astype(np.int64)])).abs().max() < 1e-4
    halves = epoch_geometry(both, 6, 8, batch=3, seed=0, epoch=0)
    assert torch.equal(render(pixels, halves, NORMALISATION), views)
    assert not torch.equal(views, render(pixels, epoch_geometry(STILL, 6, 8, 6, 0, 0), NORMALISATION))


def test_the_label_table_knows_mixup_and_its_checksums_know_the_draws() -> None:
    views = replace(MIXUP, jitter=0.4)
    table, batches = label_geometry(views, 5, 8, 3, 2, 0)
    assert {MIX_KINDS[kind] for kind in batches["mix_kind"]} == {"mixup"}
    facts = {"images": 5, "size": 8, "batch": 3, "seed": 0, "epochs": 2}
    replay_check(table, batches, views, **facts)
    with pytest.raises(InputError, match="stored labels differ"):
        replay_check(table, batches, replace(views, jitter=0.0), **facts)
    schedule = epoch_geometry(views, 5, 8, 3, 0, 0)
    assert checksum(schedule, 0) != checksum(replace(schedule, changes=schedule.changes + 1), 0)


def test_papers_recipes_have_what_their_scripts_have() -> None:
    base = Protocol(views=VIEW_PRESETS["rd3"])
    sre2l = apply(base, "paper:sre2l", "cifar10", 10).views
    assert (sre2l.mixup_alpha, sre2l.cutmix_alpha) == (0.8, 0)
    assert apply(base, "paper:sre2l", "imagenet1k", 10).views.mixup_alpha == 0
    edc = apply(base, "paper:edc", "tiny_imagenet", 10).views
    assert (edc.rand_operations, edc.rand_magnitude, edc.cutmix_alpha) == (2, 9, 1.0)
    assert apply(base, "paper:delt", "imagenet1k", 10).views.rand_magnitude == 6
    assert apply(base, "paper:minimax", "imagenette", 10).views.jitter == 0.4
    assert apply(base, "igd_hard", "imagenette", 10).views.jitter == 0.4
    assert apply(base, "dc_bench", "cifar10", 10).views.jitter == 0
