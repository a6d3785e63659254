"""SRe2L's recover stage.

Belongs here: what SRe2L asks of the shared loop. Does not belong: the loop, BN distances and views
(dd_assets/synthesis), numbers (recipe.py), relabelling and evaluation (dd_assets/evaluation).

Source: VILA-Lab/SRe2L 8d00cba, SRe2L/recover/data_synthesis.py and *small_dataset/recover_cifar.py.
"""

from __future__ import annotations

from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.recover import (
    Recovery,
    batches_of,
    beginning,
    ce_and_bn,
    recover,
    requested_batches,
    shared_views,
    start_of,
)
from dd_assets.synthesis.schedules import learning_rate_at

__all__ = ["batches_of", "learning_rate_at", "synthesise"]


def synthesise(request: Request) -> SyntheticImages:
    """Optimise noise until the teacher recognises it and its BN statistics agree; the last iterate is kept.

    Curves: iteration, ce and bn_loss (un-weighted), means over the shard's batches. Resumes from
    `request.checkpoints` within a batch. Raises InputError for a teacher without batch norm, a loss that is not
    finite, and layout "whole_set" asked for a part of the set.
    """
    parameters, batches = request.parameters, requested_batches(request, "sre2l")
    teacher = request.teacher()
    return recover(
        request,
        Recovery(
            name="sre2l",
            precision=parameters.precision,
            iterations=parameters.iterations,
            batches=batches,
            initial=beginning(request, "sre2l", start_of(request)),
            rate=lambda at: learning_rate_at(at, parameters.iterations, parameters.learning_rate),
            view=shared_views(request, "sre2l", lambda at: parameters.crop_scale_min),
            objective=lambda batch: ce_and_bn(teacher, parameters.r_bn, parameters.first_bn_multiplier),
        ),
    )
