"""G-VBSM's recovery: a committee's batch norm and convolution statistics, one member per iteration.

Belongs here: what G-VBSM asks of the shared loop. Does not belong: the loop, statistics and densification
(dd_assets/synthesis), numbers (recipe.py), ensembled labels (dd_assets/evaluation).

Source: shaoshitong/G_VBSM_Dataset_Condensation 8dbdeec,
Branch_*/recover/data_synthesis_with_svd_with_db_with_all_statistic.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor

from dd_assets.errors import InputError
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.committee_matching import CommitteeMatcher, Matching
from dd_assets.synthesis.densification import densification, groups_of
from dd_assets.synthesis.recover import (
    Batch,
    Objective,
    Recovery,
    beginning,
    class_major_batches,
    recover,
    shared_views,
    start_of,
)
from dd_assets.synthesis.schedules import learning_rate_at
from dd_assets.synthesis.shifts import padded_shifts


def synthesise(request: Request) -> SyntheticImages:
    """Optimise noise under CE + r_loss · distance + densification, each iteration under the next committee member.

    A shard is the whole set, since batches hold several images of a class and statistics run on between them. Curves:
    iteration, ce, feature_loss and densification (both without their weights), means over the batches; ce and
    feature_loss are those of the member whose turn a recorded iteration is. Resumes from
    `request.checkpoints` within a batch. Raises InputError for a part of the set, for a member without layers to match
    and for a loss that is not finite.
    """
    parameters, total = request.parameters, request.parameters.iterations
    if (request.first, request.last) != (0, request.ipc):
        raise InputError("gvbsm: cannot be computed in parts", "request all IPC indices at once")
    matcher = CommitteeMatcher(
        request,
        "gvbsm",
        Matching(
            first_multiplier=parameters.first_multiplier,
            momentum=parameters.momentum,
            ema_init=parameters.ema_init,
            ema_reset=parameters.ema_reset,
            drop=parameters.drop,
        ),
    )

    @contextmanager
    def objective(batch: Batch) -> Iterator[Objective]:
        groups = groups_of(batch.labels)

        def loss(images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            logits, distance = matcher.forward(images)
            ce, dense = F.cross_entropy(logits, labels), densification(images, groups, parameters.tau)
            figures = {"ce": ce, "feature_loss": distance, "densification": dense}
            return ce + parameters.r_loss * distance + parameters.densification * dense, figures

        with matcher.watching():
            yield loss

    return recover(
        request,
        Recovery(
            name="gvbsm",
            precision=parameters.precision,
            iterations=total,
            batches=class_major_batches(
                request.ipc,
                len(request.facts.classes),
                parameters.batch,
                whole=False,
                groups=parameters.index_groups,
            ),
            initial=beginning(request, "gvbsm", start_of(request)),
            rate=lambda at: learning_rate_at(at, total, parameters.learning_rate),
            view=shared_views(request, "gvbsm", lambda at: parameters.crop_scale_min),
            shift=padded_shifts(request, "gvbsm"),
            objective=objective,
            figures=("ce", "feature_loss", "densification"),
            weight="r_loss",
            memory=matcher,
        ),
    )
