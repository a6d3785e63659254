"""Label tables: replay bit for bit, logits on the right views, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dd_assets.errors import InputError
from dd_assets.evaluation.labels import (
    BATCH_COLUMNS,
    MIX_KINDS,
    VIEW_COLUMNS,
    compute_logits,
    label_geometry,
    replay_check,
)
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.evaluation.views import checksum, epoch_geometry, span_geometry
from dd_assets.models.architectures import build_model
from tests.evaluation.helpers import NORMALISATION, convnet, images, normalised, reference_views

RD3 = VIEW_PRESETS["rd3"]
SHAPE = {"images": 7, "size": 8, "batch": 3, "epochs": 4, "seed": 11}


def tables() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return label_geometry(RD3, **SHAPE)


def test_tables_have_schema_a() -> None:
    views, batches = tables()
    kinds = {name: column.dtype.name for name, column in views.items()}
    assert kinds == {
        **dict.fromkeys(("epoch", "batch", "slot", "mix_slot", "crop_i", "crop_j", "crop_h", "crop_w"), "uint16"),
        "image_id": "uint32",
        "flip": "bool",
        "patch_perm": "uint16",
    }
    assert list(batches) == ["epoch", "batch", "n", "mix_kind", "lam", "x1", "y1", "x2", "y2", "view_checksum"]
    assert (set(views), set(batches)) == (VIEW_COLUMNS, BATCH_COLUMNS)
    assert {len(column) for column in views.values()} == {28}
    assert {len(column) for column in batches.values()} == {12}
    order = np.lexsort((views["slot"], views["batch"], views["epoch"]))
    assert order.tolist() == list(range(28))
    assert batches["n"].tolist() == [3, 3, 1] * 4
    assert {MIX_KINDS[kind] for kind in batches["mix_kind"]} == {"cutmix"}
    third = epoch_geometry(RD3, 7, 8, 3, 11, 3)
    assert batches["view_checksum"][9:].tolist() == [checksum(third, batch) for batch in range(3)]


def test_regenerated_geometry_equals_the_stored_tables_bit_for_bit() -> None:
    stored = tables()
    for left, right in zip(stored, tables(), strict=True):
        assert all(left[name].tobytes() == right[name].tobytes() for name in left)
    replay_check(*stored, RD3, **SHAPE)


@pytest.mark.parametrize("column", ["image_id", "crop_h", "flip", "patch_perm", "mix_slot"])
def test_replay_check_names_the_first_differing_batch(column: str) -> None:
    views, batches = tables()
    changed = views[column].copy()
    changed[[19, 25]] = ~changed[[19, 25]] if column == "flip" else changed[[19, 25]] + 1
    with pytest.raises(InputError, match=f"epoch 2, batch 1, {column}"):  # row 19 = 2 * 7 + 5, slot 2 of batch 1
        replay_check({**views, column: changed}, batches, RD3, **SHAPE)


def test_replay_check_reports_the_earliest_batch_whatever_the_column() -> None:
    views, batches = tables()
    late, early = views["image_id"].copy(), views["crop_h"].copy()
    late[12] += 1  # epoch 1, batch 1
    early[7] += 1  # epoch 1, batch 0
    with pytest.raises(InputError, match="epoch 1, batch 0, crop_h"):
        replay_check({**views, "image_id": late, "crop_h": early}, batches, RD3, **SHAPE)


def test_replay_check_sees_lam_other_seeds_other_types_and_lengths() -> None:
    views, batches = tables()
    lam = batches["lam"].copy()
    lam[4] = np.nextafter(lam[4], 2)
    with pytest.raises(InputError, match="epoch 1, batch 1, lam"):
        replay_check(views, {**batches, "lam": lam}, RD3, **SHAPE)
    with pytest.raises(InputError, match="epoch 0, batch 0"):
        replay_check(views, batches, RD3, **{**SHAPE, "seed": 12})
    with pytest.raises(InputError, match="crop_i"):
        replay_check({**views, "crop_i": views["crop_i"].astype(np.int64)}, batches, RD3, **SHAPE)
    with pytest.raises(InputError, match="28 views in 12 batches, the protocol 35 in 15"):
        replay_check(views, batches, RD3, **{**SHAPE, "epochs": 5})
    del views["flip"]
    with pytest.raises(InputError, match="lacks flip"):
        replay_check(views, batches, RD3, **SHAPE)


def test_without_views_the_checksum_of_each_batch_stands_for_them() -> None:
    """What online labels store; another seed gives another checksum in the first batch."""
    _, batches = tables()
    replay_check(None, batches, RD3, **SHAPE)
    sums = batches["view_checksum"].copy()
    sums[4] ^= np.uint64(1)
    with pytest.raises(InputError, match="epoch 1, batch 1, view_checksum"):
        replay_check(None, {**batches, "view_checksum": sums}, RD3, **SHAPE)
    with pytest.raises(InputError, match="epoch 0, batch 0"):
        replay_check(None, batches, RD3, **{**SHAPE, "seed": 12})


def test_stored_logits_are_the_teachers_on_each_view_in_row_order() -> None:
    """Views are rebuilt with torchvision one by one; a teacher in train mode would normalise by the chunk."""
    teacher, pixels = convnet(seed=3), images(7, 8)
    with torch.no_grad():
        teacher.train()(torch.randn(64, 3, 8, 8) * 2)  # running statistics away from 0 and 1
    stored = compute_logits(teacher.train(), pixels, RD3, NORMALISATION, batch=3, epochs=4, seed=11)
    assert stored.dtype == np.float16
    assert stored.shape == (28, 4)
    views = normalised(reference_views(pixels, span_geometry(RD3, 7, 8, 3, 11, range(4))))
    with torch.no_grad():
        expected = teacher.eval()(views)
    assert np.abs(stored - expected.numpy()).max() < 2e-2
    assert np.abs(stored[:-1] - expected.numpy()[1:]).max() > 0.1  # shifted by one row it would not fit


def test_chunks_do_not_matter_beyond_rounding_and_large_epochs_go_batch_by_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = (convnet(seed=3), images(7, 8), RD3, NORMALISATION)
    together = compute_logits(*arguments, batch=3, epochs=4, seed=11)
    monkeypatch.setattr("dd_assets.evaluation.labels.SPAN_PIXELS", 64)
    monkeypatch.setattr("dd_assets.evaluation.views.SPAN_PIXELS", 64)
    seen: list[tuple[int, int]] = []
    apart = compute_logits(
        *arguments, batch=3, epochs=4, seed=11, progress=lambda step, total: seen.append((step, total))
    )
    assert np.abs(together.astype(float) - apart).max() < 2e-3
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_smaller_forwards_on_a_cpu_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = build_model("resnet20_cifar", classes=10, channels=3, size=32, seed=0)
    arguments = (teacher, images(100, 32), RD3, NORMALISATION)
    in_cache = compute_logits(*arguments, batch=50, epochs=3, seed=11)
    monkeypatch.setattr("dd_assets.evaluation.labels.images_together", lambda device, size: 256)
    assert (in_cache == compute_logits(*arguments, batch=50, epochs=3, seed=11)).all()


def test_bf16_logits_are_close_but_not_equal() -> None:
    arguments = (convnet(seed=3), images(7, 8), RD3, NORMALISATION)
    full, half = (compute_logits(*arguments, batch=3, epochs=2, seed=11, precision=p) for p in ("fp32", "bf16"))
    assert 0 < np.abs(full.astype(float) - half).max() < 0.1


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_logits_that_fp16_cannot_hold_are_refused(value: float) -> None:
    teacher = convnet()
    teacher[-1].bias.data[0] = value
    with pytest.raises(InputError, match="not finite"):
        compute_logits(teacher, images(4, 8), RD3, NORMALISATION, batch=4, epochs=1, seed=0)
