"""DELT: early-late training of median-probability real images.

Paper: Shen, Sherif, Yin, Shao, "DELT: A Simple Diversity-driven EarlyLate Training for Dataset Distillation", CVPR
2025, arXiv 2411.19946. Original code: VILA-Lab/DELT f2f81ca, data_selection.py and recover/recover.py.
Differs: probabilities are compared in float64, where float32 ties at 1; images are scored and started at the
setting's size with the teacher's own normalisation (the original resizes to 8/7 and crops, and scores with ImageNet's
statistics); a batch holds whole classes. Lossless, seeded, in-house
teachers, RD3 evaluation instead of RandAugment.
Expected: own protocol, ResNet-18, IPC 1/10/50: CIFAR-10 24.0/43.0/64.9, Tiny-ImageNet 9.3/43.0/55.7, ImageNette
24.1/66.0/88.2; ImageNet-1K 10/50/100 45.8/59.2/62.4; not in RD3's tables. Hardware and time: an image takes 58 % (IPC
50) to 64 % (IPC 10) of SRe2L's iterations, hence about 1.3 s at 224 px on one RTX 4090 (computed).

Belongs here: this text, the parameters and their sources. Does not belong: groups and batches (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dd_assets.bounds import COUNT, SHARE
from dd_assets.later import later
from dd_assets.methods.contract import Facts, Method, Needs, Recipe, UnderNetworks, variant
from dd_assets.methods.random import recipe as random
from dd_assets.methods.sre2l import recipe as sre2l


@dataclass(frozen=True, kw_only=True)
class Parameters(UnderNetworks):
    """The recovery's settings; the defaults are the published scripts' for every dataset."""

    iterations: int = 4000
    """Those of the first group; group k of M gets (M - k) / M of them."""
    rounds: int = 8
    """M, groups per class at most; 1 optimises all images from the beginning."""
    batch: int = 100
    """Images of whole classes per batch at most; a class with more images has a batch to itself."""
    learning_rate: float = 0.25
    r_bn: float = 0.01
    first_bn_multiplier: float = 10.0
    crop: bool = True
    crop_scale_min: float = 0.08
    curriculum: Literal["step", "linear", "cosine"] = "cosine"
    """CDA's, over the iterations of the first group: late images never see its beginning."""
    milestone: float = 1.0
    hflip: bool = True
    """Applied only where a mirrored image keeps its class."""
    jitter: int = 0
    jitter_symmetric: bool = False
    init: str = later("real")
    """Where images begin: "real" (median probability), "noise", or the name of a method whose images they are."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """SRe2L's reason, or that a class has too few images to begin with, or None."""
    few = random.refuse(random.Parameters(), facts, ipc) if parameters.init == "real" else None
    return few or sre2l.jitter_reason(parameters.jitter, facts.size)


_SOURCE = "DELT scripts/resnet18_imagenet1k_synthesis.sh: 4,000 iterations, rounds of 500, no jitter"


def _recipe(note: str, own: str) -> Recipe:
    return Recipe(
        parameters=Parameters(),
        source=_SOURCE + note,
        expected=f"own protocol, ResNet-18, {own}" if own else "",
    )


METHOD = Method(
    name="delt",
    title="DELT",
    family="optimisation",
    paper=(
        "Shen, Sherif, Yin, Shao: DELT: A Simple Diversity-driven EarlyLate Training for Dataset Distillation. "
        "CVPR 2025, arXiv 2411.19946"
    ),
    code="VILA-Lab/DELT f2f81ca",
    differs=(
        "Float64 ranking; the teacher's own normalisation and the setting's images; whole classes per batch; otherwise "
        "as SRe2L here."
    ),
    fidelity="code",
    summary=(
        "Real images of median teacher probability enter a recovery with CDA's curriculum in M groups per class, group "
        "k at iteration kT/M, and stay to the end. Schedules, Adam's state and the batch are common to all groups."
    ),
    version=2,
    draws=1,
    per_index=False,
    needs=Needs(teacher=True, real_images=True),
    recipes={
        "digits": Recipe(
            parameters=Parameters(iterations=200, learning_rate=0.05, r_bn=0.1, crop_scale_min=0.85, hflip=False),
            source=(
                "own: 200 iterations (8 rounds of 25), crops down to .85, no flip; learning rate .02/.05/.1, r_bn .1/1 "
                "and smallest crop .5/.85 by a small sweep on a validation fifth of the training split (one draw, two "
                "students)"
            ),
            expected=(
                "ConvNet-2-64 student, plain loop of 240 steps, validation fifth, IPC 5: soft .95, hard .88; the same "
                "images before the optimisation .92, .92 (random .91, .89; noise .10, .03); teacher .98"
            ),
            cost="one CPU core: 0.3 s per ten images at IPC 10, 0.9 s at IPC 1",
        ),
        "mnist": Recipe(parameters=Parameters(iterations=1000), source="own: 1,000 iterations; not tuned"),
        "fashion_mnist": Recipe(parameters=Parameters(iterations=1000), source="own: 1,000 iterations; not tuned"),
        "cifar10": _recipe(
            "; no CIFAR-10 script is published, nor which of its IPC 1 runs the paper reports",
            "IPC 1/10/50: 24.0/43.0/64.9",
        ),
        "cifar100": _recipe("; reused", ""),
        "tiny_imagenet": _recipe("; the same for Tiny-ImageNet", "IPC 1/10/50: 9.3/43.0/55.7"),
        "imagenette": _recipe("; the same for ImageNette", "IPC 1/10/50: 24.1/66.0/88.2"),
        "imagewoof": _recipe("; reused", ""),
        "imagenet1k": _recipe("", "IPC 10/50/100: 45.8/59.2/62.4"),
        "default": Recipe(parameters=Parameters(iterations=1000), source="own: 1,000 iterations; not tuned"),
    },
    synthesis="dd_assets.methods.delt.synthesis:synthesise",
    ranges={**sre2l.RANGES, "rounds": COUNT, "milestone": SHARE},
    refuse=refuse,
)

VARIANTS = (variant(METHOD, "delt_init", "DELT, not optimised", "No iterations: its initial images.", iterations=0),)
