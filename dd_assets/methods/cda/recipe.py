"""CDA: SRe2L with a curriculum of the crop's lower bound.

Paper: Yin, Shen, "Dataset Distillation via Curriculum Data Synthesis in Large Data Era", TMLR 2024, arXiv 2311.18838.
Original code: VILA-Lab/SRe2L 8d00cba, CDA/recover_cda_in1k.py.
Differs: as SRe2L here (lossless, seeded, in-house teachers, RD3 evaluation). The curriculum is on by default
(milestone 1, cosine, as the published scripts ask for), although the original's argument parser leaves it off.
Expected: own protocol, ResNet-18: ImageNet-1K IPC 10/50/100 33.5/53.5/58.0, Tiny-ImageNet 50/100 48.7/53.2; much of
its lead over SRe2L is the smaller batch at evaluation, RD3 Table 1 in each recipe shows what is left. Hardware and
time: ImageNet-1K IPC 50 29 hours on one RTX 4090 (2.1 s per image), Tiny-ImageNet IPC 50 4.5 hours.

Belongs here: this text, the parameters and their sources. Does not belong: the curriculum (synthesis/schedules.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dd_assets.bounds import SHARE
from dd_assets.methods.contract import Facts, Method, Needs, Recipe
from dd_assets.methods.sre2l import recipe as sre2l


@dataclass(frozen=True, kw_only=True)
class Parameters(sre2l.Parameters):
    """SRe2L's settings and the curriculum; the defaults are ImageNet-1K's (CDA/recover_cda_in1k.py)."""

    curriculum: Literal["step", "linear", "cosine"] = "cosine"
    """How the smallest crop falls from the whole image to `crop_scale_min`."""
    milestone: float = 1.0
    """Share of the iterations over which it falls; 0 turns the curriculum off, which leaves SRe2L."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """SRe2L's reason, or that there is no crop to put a curriculum on, or None."""
    if not parameters.crop:
        return "crop is off, so the curriculum has nothing to change; use sre2l"
    return sre2l.refuse(parameters, facts, ipc)


def _recipe(parameters: Parameters, source: str, own: str, rd3: str, cost: str = "") -> Recipe:
    expected = f"RD3 Table 1, ResNet-18, IPC 1/10/50/100: {rd3}" + (f"; own protocol {own}" if own else "")
    return Recipe(parameters=parameters, source=source, expected=expected, cost=cost)


_LARGE = Parameters()
_LARGE_SOURCE = "CDA/recover_cda_in1k.py and its script: cosine, milestone 1"
_CIFAR = Parameters(iterations=1000, jitter=4)
_CIFAR_SOURCE = (
    "own: no script of its own for CIFAR (DELT's recover.py has its loop at 32 px, without jitter; its published calls"
    " at 64 and 224 px take 4,000 iterations); SRe2L's CIFAR-100 iterations, rates and jitter"
    " (*small_dataset/recover_cifar.sh) with the crop and flip that the curriculum needs"
)
_SMALL = Parameters(iterations=1000, hflip=False, jitter=2)
_COST = "one RTX 4090: 2.1 s per image at 224 px with ResNet-18"

METHOD = Method(
    name="cda",
    title="CDA",
    family="optimisation",
    paper=(
        "Yin, Shen: Dataset Distillation via Curriculum Data Synthesis in Large Data Era. TMLR 2024, arXiv 2311.18838"
    ),
    code="VILA-Lab/SRe2L 8d00cba, CDA/",
    differs="As SRe2L here; the curriculum is on unless milestone is 0.",
    fidelity="code",
    summary=(
        "SRe2L whose crops start as the whole image and may shrink as the optimisation goes on, from global to local. "
        "At iteration t of T the crop's area share is at least s + (1 - s)(1 + cos(π t / mT)) / 2, s = .08, m = 1."
    ),
    version=2,
    draws=1,
    per_index=True,
    needs=Needs(teacher=True),
    recipes={
        "digits": Recipe(
            parameters=replace(_SMALL, iterations=300, r_bn=0.1, jitter=1, crop_scale_min=0.85),
            source=(
                "own: 300 iterations, crops down to .85, no flip, jitter 1 of 8 px; learning rate .1/.25, r_bn .1/1 "
                "and smallest crop .5/.85 by a small sweep on a validation fifth of the training split (one draw, two "
                "students)"
            ),
            expected=(
                "ConvNet-2-64 student, plain loop of 240 steps, validation fifth, IPC 5: soft .83, hard .80 "
                "(SRe2L .76, .71; random .91, .89; noise .10, .03); teacher .98"
            ),
            cost="one CPU core: 1.0 to 1.6 s per IPC index (ten images)",
        ),
        "mnist": Recipe(parameters=_SMALL, source="own: CIFAR's with jitter 2 of 28 px, no flip; not tuned"),
        "fashion_mnist": Recipe(parameters=_SMALL, source="own: CIFAR's with jitter 2 of 28 px, no flip; not tuned"),
        "cifar10": _recipe(_CIFAR, _CIFAR_SOURCE, "", "16.4/30.6/54.5/68.8"),
        "cifar100": _recipe(_CIFAR, _CIFAR_SOURCE, "1/10/50 13.4/49.8/64.4 (CV-DD's re-run)", "6.7/33.5/56.2/60.7"),
        "tiny_imagenet": _recipe(
            replace(_LARGE, learning_rate=0.4, r_bn=0.05, jitter=4),
            "CDA's Tiny-ImageNet script: learning rate .4, r_bn .05, jitter 4, teacher of 50 epochs",
            "50/100 48.7/53.2",
            "7.1/37.5/53.0/55.7",
            "one RTX 4090: IPC 50 in 4.5 hours",
        ),
        "imagenette": _recipe(_LARGE, f"{_LARGE_SOURCE}; reused", "", "25.4/54.6/77.8/84.7", _COST),
        "imagewoof": _recipe(_LARGE, f"{_LARGE_SOURCE}; reused", "", "14.6/25.7/59.7/68.7", _COST),
        "imagenet1k": _recipe(_LARGE, _LARGE_SOURCE, "10/50/100/200 33.5/53.5/58.0/63.3", "4.2/41.2/56.7/60.6", _COST),
        "default": Recipe(parameters=_CIFAR, source=f"{_CIFAR_SOURCE}; not tuned"),
    },
    synthesis="dd_assets.methods.cda.synthesis:synthesise",
    ranges={**sre2l.RANGES, "milestone": SHARE},
    refuse=refuse,
)
