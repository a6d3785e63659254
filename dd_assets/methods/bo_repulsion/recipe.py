"""BO+repulsion: real images, noised and denoised with a searched strength, pushed apart within the class.

Paper: the one that joins Bayesian optimisation and repulsion, AAAI 2026. Original code: sb3991/adaptive-diffusion-dd
b676742, synthesize/LocalStableDiffusion.py.
Differs: a grid of nine pairs takes the place of the Gaussian process's twenty; noise strengths are the signal levels
that they mean on Stable Diffusion's schedule; one search per class (per part of it where IPC is above `batch`; the
code: per four images). The code's search (synthesize/main_GUIDE.py) compares the teacher's mean confidence in the class
at temperature 20, generated less real, on samples of 10 steps with repulsion; here it is the KL of the project's
description, on half the steps without. The code then diffuses 600 images of a class (argument.py's default), and RDED's
selection keeps the most realistic of one crop of each (synthesize/main_2.py; factor 1, so nothing is stitched); which
of the two stands behind the published figures is not stated, and `search_for`, `candidates` and `mosaic` do it:
docs/examples/recipes/bo_repulsion_released.yaml, from at most 128 real images of a class, each of which then begins
several under other noise. It samples with DPM-Solver under captions and the negative prompt "cartoon, anime, painting";
here DDIM under class names. This project's generators, teachers and protocol.
Checked against: the code of repulsion, of the search and of what follows it, see above.
Expected: in each recipe, in the paper's own protocol (its code trains for 500 epochs). Hardware and time: 2.7 s per
image, .7 of them the search (AAAI26 Table 5); digits in the recipe.

Belongs here: this text, the parameters and their sources. Does not belong: the sampling (diffusion/).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.methods.contract import Facts, Method, Needs, Recipe

LEVELS = (0.4552, 0.1347, 0.0172)
"""ᾱ of the strengths .4, about .65 and .9 on Stable Diffusion's schedule in 50 steps, where .65 itself has .1413."""


@dataclass(frozen=True, kw_only=True)
class Parameters(Sampling):
    """The sampling's settings with the paper's values: from random real latents, searched, repelled."""

    start: Literal["noise", "centroid", "nearest", "random", "gaussian"] = "random"
    repulsion: float = 0.3
    search_scales: tuple[float, ...] = (3.0, 5.5, 8.0)
    search_levels: tuple[float, ...] = LEVELS


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why these parameters make no sense, or why a class has fewer images than IPC, or None.

    Candidates of an image may begin from the same real one.
    """
    reason = sampling_reason(parameters)
    if reason or parameters.start != "random" or not facts.train_counts:
        return reason
    fewest = min(facts.train_counts)
    return f"its smallest class has {fewest} training images, IPC is {ipc}" if fewest < ipc else None


PUBLISHED = Parameters(generator="pretrained", condition="text", search_scales=(4.0, 6.5, 9.0))
_SOURCE = (
    "guidance 4 to 9 (3 to 8 in the code, which adds the difference to the conditional answer), strength .4 to .9, λ"
    " .3; the nine pairs of the grid and half the steps in the search are ours; with a DiT folder set condition: class"
)
_SMALL = replace(PUBLISHED, generator="small", condition="class", search_scales=(1.0, 1.5, 2.5))
_OWN = "own: the paper's strengths and λ with three guidance scales for the small generator; not tuned"


_UNSEEN = "; the paper does not use this dataset"


def _published(expected: str, source: str = "") -> Recipe:
    return Recipe(
        parameters=PUBLISHED, source=f"{_SOURCE}{source}", expected=expected, cost="2.7 s per image (AAAI26 Table 5)"
    )


def _own(cost: str = "") -> Recipe:
    return Recipe(parameters=_SMALL, source=_OWN, cost=cost)


METHOD = Method(
    name="bo_repulsion",
    title="BO+repulsion (grid)",
    family="generation",
    paper="The paper that joins Bayesian optimisation and repulsion in Stable Diffusion. AAAI 2026",
    code="sb3991/adaptive-diffusion-dd b676742",
    differs=(
        "A grid in place of the Gaussian process, by KL in place of confidence; strengths are signal levels; without "
        "the choice among crops of 600 images, which the code makes (recipe bo_repulsion_released); this project's "
        "generators, teachers and protocol."
    ),
    fidelity="text",
    summary=(
        "Random real images are noised and denoised; per class the guidance scale and the noise level are those under "
        "which the teacher's answers stay nearest to the real ones', max -KL(T(real) || T(generated)), and samples "
        "push each other apart: ε - λ σ Σ ∇k."
    ),
    version=2,
    draws=1,
    per_index=False,
    needs=Needs(generator=True),
    recipes={
        "digits": _own(cost="one CPU core: 9.7 CPU-seconds per 100 images (docs/results/digits.md)"),
        "mnist": _own(),
        "fashion_mnist": _own(),
        "cifar10": _own(),
        "cifar100": _published("", _UNSEEN),
        "tiny_imagenet": _published("", _UNSEEN),
        "imageidc": _published("", _UNSEEN),
        "imagenette": _published("AAAI26 Table 2, ResNet-18, IPC 10/50/100: 74.6/87.8/92.1"),
        "imagewoof": _published("AAAI26 Table 2, ResNet-18, IPC 10/50/100: 57.2/72.6/78.7"),
        "imagenet1k": _published("ResNet-18, IPC 10/50/100: 46.6/61.4/63.2"),
        "default": _own(),
    },
    synthesis="dd_assets.methods.bo_repulsion.synthesis:synthesise",
    refuse=refuse,
)
