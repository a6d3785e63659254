"""The shared loop: beginnings, active images, row order, refusals (reference 16.11).

Belongs here: recover.py with a loss small enough to follow. Does not belong: any one method's settings.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.methods.request import SyntheticImages
from dd_assets.models.pixels import to_uint8
from dd_assets.synthesis.recover import Batch, Recovery, recover, starting_from
from dd_assets.synthesis.views import SharedView
from tests.methods.requests import request
from tests.synthesis.two_layers import FACTS

STILL = SharedView(crop=None, flip=False, roll=(0, 0))


def _brighten(images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Every pixel has gradient -1."""
    loss = -images.sum()
    return loss, {"ce": loss, "bn_loss": torch.zeros(())}


def _grey(batch: Batch) -> Tensor:
    """Zeros in normalised space: mean grey, 127 of 255."""
    return torch.zeros(len(batch.labels), 1, 4, 4)


def _recovery(**changes) -> Recovery:
    given = {
        "name": "test",
        "iterations": 2,
        "batches": [Batch(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))],
        "initial": _grey,
        "rate": lambda at: 0.4,
        "view": lambda batch, at: STILL,
        "objective": lambda batch: nullcontext(_brighten),
    }
    return Recovery(**{**given, **changes})


def test_inactive_images_do_not_move_and_late_ones_join_adam_as_it_stands() -> None:
    made = recover(request(None, 2, facts=FACTS), _recovery(active=lambda batch, at: batch.indices <= at))
    # Gradient -1 throughout: index 0 takes two steps of .4, 127.5 + 2 · .4 · .25 · 255 = 178.5. Index 1 takes one at
    # step count 2, .4 · (.5 / .75) / sqrt(.1 / .19) = .3676: 127.5 + 23.4; a fresh Adam would give 127.5 + 25.5 = 153.
    assert made.images[:, 0, 0, 0].tolist() == [178, 178, 150, 150]
    assert made.labels.tolist() == [0, 1, 0, 1]
    first = recover(
        request(None, 2, facts=FACTS), _recovery(iterations=1, active=lambda batch, at: batch.indices <= at)
    )
    assert first.images[:, 0, 0, 0].tolist() == [153, 153, 127, 127]


def test_rows_come_back_in_order_of_index_and_class() -> None:
    def initial(batch: Batch) -> Tensor:
        levels = torch.from_numpy((batch.indices * 2 + batch.labels) * 0.5 - 1)
        return levels.float().view(-1, 1, 1, 1).expand(-1, 1, 4, 4).clone()

    batches = [Batch(np.arange(3), np.full(3, label)) for label in range(2)]
    made = recover(request(None, 3, facts=FACTS), _recovery(iterations=0, batches=batches, initial=initial))
    assert made.labels.tolist() == [0, 1] * 3
    assert (np.diff(made.images[:, 0, 0, 0].astype(int)) > 0).all()
    assert made.curves == {}


@pytest.mark.parametrize(
    "normalisation",
    [
        Normalisation(mean=(0.305,), std=(0.376,)),
        Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
    ],
)
def test_no_iterations_give_back_every_grey_level(normalisation: Normalisation) -> None:
    channels = len(normalisation.mean)
    levels = np.arange(256, dtype=np.uint8).repeat(channels).reshape(2, 8, 16, channels)
    start = SyntheticImages(images=levels, labels=np.arange(2))
    facts = dataclasses.replace(FACTS, normalisation=normalisation, channels=channels, size=8)
    made = recover(
        request(None, 1, facts=facts),
        _recovery(
            iterations=0,
            batches=[Batch(np.zeros(2, dtype=np.int64), np.arange(2))],
            initial=starting_from(start, request(None, 1, facts=facts)),
        ),
    )
    np.testing.assert_array_equal(made.images, levels)


def test_a_shard_starts_from_its_own_rows() -> None:
    start = SyntheticImages(images=np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), labels=np.array([0, 1, 0, 1]))
    part = starting_from(start, request(None, 9, first=5, last=7, facts=FACTS))
    chosen = part(Batch(np.array([6, 5]), np.array([1, 0])))
    assert to_uint8(chosen, FACTS.normalisation).flatten().tolist() == [3, 0]


def test_a_loss_that_is_not_finite_names_method_and_iteration() -> None:
    def broken(images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = images.sum() * torch.inf
        return loss, {"ce": loss, "bn_loss": loss}

    with pytest.raises(InputError, match=r"test: the loss is not finite at iteration 0 \(ce nan, bn_loss nan\)"):
        recover(request(None, 2, facts=FACTS), _recovery(objective=lambda batch: nullcontext(broken)))
