"""Geometry and rendering of views: against torchvision, naive loops and hand-made cases."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from dd_assets.errors import InputError
from dd_assets.evaluation.view_presets import VIEW_PRESETS, Views
from dd_assets.evaluation.views import (
    ViewSchedule,
    checksum,
    epoch_geometry,
    epoch_spans,
    render,
    span_geometry,
)
from tests.evaluation.helpers import NORMALISATION, PLAIN, images, normalised, reference_views

RD3, RDED = VIEW_PRESETS["rd3"], VIEW_PRESETS["rded_factor"]
PINNED = {
    "image_id": [2, 3, 1, 4, 0],
    "crop": [[1, 0, 7, 8], [0, 1, 8, 7], [0, 0, 6, 8], [0, 0, 8, 8], [3, 1, 5, 6]],
    "box": [[3, 0, 8, 6], [0, 0, 4, 3]],
    "checksum": [7573248608162206378, 414470186076288639],
}


def same(left: ViewSchedule, right: ViewSchedule) -> bool:
    return all(np.array_equal(getattr(left, f.name), getattr(right, f.name)) for f in fields(ViewSchedule))


@pytest.mark.parametrize(
    ("views", "size"),
    [
        (RD3, 8),
        (RD3, 32),
        (replace(RD3, crop_scale_min=0.08), 32),
        (replace(RD3, shuffle_factor=3), 9),
        (RDED, 8),
        (replace(RDED, crop_scale_min=0.08), 7),
        (replace(RD3, cutmix_alpha=0), 8),
    ],
)
def test_render_equals_torchvision_and_a_naive_cutmix(views: Views, size: int) -> None:
    """A grid_sample over the whole image would differ at crop borders by up to the contrast across them."""
    pixels = images(13, size)
    schedule = epoch_geometry(views, 13, size, batch=5, seed=3, epoch=2)
    got = render(torch.from_numpy(pixels), schedule, NORMALISATION)
    expected = normalised(reference_views(pixels, schedule))
    # 1e-6 in pixel units [0, 1]; the smallest std is .2
    assert (got - expected).abs().max() < 1e-6 / 0.2
    assert got.shape == (13, 3, size, size)
    if size > 7:
        assert got.is_contiguous(memory_format=torch.channels_last)


def test_single_batches_equal_the_epoch_and_several_epochs_equal_one() -> None:
    pixels = torch.from_numpy(images(11, 8))
    span = span_geometry(RD3, 11, 8, 4, 0, range(3))
    together = render(pixels, span, NORMALISATION)
    one_by_one = [render(pixels, span, NORMALISATION, batch) for batch in range(9)]
    assert [len(part) for part in one_by_one] == [4, 4, 3] * 3
    assert torch.equal(together, torch.cat(one_by_one))
    epochs = [render(pixels, epoch_geometry(RD3, 11, 8, 4, 0, epoch), NORMALISATION) for epoch in range(3)]
    assert torch.equal(together, torch.cat(epochs))


@pytest.mark.parametrize("size", [1, 7, 8, 32, 64])
def test_scale_one_is_exactly_the_identity(size: int) -> None:
    views = replace(PLAIN, crop_scale_min=1.0)
    pixels = images(6, size)
    schedule = epoch_geometry(views, 6, size, 6, seed=1, epoch=0)
    assert (schedule.crop == [0, 0, size, size]).all()
    expected = normalised(torch.from_numpy(pixels[schedule.image_id]).permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(render(torch.from_numpy(pixels), schedule, NORMALISATION), expected)


def test_identity_crops_agree_in_the_fast_and_the_bilinear_path() -> None:
    """One image with a crop sends the whole batch through the four taps; the rest must still be exact."""
    pixels = torch.from_numpy(images(4, 8))
    schedule = epoch_geometry(PLAIN, 4, 8, 4, seed=0, epoch=0)
    crop = schedule.crop.copy()
    crop[0] = [1, 2, 5, 6]
    mixed = render(pixels, replace(schedule, crop=crop), NORMALISATION)
    plain = render(pixels, schedule, NORMALISATION)
    assert torch.equal(mixed[1:], plain[1:])
    assert not torch.equal(mixed[0], plain[0])


def test_patch_shuffle_by_two_has_four_arrangements() -> None:
    """Columns, then rows: quadrants 0 1 / 2 3 can only swap sides; a free shuffle would give 24 arrangements."""
    quadrants = np.array([[0, 1], [2, 3]], dtype=np.uint8).repeat(2, 0).repeat(2, 1)[None, :, :, None].repeat(3, 3)
    views = replace(PLAIN, shuffle_factor=2)
    seen = {}
    for epoch in range(40):
        schedule = epoch_geometry(views, 1, 4, 1, seed=0, epoch=epoch)
        out = render(torch.from_numpy(quadrants), schedule, replace(NORMALISATION, mean=(0,) * 3, std=(1,) * 3))
        corner = (out[0, 0, ::2, ::2] * 255).round().int().flatten().tolist()
        seen[int(schedule.patch_perm[0])] = tuple(corner)
    assert seen == {0: (0, 1, 2, 3), 1: (1, 0, 3, 2), 2: (2, 3, 0, 1), 3: (3, 2, 1, 0)}


def test_odd_size_refuses_patch_shuffle_instead_of_losing_pixels() -> None:
    with pytest.raises(InputError, match="lose pixels at 7 px"):
        epoch_geometry(RD3, 4, 7, 2, 0, 0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"cutmix_alpha": 0.5}, "cutmix_alpha=0.5 → give 0 .off. or a whole number"),
        # Beyond, most of the draws would be of another distribution, or no numbers.
        ({"cutmix_alpha": 0.0, "mixup_alpha": 2.5}, "mixup_alpha=2.5 → give 0 .off. or 0.05 to 2"),
        ({"cutmix_alpha": 0.0, "mixup_alpha": 0.01}, "mixup_alpha=0.01"),
        ({"crop_scale_min": 0.0}, "crop_scale_min=0.0"),
        ({"crop_scale_min": "half"}, "crop_scale_min='half' → give a number in"),
        ({"shuffle_factor": 8}, "shuffle_factor=8 → give 1 to 5"),
        ({"shuffle_factor": 2.0}, "shuffle_factor=2.0 → give 1 to 5"),
        ({"shuffle_factor": True}, "shuffle_factor=True → give 1 to 5"),
        ({"hflip": 2}, "hflip=2"),
        ({"rand_operations": 2, "rand_magnitude": 31}, "rand_magnitude=31 → give 0 to 30"),
        ({"rand_magnitude": 9}, "rand_magnitude=9 would change nothing → set `rand_operations`"),
        ({"jitter": float("nan")}, "jitter=nan"),
        ({"mixup_alpha": 0.8}, "mixup_alpha=0.8 with CutMix"),
    ],
)
def test_views_that_cannot_be_made_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        replace(RD3, **changes)


def test_lam_is_the_share_of_pixels_kept_after_clipping() -> None:
    """At size 8 and with uniform centres most boxes are clipped, so the Beta draw would be wrong for most batches."""
    black_white = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    black_white[1] = 255
    clipped = 0
    for epoch in range(60):
        schedule = epoch_geometry(replace(PLAIN, cutmix_alpha=1), 2, 8, 2, seed=5, epoch=epoch)
        x1, y1, x2, y2 = schedule.box[0].astype(int)
        assert 0 <= x1 <= x2 <= 8
        assert 0 <= y1 <= y2 <= 8
        clipped += (x2 - x1) != (y2 - y1)
        if schedule.mix_slot[0] == 0:
            continue
        out = render(torch.from_numpy(black_white), schedule, replace(NORMALISATION, mean=(0,) * 3, std=(1,) * 3))
        base = schedule.image_id[0]
        assert (out[0, 0] == float(base)).sum().item() == schedule.lam[0] * 64
    assert clipped > 10


def test_cutmix_draws_cover_what_rded_draws() -> None:
    """Mean pasted share against 200,000 boxes drawn as RDED writes them; without clipping it would be near 1/2."""
    lam = np.concatenate([epoch_geometry(RDED, 400, 32, 1, 9, epoch).lam for epoch in range(10)])
    rng = np.random.default_rng(0)
    side = (32 * np.sqrt(1 - rng.random(200_000))).astype(int) // 2
    centre = rng.integers(0, 32, (2, 200_000))
    extent = np.clip(centre + side, 0, 32) - np.clip(centre - side, 0, 32)
    share = extent.prod(axis=0) / 1024
    assert abs((1 - lam).mean() - share.mean()) < 4 * share.std() / np.sqrt(4000)


def test_larger_alpha_concentrates_lam() -> None:
    """Unclipped boxes narrower than 16 of 64 px need 1 - lam < 1/16: 6 % of draws for alpha 1, none for alpha 20."""
    narrow = []
    for alpha in (1, 20):
        x1, y1, x2, y2 = epoch_geometry(replace(RDED, cutmix_alpha=alpha), 2000, 64, 1, 2, 0).box.astype(int).T
        inside = (x1 > 0) & (y1 > 0) & (x2 < 64) & (y2 < 64)
        narrow.append(int((inside & (x2 - x1 < 16)).sum()))
    assert narrow[0] > 50
    assert narrow[1] == 0


def test_each_batch_is_mixed_by_a_permutation_of_its_own_slots() -> None:
    schedule = epoch_geometry(RD3, 23, 8, 10, seed=1, epoch=4)
    assert schedule.n.tolist() == [10, 10, 3]
    for start, stop in zip(schedule.starts()[:-1], schedule.starts()[1:], strict=True):
        assert sorted(schedule.mix_slot[start:stop]) == list(range(stop - start))
    assert sorted(schedule.image_id) == list(range(23))
    alone = epoch_geometry(RD3, 5, 8, 4, seed=1, epoch=0)
    assert alone.mix_slot[-1] == 0  # a tail of one pastes itself


def test_crops_follow_torchvisions_distribution() -> None:
    """Mean and spread of the box against 4,000 draws of RandomResizedCrop.get_params, within four standard errors."""
    schedule = epoch_geometry(replace(RD3, crop_scale_min=0.3), 4000, 32, 100, seed=0, epoch=0)
    torch.manual_seed(0)
    blank = torch.zeros(3, 32, 32)
    theirs = np.array([RandomResizedCrop.get_params(blank, [0.3, 1], [3 / 4, 4 / 3]) for _ in range(4000)])
    ours = schedule.crop.astype(int)
    error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / 4000)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 4 * error).all()
    assert np.allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.08)
    assert (ours[:, :2] + ours[:, 2:] <= 32).all()
    assert ours[:, 2:].min() >= 1


def test_an_epoch_does_not_depend_on_what_was_drawn_before() -> None:
    alone = epoch_geometry(RD3, 10, 8, 4, seed=7, epoch=5)
    for epoch in (0, 3, 9):
        epoch_geometry(RD3, 10, 8, 4, seed=7, epoch=epoch)
    again = epoch_geometry(RD3, 10, 8, 4, seed=7, epoch=5)
    assert same(alone, again)
    assert not same(alone, epoch_geometry(RD3, 10, 8, 4, seed=7, epoch=6))
    assert not same(alone, epoch_geometry(RD3, 10, 8, 4, seed=8, epoch=5))


def test_order_and_views_of_an_image_do_not_depend_on_the_batch_size() -> None:
    """Streams count views, not batches, so a study of batch sizes compares the same crops."""
    small, large = (epoch_geometry(RD3, 10, 8, batch, seed=7, epoch=5) for batch in (3, 10))
    for name in ("image_id", "crop", "flip", "patch_perm"):
        assert np.array_equal(getattr(small, name), getattr(large, name))


def test_geometry_is_pinned() -> None:
    """Stored labels are replayed by seed: another number here means that every label table would be void."""
    schedule = epoch_geometry(RD3, 5, 8, 3, seed=0, epoch=1)
    assert schedule.image_id.tolist() == PINNED["image_id"]
    assert schedule.crop.tolist() == PINNED["crop"]
    assert schedule.box.tolist() == PINNED["box"]
    assert [checksum(schedule, batch) for batch in (0, 1)] == PINNED["checksum"]


def test_checksum_sees_every_column() -> None:
    schedule = epoch_geometry(RD3, 6, 8, 3, seed=0, epoch=0)
    before = checksum(schedule, 1)
    for name in ("image_id", "mix_slot", "crop", "flip", "patch_perm"):
        changed = getattr(schedule, name).copy()
        changed[4] = ~changed[4] if name == "flip" else changed[4] + 1
        assert checksum(replace(schedule, **{name: changed}), 1) != before
        assert checksum(replace(schedule, **{name: changed}), 0) == checksum(schedule, 0)
    for name in ("lam", "box"):
        changed = getattr(schedule, name).copy()
        changed[1] += 1
        assert checksum(replace(schedule, **{name: changed}), 1) != before


def test_spans_cover_the_epochs_once_and_start_at_zero() -> None:
    spans = epoch_spans(100, 8, 400)
    assert [epoch for span in spans for epoch in span] == list(range(400))
    assert len(spans[0]) == 81  # 2^19 // 6,400
    assert len(epoch_spans(5000, 224, 3)) == 3


def test_wrong_images_are_refused() -> None:
    schedule = epoch_geometry(RD3, 2, 8, 2, 0, 0)
    with pytest.raises(InputError, match="uint8"):
        render(torch.zeros(2, 8, 8, 3), schedule, NORMALISATION)
