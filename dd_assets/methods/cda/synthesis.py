"""CDA: SRe2L's recovery with a curriculum on the crop.

Belongs here: what CDA asks of the shared loop. Does not belong: the loop and the curriculum (dd_assets/synthesis),
numbers (recipe.py).

Source: VILA-Lab/SRe2L 8d00cba, CDA/recover_cda_in1k.py.
"""

from __future__ import annotations

from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.recover import (
    Recovery,
    beginning,
    ce_and_bn,
    recover,
    requested_batches,
    shared_views,
    start_of,
)
from dd_assets.synthesis.schedules import crop_floor_at, learning_rate_at


def synthesise(request: Request) -> SyntheticImages:
    """As SRe2L, but crops are whole images at first and may be as small as `crop_scale_min` at the end.

    The crop's lower bound and the step size follow the same iterations. Curves: iteration, ce, bn_loss. Resumes from
    `request.checkpoints`. Raises InputError as SRe2L does.
    """
    parameters, batches = request.parameters, requested_batches(request, "cda")
    teacher, total = request.teacher(), request.parameters.iterations

    def floor(at: int) -> float:
        return crop_floor_at(at, total, parameters.curriculum, parameters.milestone, parameters.crop_scale_min)

    return recover(
        request,
        Recovery(
            name="cda",
            precision=parameters.precision,
            iterations=total,
            batches=batches,
            initial=beginning(request, "cda", start_of(request)),
            rate=lambda at: learning_rate_at(at, total, parameters.learning_rate),
            view=shared_views(request, "cda", floor),
            objective=lambda batch: ce_and_bn(teacher, parameters.r_bn, parameters.first_bn_multiplier),
        ),
    )
