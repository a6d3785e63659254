"""Soft labels: the replay table (geometry of every view) and the logits on those views.

Belongs here: making, estimating and checking label tables as arrays. Does not belong: whose logits they are
(labellers.py), Parquet, students, the store.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.evaluation.labellers import Labeller, labeller_of
from dd_assets.evaluation.protocol import check_parts
from dd_assets.evaluation.view_presets import Views
from dd_assets.evaluation.views import (
    SPAN_PIXELS,
    ViewSchedule,
    check_views,
    checksum,
    epoch_geometry,
    epoch_spans,
    render,
    span_geometry,
)
from dd_assets.models.pixels import images_together
from dd_assets.progress import Progress, silent

FORWARD_ROWS, FORWARD_PIXELS = 256, 2**18
"""The teacher sees at most this many views and pixels at once, or one training batch where that is more; on a CPU no
more than stay in the cache, which halves the time at 32 px and changes no bit (tests/evaluation/test_labels.py)."""
MIX_KINDS = ("none", "cutmix", "mixup")
"""Meaning of the `mix_kind` codes."""
BOX_COLUMNS, CROP_COLUMNS = ("x1", "y1", "x2", "y2"), ("crop_i", "crop_j", "crop_h", "crop_w")
VIEW_COLUMNS = {"epoch", "batch", "slot", "image_id", "mix_slot", *CROP_COLUMNS, "flip", "patch_perm"}
BATCH_COLUMNS = {"epoch", "batch", "n", "mix_kind", "lam", *BOX_COLUMNS, "view_checksum"}


def _tables(schedule: ViewSchedule) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    views = {name: getattr(schedule, name) for name in ("epoch", "batch", "slot", "image_id", "mix_slot")}
    for column, name in enumerate(CROP_COLUMNS):
        views[name] = np.ascontiguousarray(schedule.crop[:, column])
    views |= {"flip": schedule.flip, "patch_perm": schedule.patch_perm}
    batches = {
        "epoch": schedule.batch_epoch,
        "batch": schedule.batch_index,
        "n": schedule.n,
        "mix_kind": np.full(len(schedule.n), _mix_kind(schedule.views), dtype=np.uint8),
        "lam": schedule.lam,
    }
    for column, name in enumerate(BOX_COLUMNS):
        batches[name] = np.ascontiguousarray(schedule.box[:, column])
    sums = [checksum(schedule, batch) for batch in range(len(schedule.n))]
    return views, batches | {"view_checksum": np.array(sums, dtype=np.uint64)}


def _mix_kind(views: Views) -> int:
    return MIX_KINDS.index("cutmix" if views.cutmix_alpha else "mixup" if views.mixup_alpha else "none")


def label_geometry(
    views: Views, images: int, size: int, batch: int, epochs: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The replay tables (schema A): one row per view sorted by (epoch, batch, slot), one row per batch.

    Views: epoch, batch, slot, mix_slot, crop_i, crop_j, crop_h, crop_w, patch_perm uint16; image_id uint32; flip bool.
    Batches: epoch, batch, n, x1, y1, x2, y2 uint16; mix_kind uint8 (see MIX_KINDS); lam float64; view_checksum uint64.
    Raises InputError where the views cannot be made.
    """
    schedules = [epoch_geometry(views, images, size, batch, seed, epoch) for epoch in range(epochs)]
    parts = [_tables(schedule) for schedule in schedules]
    view_parts, batch_parts = zip(*parts, strict=True)
    view_table, batch_table = (
        {name: np.concatenate([part[name] for part in group]) for name in group[0]}
        for group in (view_parts, batch_parts)
    )
    return view_table, batch_table


def replay_check(
    views_table: dict[str, np.ndarray] | None,
    batches_table: dict[str, np.ndarray],
    views: Views,
    *,
    images: int,
    size: int,
    batch: int,
    seed: int,
    epochs: int,
) -> None:
    """Compare stored tables with regenerated ones, bit for bit; InputError names the first batch that differs.

    Without `views_table` (labels found online) the checksum of each batch stands for its views.
    """
    per_epoch = -(-images // batch)
    _check_columns(views_table, batches_table)
    lengths = (
        images * epochs if views_table is None else len(views_table["epoch"]),
        len(batches_table["epoch"]),
    )
    if lengths != (images * epochs, per_epoch * epochs):
        raise InputError(
            f"label table has {lengths[0]} views in {lengths[1]} batches, the protocol {images * epochs} in "
            f"{per_epoch * epochs}",
            "recompute the labels for this protocol",
        )
    for epoch in range(epochs):
        fresh = _tables(epoch_geometry(views, images, size, batch, seed, epoch))
        wrong = [
            (int(made["batch"][row]), name)
            for stored, made, rows in zip((views_table, batches_table), fresh, (images, per_epoch), strict=True)
            if stored is not None
            for name, column in made.items()
            if (row := _first_difference(stored[name][epoch * rows : (epoch + 1) * rows], column)) is not None
        ]
        if wrong:
            number, name = min(wrong, key=lambda item: item[0])
            raise InputError(
                f"stored labels differ from seed {seed}: epoch {epoch}, batch {number}, {name}",
                "the label table belongs to other views; recompute the labels",
            )


def _check_columns(views_table: dict[str, np.ndarray] | None, batches_table: dict[str, np.ndarray]) -> None:
    missing = BATCH_COLUMNS - batches_table.keys()
    if views_table is not None:
        missing |= VIEW_COLUMNS - views_table.keys()
    if missing:
        raise InputError(f"label table lacks {', '.join(sorted(missing))}", "recompute the labels")


def _first_difference(stored: np.ndarray, made: np.ndarray) -> int | None:
    """The first row that differs in value (row 0 where the type does), or None."""
    if stored.dtype != made.dtype:
        return 0
    rows = np.flatnonzero(stored != made)
    return int(rows[0]) if len(rows) else None


def compute_logits(
    teacher: nn.Module | Labeller,
    images_u8: np.ndarray,
    views: Views,
    normalisation: Normalisation,
    *,
    batch: int,
    epochs: int,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    precision: str = "fp32",
) -> np.ndarray:
    """The logits of a teacher, or of a labeller, on every view, fp16 (epochs * N, C), rows as in `label_geometry`.

    images_u8: (N, S, S, C). Networks are put in eval mode, so how views are grouped into forwards changes nothing
    but rounding; the grouping depends on N, size and batch alone, so two runs agree. (With batch statistics it is part
    of the protocol.) Raises InputError if a logit is not finite in fp16, or if a batch has no statistics.
    """
    count, size = images_u8.shape[:2]
    labeller = labeller_of(teacher).prepare(device, precision)
    check_views(views, count, size, batch)
    check_parts(labeller.labelling, count, batch)
    images = torch.from_numpy(np.ascontiguousarray(images_u8)).to(device)
    together = images_together(torch.device(device).type, size)
    rows = max(batch, min(FORWARD_ROWS, FORWARD_PIXELS // size**2, together))
    table, filled = np.empty((0, 0), dtype=np.float16), 0
    for span in epoch_spans(count, size, epochs):
        schedule = span_geometry(views, count, size, batch, seed, span)
        pieces = [None] if len(schedule) * size**2 <= SPAN_PIXELS else range(len(schedule.n))
        for piece in pieces:
            inputs = render(images, schedule, normalisation, piece)
            answers = labeller(inputs, schedule, piece, rows=rows, precision=precision, seed=seed)
            logits = answers.half().cpu().numpy()
            if not np.isfinite(logits).all():
                raise InputError(
                    f"teacher logits are not finite in fp16, epoch {span[0]}", "check the teacher's weights"
                )
            if not filled:
                table = np.empty((epochs * count, logits.shape[1]), dtype=np.float16)
            table[filled : filled + len(logits)] = logits
            filled += len(logits)
        progress(span.stop, epochs)
    return table
