"""RDED: the most realistic patches of real images, stitched.

Paper: Sun, Shi, Yu, Lin, "On the Diversity and Realism of Distilled Dataset", CVPR 2024, arXiv 2312.03526. Original
code: LINs-lab/RDED 3f6453d, synthesize/main.py and synthesize/utils.py.
Differs: candidates and crops are seeded (the original shuffles a folder listing unseeded); the teacher's own
normalisation is used (the original uses ImageNet's for every dataset); crops are taken from the setting's images, not
from files at native resolution; images are lossless instead of JPEG; ranking is in float64, because dozens of patches
tie at exactly 0 in float32 with a teacher that fits its training set.
Small images: RD3 (B.8) says RDED omits the crop on CIFAR, its code takes five crops with factor 1. `crop_small`
chooses, and the code is the default, because the published numbers come from it.
Expected: own protocol, ResNet-18, IPC 1/10/50: CIFAR-10 22.9/37.1/62.1, CIFAR-100 11.0/42.6/62.6, Tiny-ImageNet
9.7/41.9/58.2, ImageNette 35.8/61.4/80.4, ImageWoof 20.8/38.5/68.5, ImageNet-1K 6.6/42.0/56.5. RD3 Table 1 in each
recipe. Hardware and time: 40 ms per image with ResNet-18 on one RTX 4090 (ImageNet-1K IPC 10: 7 minutes).

Belongs here: this text, the parameters and their sources. Does not belong: the selection (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dd_assets.bounds import COUNT
from dd_assets.later import later
from dd_assets.methods.contract import Facts, Method, Needs, Recipe

SMALL = 64
"""Images up to this side, in pixels, obey `crop_small`."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The selection's settings; the defaults are those of the original's 224 px scripts."""

    factor: int = 2
    """Patches per axis of a distilled image; a patch has side size // factor."""
    mipc: int = 300
    """Candidate images per class at most."""
    num_crops: int = 5
    crop_scale_min: float = 0.08
    crop_scale_max: float = 1.0
    crop_small: Literal["code", "paper"] = "code"
    """For images up to 64 px: num_crops random crops (code), or the whole image once (paper, RD3 B.8)."""
    score_dtype: Literal["float64", "float32"] = "float64"
    """float32 ranks by cross-entropy as the original does, ties in order of the draw."""
    precision: Literal["fp32", "bf16"] = later("fp32")
    """bf16: the teacher scores in mixed precision; among crops of almost equal scores it may choose others."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why there are too few candidates or the grid does not fill the image, or None."""
    patches = ipc * parameters.factor**2
    if patches > parameters.mipc:
        return f"IPC {ipc} with factor {parameters.factor} needs {patches} patches per class, mipc is {parameters.mipc}"
    if facts.size % parameters.factor:
        return f"{facts.size} px is not a multiple of factor {parameters.factor}"
    for name, count in zip(facts.classes, facts.train_counts, strict=True):
        if count < patches:
            return f"class {name!r} has {count} training images, IPC {ipc} needs {patches} patches of different ones"
    return None


_LARGE = Parameters()
_FACTOR_1 = Parameters(factor=1)
_COST = "one RTX 4090: 40 ms per image with ResNet-18"


def _published(parameters: Parameters, script: str, own: str, rd3: str) -> Recipe:
    return Recipe(
        parameters=parameters,
        source=f"RDED:{script}: factor {parameters.factor}, mipc 300, num_crop 5",
        expected=f"ResNet-18, IPC 1/10/50: {own} (own protocol); IPC 1/10/50/100: {rd3} (RD3 Table 1)",
        cost=_COST,
    )


METHOD = Method(
    name="rded",
    title="RDED",
    family="selection",
    paper="Sun, Shi, Yu, Lin: On the Diversity and Realism of Distilled Dataset. CVPR 2024, arXiv 2312.03526",
    code="LINs-lab/RDED 3f6453d",
    differs=(
        "Seeded candidates and crops; the teacher's own normalisation; crops of the setting's images; lossless; "
        "float64 ranking where float32 ties."
    ),
    fidelity="code",
    summary=(
        "Of each candidate image the random crop with the lowest teacher loss -log p(y | crop) is kept, then the best "
        "IPC · factor² of a class are stitched into grids of factor × factor. Crops are scored centred on mean grey."
    ),
    version=1,
    draws=3,
    per_index=False,
    needs=Needs(teacher=True, real_images=True),
    recipes={
        "digits": Recipe(
            parameters=replace(_FACTOR_1, mipc=100, crop_scale_min=0.85),
            source=(
                "own: factor 1 as CIFAR, mipc 100 of about 143 images per class; crop scale of .08/.5/.7/.85 and no "
                "crop by a small sweep on a validation fifth of the training split (one draw, two students)"
            ),
            expected=(
                "ConvNet-2-64 student, plain loop of 120 steps and more, validation fifth: IPC 1 soft .82, hard .75; "
                "IPC 10 soft .92, hard .86 (random: .70, .60 and .96, .92)"
            ),
            cost="one CPU core: 0.6 s per draw",
        ),
        "mnist": Recipe(parameters=replace(_FACTOR_1, crop_scale_min=0.5), source="own: factor 1 as CIFAR; not tuned"),
        "fashion_mnist": Recipe(
            parameters=replace(_FACTOR_1, crop_scale_min=0.5), source="own: factor 1 as CIFAR; not tuned"
        ),
        "cifar10": _published(_FACTOR_1, "scripts/cifar10_*", "22.9/37.1/62.1", "22.5/37.3/63.3/75.7"),
        "cifar100": _published(_FACTOR_1, "scripts/cifar100_*", "11.0/42.6/62.6", "11.8/44.4/64.1/67.5"),
        "tiny_imagenet": _published(_FACTOR_1, "scripts/tinyimagenet_*", "9.7/41.9/58.2", "11.1/44.2/58.7/61.8"),
        "imagenette": _published(_LARGE, "scripts/imagenet-nette_*", "35.8/61.4/80.4", "31.4/63.8/86.8/89.6"),
        "imagewoof": _published(_LARGE, "scripts/imagenet-woof_*", "20.8/38.5/68.5", "20.3/46.5/72.0/78.6"),
        "imagenet1k": _published(_LARGE, "scripts/imagenet-1k_*", "6.6/42.0/56.5", "7.6/46.3/58.9/61.5"),
        "default": Recipe(parameters=_FACTOR_1, source="RDED's CIFAR setting; for 224 px choose factor 2"),
    },
    synthesis="dd_assets.methods.rded.synthesis:synthesise",
    ranges=dict.fromkeys(("factor", "mipc", "num_crops"), COUNT),
    refuse=refuse,
)
