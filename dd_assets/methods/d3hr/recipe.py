"""D3HR: images denoised from the distribution in which a class's DDIM-inverted latents lie.

Paper: "D3HR", ICML 2025. Original code: lin-zhao-resoLve/D3HR 8ba351d, generation/.
Differs: one of 1,000 groups of draws is chosen (paper and code give the skewness different weights and draw different
numbers of groups; the code draws 10^8 per class), on small images by mean and deviation alone, in units of each
number's deviation (`group_score: units`; elsewhere as the code: of the latents themselves, so that wide ones count
more, with the skewness); inversion is under the class without guidance (the code's has 4); the step, the 31st of 50
(loop index 30, t = 600), is stored as the signal level that it has on DiT's schedule. The code begins to sample at
t = 620, one step off its own statistics; here both are one level. This project's generators, teachers and protocol.
Checked against: the project's description (generation reference §10), and dit_inversion_save_statistic.py and
group_sampling.py at 7eb979f.
Expected: in each recipe, in the paper's own protocol. Hardware and time: digits in the recipe.

Belongs here: this text, the parameters and their sources. Does not belong: the sampling (diffusion/).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.methods.contract import Facts, Method, Needs, Recipe


@dataclass(frozen=True, kw_only=True)
class Parameters(Sampling):
    """The sampling's settings with D3HR's values: from the class's distribution at step 31 of 50."""

    guidance_scale: float = 4.0
    start: Literal["noise", "centroid", "nearest", "random", "gaussian"] = "gaussian"
    start_level: float = 0.0256
    groups: int = 1000


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why these parameters make no sense, or None."""
    return sampling_reason(parameters)


PUBLISHED = Parameters(generator="pretrained", group_score="latents")
_SOURCE = (
    "group_sampling.py: the 31st step of 50 (t = 600, ᾱ .0256), a diagonal normal distribution per class, guidance 4;"
    " 1,000 groups are ours, chosen by the code's score"
)
_SMALL = replace(PUBLISHED, generator="small", guidance_scale=1.5, start_level=0.0172, group_score="units")
_OWN = (
    "own: one step noisier than the paper's (which was first read as ᾱ .0172; what was measured has it) and groups"
    " chosen in units of each number, as measured, with the small generator's guidance scale; not tuned"
)


_UNSEEN = "; the paper does not use this dataset"
_BY_TEXT = f"{_UNSEEN}, whose classes are none of DiT's: Stable Diffusion by class name, with D4M's guidance 8"


def _published(expected: str = "", source: str = "", **changes: Any) -> Recipe:
    return Recipe(parameters=replace(PUBLISHED, **changes), source=f"{_SOURCE}{source}", expected=expected)


def _own(expected: str = "", cost: str = "") -> Recipe:
    return Recipe(parameters=_SMALL, source=_OWN, expected=expected, cost=cost)


METHOD = Method(
    name="d3hr",
    title="D3HR",
    family="generation",
    paper="D3HR. ICML 2025",
    code="lin-zhao-resoLve/D3HR 8ba351d",
    differs=(
        "1,000 groups, on small images chosen by mean and deviation alone; inversion without guidance; the step is a "
        "signal level; this project's generators, teachers and protocol."
    ),
    fidelity="text",
    summary=(
        "Real latents are DDIM-inverted to a noise level, where each class is nearly a diagonal normal distribution; "
        "of many groups of draws the one whose mean and deviation are nearest to it is denoised: "
        "min over groups of mean(m² + (s - 1)²)."
    ),
    version=1,
    draws=1,
    per_index=False,
    needs=Needs(generator=True),
    recipes={
        "digits": _own(cost="one CPU core: 2.3 CPU-seconds per 100 images (docs/results/digits.md)"),
        "mnist": _own(),
        "fashion_mnist": _own(),
        "cifar10": _own("ResNet-18, IPC 10/50: 41.3/- (IPC 50 with 1,000 epochs: 85.2), DiT fine-tuned for 400 epochs"),
        "cifar100": _published("", _BY_TEXT, condition="text", guidance_scale=8.0),
        "tiny_imagenet": _published("", _UNSEEN),
        "imageidc": _published("", _UNSEEN),
        "imagenet1k": _published("RDED's protocol, ResNet-18, IPC 10/50/100: 44.3/59.4/62.5"),
        "imagenette": _published(),
        "imagewoof": _published(),
        "default": _own(),
    },
    synthesis="dd_assets.methods.d3hr.synthesis:synthesise",
    refuse=refuse,
)
