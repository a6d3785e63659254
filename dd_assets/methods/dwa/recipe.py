"""DWA: real images recovered under weights adjusted against them.

Paper: Du, Zhang, Hu, Huang, Zhou, "Diversity-Driven Synthesis: Enhancing Dataset Distillation through Directed Weight
Adjustment", NeurIPS 2024, arXiv 2409.17612. Original code: AngusDujw/Diversity-Driven-Synthesis c5b125f.
Differs: images to begin with are drawn with a seed (the original takes the first files of an unsorted listing, for
CIFAR a random choice); every batch gets weights of its own, as the paper says, while the released code lets the
adjustment accumulate over the batches of an IPC index (`compat`); its first step of a later batch moreover adds a stale
gradient of all iterations before, which is reproduced by neither, nor the gradients that the passes of the adjustment
leave in the images before the first step. For CIFAR-10 its images are clipped and written with another std than its
teacher was trained with, here with one. Lossless images, in-house teachers, RD3 evaluation.
Expected: own protocol, ResNet-18: CIFAR-10 IPC 10/50 32.6/53.1, CIFAR-100 39.6/60.9, Tiny-ImageNet 50/100 52.8/56.0,
ImageNet-1K 10/50/100 37.9/55.2/59.2. RD3 Table 1 in each recipe. Hardware and time: not stated; about half of SRe2L's
2.1 s per 224 px image on one RTX 4090, with 2,000 iterations instead of 4,000 (computed).

Belongs here: this text, the parameters and their sources. Does not belong: the adjustment (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dd_assets.bounds import COUNT_OR_NONE, NOT_NEGATIVE
from dd_assets.later import later
from dd_assets.methods.contract import Facts, Method, Needs, Recipe, variant
from dd_assets.methods.random import recipe as random
from dd_assets.methods.sre2l import recipe as sre2l


@dataclass(frozen=True, kw_only=True)
class Parameters(sre2l.Parameters):
    """SRe2L's settings and the adjustment; the defaults are ImageNet-1K's (distillation/distillation_imgnet.py)."""

    iterations: int = 2000
    steps: int = 15
    """K, ascent steps at the beginning of a batch."""
    rho: float = 0.015
    """Length of the whole adjustment at most, in the norm over all parameters together."""
    r_var: float = 2.0
    """Further weight of the variance distance, within r_bn; the mean distance does not get it."""
    init: str = later("real")
    """Where images begin: "real" (random real images), "noise", or the name of a method whose images they are."""
    compat: bool = False
    """As the released code: a batch starts from the adjusted weights of the batch before it, per IPC index."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """SRe2L's reason, or that a class has too few images to begin with, or None."""
    few = random.refuse(random.Parameters(), facts, ipc) if parameters.init == "real" else None
    return few or sre2l.refuse(parameters, facts, ipc)


_LARGE = Parameters()
_LARGE_SOURCE = "DWA scripts/run_imgnet.sh: K 15, rho .015, r_var 2"
_CIFAR = Parameters(iterations=1000, crop=False, hflip=False, jitter=4, steps=12, r_var=11.0)
_CIFAR_SOURCE = "DWA scripts/run_cifar.sh: K 12, rho .015, r_var 11, jitter the only augmentation"
_TINY = Parameters(learning_rate=0.1, batch=200, jitter=4, steps=12, r_var=11.0)
_SMALL = replace(_CIFAR, jitter=2)


def _recipe(parameters: Parameters, source: str, rd3: str, own: str = "") -> Recipe:
    expected = f"RD3 Table 1, ResNet-18, IPC 1/10/50/100: {rd3}" + (f"; own protocol {own}" if own else "")
    return Recipe(parameters=parameters, source=source, expected=expected)


METHOD = Method(
    name="dwa",
    title="DWA",
    family="optimisation",
    paper=(
        "Du, Zhang, Hu, Huang, Zhou: Diversity-Driven Synthesis: Enhancing Dataset Distillation through Directed "
        "Weight Adjustment. NeurIPS 2024, arXiv 2409.17612"
    ),
    code="AngusDujw/Diversity-Driven-Synthesis c5b125f",
    differs=(
        "Seeded images to begin with; fresh weights for every batch as in the paper, accumulating ones as in the code "
        "with compat, but without the code's stale gradient; otherwise as SRe2L here."
    ),
    fidelity="code",
    summary=(
        "SRe2L from random real images, under weights moved up their loss so that batches see different teachers: K "
        "times θ ← θ + (ρ/K) g/‖g‖₂, g = ∇_θ CE. Variances count r_var times in the BN distance."
    ),
    version=2,
    draws=1,
    per_index=True,
    needs=Needs(teacher=True, real_images=True),
    recipes={
        "digits": Recipe(
            parameters=replace(_SMALL, iterations=200, learning_rate=0.02, r_bn=0.1, jitter=1),
            source=(
                "own: CIFAR's with 200 iterations and jitter 1 of 8 px; learning rate .02/.05/.1, r_bn .1/1 and r_var "
                "2/11 by a small sweep on a validation fifth of the training split (one draw, two students)"
            ),
            expected=(
                "ConvNet-2-64 student, plain loop of 240 steps, validation fifth, IPC 5: soft .90, hard .87; the same "
                "images before the optimisation .92, .87 (noise .10, .03); teacher .98"
            ),
            cost="one CPU core: 0.7 to 1.0 s per IPC index (ten images)",
        ),
        "mnist": Recipe(parameters=_SMALL, source="own: CIFAR's with jitter 2 of 28 px; not tuned"),
        "fashion_mnist": Recipe(parameters=_SMALL, source="own: CIFAR's with jitter 2 of 28 px; not tuned"),
        "cifar10": _recipe(
            _CIFAR,
            f"{_CIFAR_SOURCE}; CIFAR-100's, reused: no CIFAR-10 call is published",
            "18.3/33.1/59.9/72.3",
            "10/50 32.6/53.1",
        ),
        "cifar100": _recipe(_CIFAR, _CIFAR_SOURCE, "7.5/41.3/62.1/64.2", "10/50 39.6/60.9"),
        "tiny_imagenet": _recipe(
            _TINY,
            "DWA scripts/run_tiny.sh: batch 200, so that all classes share it",
            "6.8/38.3/54.2/56.8",
            "50/100 52.8/56.0",
        ),
        "imagenette": _recipe(_LARGE, f"{_LARGE_SOURCE}; reused", "29.7/64.3/83.2/87.1"),
        "imagewoof": _recipe(_LARGE, f"{_LARGE_SOURCE}; reused", "16.5/36.1/67.8/75.2"),
        "imagenet1k": _recipe(_LARGE, _LARGE_SOURCE, "4.5/42.5/57.7/62.1", "10/50/100 37.9/55.2/59.2"),
        "default": Recipe(parameters=_CIFAR, source=f"{_CIFAR_SOURCE}; not tuned elsewhere"),
    },
    synthesis="dd_assets.methods.dwa.synthesis:synthesise",
    ranges={**sre2l.RANGES, "steps": COUNT_OR_NONE, "rho": NOT_NEGATIVE, "r_var": NOT_NEGATIVE},
    refuse=refuse,
)

VARIANTS = (variant(METHOD, "dwa_init", "DWA, not optimised", "No iterations: its initial images.", iterations=0),)
