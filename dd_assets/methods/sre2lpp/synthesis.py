"""SRe2L++'s recover stage.

Belongs here: what SRe2L++ asks of the shared loop. Does not belong: the loop, BN distances and views
(dd_assets/synthesis), numbers (recipe.py).

Source: Jiacheng8/CV-DD 24097e9, recover/recover.py with model setting 0 and equal voters.
"""

from __future__ import annotations

from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.recover import (
    Recovery,
    batches_of,
    beginning,
    ce_and_bn,
    recover,
    shared_views,
    start_of,
)
from dd_assets.synthesis.schedules import learning_rate_at


def synthesise(request: Request) -> SyntheticImages:
    """Optimise RDED's images under one teacher; iterations 0 gives them back.

    Curves: iteration, ce and bn_loss (un-weighted), means over the shard's batches. Resumes from
    `request.checkpoints` within a batch. Raises InputError for a teacher without batch norm and a loss that is not
    finite.
    """
    parameters, classes = request.parameters, len(request.facts.classes)
    teacher = request.teacher()
    return recover(
        request,
        Recovery(
            name="sre2lpp",
            precision=parameters.precision,
            iterations=parameters.iterations,
            batches=batches_of(request.first, request.last, classes, parameters.batch, "one_per_class"),
            initial=beginning(request, "sre2lpp", start_of(request)),
            rate=lambda at: learning_rate_at(at, parameters.iterations, parameters.learning_rate),
            view=shared_views(request, "sre2lpp", lambda at: parameters.crop_scale_min),
            objective=lambda batch: ce_and_bn(teacher, parameters.r_bn, parameters.first_bn_multiplier),
        ),
    )
