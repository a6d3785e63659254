"""DWA: recovery from real images under a teacher whose weights were moved against them.

Belongs here: the weight adjustment and what DWA asks of the shared loop. Does not belong: the loop and the BN distance
(dd_assets/synthesis), numbers (recipe.py).

Source: AngusDujw/Diversity-Driven-Synthesis c5b125f, distillation/distillation_*.py and perterb.py.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.methods.request import Request, SyntheticImages
from dd_assets.synthesis.recover import (
    Batch,
    Recovery,
    beginning,
    ce_and_bn,
    recover,
    requested_batches,
    shared_views,
    start_of,
)
from dd_assets.synthesis.schedules import learning_rate_at
from dd_assets.synthesis.selection import Choice, select
from dd_assets.synthesis.views import apply_shared_view


def ascend(teacher: nn.Module, images: Tensor, labels: Tensor, steps: int, rho: float) -> None:
    """Move all parameters of `teacher` in place by `steps` steps of length rho / steps up the gradient of CE.

    images: normalised (n, C, S, S), labels: int64 (n,). One norm over all parameters together scales a step, so the
    whole displacement is at most `rho`. The teacher stays in evaluation mode: running statistics do not change.
    """
    weights = list(teacher.parameters())
    teacher.requires_grad_(True)
    for _ in range(steps):
        gradients = torch.autograd.grad(F.cross_entropy(teacher(images), labels), weights)
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one) for one in gradients]))
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.add_(gradient * (rho / steps / (norm + 1e-12)))
    teacher.requires_grad_(False)


def adjusted(
    teacher: nn.Module, batches: Sequence[Batch], seen: Callable[[Batch], Tensor], steps: int, rho: float
) -> nn.Module:
    """A copy of `teacher` moved against each of `batches` in turn; `seen` gives a batch as iteration 0 views it."""
    moved = copy.deepcopy(teacher)
    for batch in batches:
        images = seen(batch)
        ascend(moved, images, torch.from_numpy(batch.labels).to(images.device), steps, rho)
    return moved


def _draw(request: Request) -> Callable[[int, np.ndarray], Choice]:
    """Uniform without replacement, nested in IPC."""
    return lambda label, images: (randomness.permutation(len(images), request.seed, "dwa", "init", label), {})


def synthesise(request: Request) -> SyntheticImages:
    """Optimise random real images under adjusted weights; column source_index is the row an image began as.

    The K steps see the view of iteration 0. Every batch has its own weights, or with `compat` those of the batches
    before it of the same IPC index, moved further. Curves: iteration, ce, bn_loss (with r_var, without r_bn).
    Resumes from `request.checkpoints`; iterations 0 gives the real images. Raises InputError as SRe2L does, and
    where a class has too few images.
    """
    parameters, batches = request.parameters, requested_batches(request, "dwa")
    teacher, start = request.teacher(), start_of(request, lambda: select(request, _draw(request)))
    initial = beginning(request, "dwa", start)
    view = shared_views(request, "dwa", lambda at: parameters.crop_scale_min)

    def teacher_for(batch: Batch) -> nn.Module:
        own = batches.index(batch)
        group = [other for other in batches[:own] if not parameters.per_index or other.key[0] == batch.key[0]]
        return adjusted(
            teacher,
            [*(group if parameters.compat else ()), batch],
            lambda each: apply_shared_view(initial(each), view(each, 0)),
            parameters.steps,
            parameters.rho,
        )

    made = recover(
        request,
        Recovery(
            name="dwa",
            precision=parameters.precision,
            iterations=parameters.iterations,
            batches=batches,
            initial=initial,
            rate=lambda at: learning_rate_at(at, parameters.iterations, parameters.learning_rate),
            view=view,
            objective=lambda batch: ce_and_bn(
                teacher_for(batch), parameters.r_bn, parameters.first_bn_multiplier, parameters.r_var
            ),
        ),
    )
    return dataclasses.replace(made, columns=start.columns) if start else made
