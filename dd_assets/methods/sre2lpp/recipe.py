"""SRe2L++: SRe2L from RDED's images, cropped and mirrored on every dataset.

Paper: the baseline of CV-DD and its case of a single teacher. Cui, Li, Ma, Bi, Luo, Shen, "Dataset Distillation via
Committee Voting", 2025, arXiv 2501.07575. Original code: Jiacheng8/CV-DD 24097e9, recover/recover.py, model setting 0.
Differs: image k begins from this project's RDED image k instead of one drawn from a download; lossless; seeded;
in-house teachers; RD3 relabels and evaluates (the paper relabels with the batch statistics of half a batch, BSSL).
Expected: own protocol with BSSL, in each recipe; not in RD3's tables. Hardware and time: 2.52 s per 224 px image with
ResNet-18 and 4,000 iterations on one RTX 4090 (FADRM's figure).

It is also what a measured prior distils with one committee member as its teacher (planning/committees.py).

Belongs here: this text, the parameters and their sources. Does not belong: the loop (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dd_assets.methods.contract import Facts, Method, Needs, Recipe, UnderNetworks
from dd_assets.methods.sre2l.recipe import RANGES, jitter_reason


@dataclass(frozen=True, kw_only=True)
class Parameters(UnderNetworks):
    """The recovery's settings; the defaults are the published ones at 224 px."""

    iterations: int = 4000
    batch: int = 100
    """Images per batch at most, one of each class; the batch statistics are taken over them."""
    learning_rate: float = 0.25
    r_bn: float = 0.01
    """Weight of the BN distance, the same for every teacher although the distance grows with depth and width."""
    first_bn_multiplier: float = 10.0
    crop: bool = True
    crop_scale_min: float = 0.08
    hflip: bool = True
    """Applied only where a mirrored image keeps its class."""
    jitter: int = 32
    """Largest cyclic shift in pixels, per axis."""
    jitter_symmetric: bool = False
    init: str = "rded"
    """Where images begin: "noise", or the name of a method whose images they are."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why these parameters make no sense for the images, or None."""
    return jitter_reason(parameters.jitter, facts.size)


SMALL = Parameters(jitter=4)
"""Published for images up to 64 px."""
LARGE = Parameters()

_SOURCE = "CV-DD recover/recover.py, model setting 0: 4,000 iterations, learning rate .25, r_bn .01, RRC and flip"


def _published(parameters: Parameters, own: str, note: str = "") -> Recipe:
    return Recipe(
        parameters=parameters,
        source=f"{_SOURCE}, jitter {parameters.jitter}{note}",
        expected=f"own protocol (BSSL), ResNet-18, IPC 1/10/50: {own}" if own else "",
        cost="one RTX 4090: 2.52 s per image at 224 px (FADRM)" if parameters is LARGE else "",
    )


_OWN = replace(SMALL, iterations=1000, jitter=2)
_OWN_SOURCE = "own: CIFAR-10's with 1,000 iterations, jitter 2 of 28 px; not tuned"

METHOD = Method(
    name="sre2lpp",
    title="SRe2L++",
    family="optimisation",
    paper="Cui, Li, Ma, Bi, Luo, Shen: Dataset Distillation via Committee Voting. arXiv 2501.07575 (its SRe2L++)",
    code="Jiacheng8/CV-DD 24097e9",
    differs="This project's RDED images as the beginning; no batch-specific soft labels; otherwise as SRe2L here.",
    fidelity="code",
    summary=(
        "RDED's images are optimised as SRe2L optimises noise: min CE(f(A(x)), y) + r_bn BN(f, A(x)) under one "
        "teacher f. Random resized crops and mirrors are used on small images as well."
    ),
    version=2,
    draws=1,
    per_index=True,
    needs=Needs(teacher=True),
    recipes={
        "digits": Recipe(
            parameters=Parameters(
                iterations=200, learning_rate=0.02, r_bn=0.1, crop_scale_min=0.85, hflip=False, jitter=1
            ),
            source=(
                "own: crops down to .85, no flip, jitter 1 of 8 px; learning rate .02/.05/.1, r_bn .01/.1/1 and "
                "smallest crop .5/.85, six settings, by a small sweep on a validation fifth of the training split (one "
                "draw, two students)"
            ),
            expected=(
                "ConvNet-2-64 student, plain loop of 240 steps, validation fifth, IPC 5: soft .89, hard .79; RDED's "
                "images that it begins from .91, .83; the other settings .86 to .89, .75 to .78; teacher .99"
            ),
            cost="one CPU core: 0.9 s per IPC index (ten images)",
        ),
        "mnist": Recipe(parameters=replace(_OWN, hflip=False), source=f"{_OWN_SOURCE}; no flip"),
        "fashion_mnist": Recipe(parameters=_OWN, source=_OWN_SOURCE),
        "cifar10": _published(SMALL, "24.4/42.5/63.0"),
        "cifar100": _published(SMALL, "13.5/52.1/64.0"),
        "tiny_imagenet": _published(SMALL, "9.3/46.5/53.5"),
        "imagenette": _published(LARGE, "29.7/62.4/80.3"),
        "imagewoof": _published(LARGE, "", "; ImageNette's, reused"),
        "imagenet1k": _published(LARGE, "8.6/43.1/57.6"),
        "default": Recipe(
            parameters=replace(SMALL, iterations=1000),
            source="own: CIFAR-10's with 1,000 iterations; not tuned",
        ),
    },
    synthesis="dd_assets.methods.sre2lpp.synthesis:synthesise",
    ranges=RANGES,
    refuse=refuse,
)
