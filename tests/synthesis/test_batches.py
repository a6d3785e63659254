"""Class-major batches and zero-padded shifts (reference section 5).

Belongs here: batches.py and shifts.py. Does not belong: layouts of SRe2L (tests/methods/test_sre2l.py).
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from dd_assets.synthesis.batches import class_major_batches
from dd_assets.synthesis.shifts import padded_shifts, shifted
from tests.methods.requests import request


def _rows(batch) -> list[tuple[int, int]]:
    return list(zip(batch.labels.tolist(), batch.indices.tolist(), strict=True))


def test_a_published_batch_may_end_within_a_class() -> None:
    batches = class_major_batches(3, 2, 4, whole=False)
    assert [_rows(batch) for batch in batches] == [[(0, 0), (0, 1), (0, 2), (1, 0)], [(1, 1), (1, 2)]]
    # Whole classes: one of three images at a time.
    assert [len(batch.labels) for batch in class_major_batches(3, 2, 4)] == [3, 3]
    # ImageNet-1K at IPC 50 and batch 80: 625 batches, whole classes would give 1,000.
    assert len(class_major_batches(50, 1000, 80, whole=False)) == 625


def test_groups_part_the_indices_and_lose_none() -> None:
    batches = class_major_batches(4, 3, 6, whole=False, groups=2)
    assert [_rows(batch) for batch in batches] == [
        [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)],
        [(0, 2), (0, 3), (1, 2), (1, 3), (2, 2), (2, 3)],
    ]
    for ipc in (1, 7, 50):
        rows = [row for batch in class_major_batches(ipc, 20, 100, whole=False, groups=10) for row in _rows(batch)]
        assert sorted(rows) == [(label, index) for label in range(20) for index in range(ipc)]
        keys = [batch.key for batch in class_major_batches(ipc, 20, 100, whole=False, groups=10)]
        assert len(set(keys)) == len(keys)


def test_a_shift_brings_in_zeros_and_wraps_nothing() -> None:
    images = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    assert shifted(images, 1, 0)[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert shifted(images, 0, -2)[0, 0].tolist() == [[3, 0, 0], [6, 0, 0], [9, 0, 0]]
    assert shifted(images, -1, 1)[0, 0].tolist() == [[0, 4, 5], [0, 7, 8], [0, 0, 0]]
    assert shifted(images, 0, 0) is images


def test_shifts_reach_both_ends() -> None:
    batch = class_major_batches(1, 2, 4)[0]
    shift = padded_shifts(request(SimpleNamespace(pad_crop=2), 1), "test")
    drawn = np.array([shift(batch, at) for at in range(300)])
    assert set(drawn.flatten().tolist()) == {-2, -1, 0, 1, 2}
    assert (drawn[:, 0] != drawn[:, 1]).any()
    assert padded_shifts(request(SimpleNamespace(pad_crop=0), 1), "test")(batch, 3) == (0, 0)
