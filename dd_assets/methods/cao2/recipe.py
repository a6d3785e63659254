"""CaO2: several samples per image, of which the teacher keeps some, refined under their condition.

Paper: "CaO2", ICCV 2025. Original code: hatchetProject/CaO2 6381e50 and 1fca022, sample_imagenet.py, sample_woof.py,
sample_nette.py.
Differs: the timesteps of the refinement are those of the schedule (the original hands spaced indices on as if they were
timesteps), labels are never dropped in it (the original leaves training mode on), the teacher sees normalised images
(the original's sees [-1, 1]) and is the setting's (the original's is torchvision's of ImageNet-1K, for ten classes
too); images it names wrongly fill up by their own class's probability (the original: by the greatest); this project's
generators, teachers and protocol.
Checked against: the project's description (generation reference §10) and those three files. They keep the surest of the
correct samples everywhere; a comment of sample_woof.py has the least sure at IPC 50, which a recipe cannot state per
IPC: `keep: uncertain`. For ImageNette the file neither chooses nor refines (one candidate, no iterations), although the
paper does; the recipe follows the paper.
Expected: in each recipe, in the papers' own protocols. Hardware and time: digits in the recipe.

Belongs here: this text, the parameters and their sources. Does not belong: the sampling (diffusion/).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.methods.contract import Facts, Method, Needs, Recipe


@dataclass(frozen=True, kw_only=True)
class Parameters(Sampling):
    """The sampling's settings with CaO2's values: four candidates, a hundred steps of refinement."""

    guidance_scale: float = 2.7
    candidates: int = 4
    keep: Literal["confident", "uncertain"] = "confident"
    refine: int = 100


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why these parameters make no sense, or None."""
    return sampling_reason(parameters)


EASY = Parameters(generator="pretrained", sampler="ddpm")
HARD = replace(EASY, refine_condition="null")
_SOURCE = (
    "generation reference §10: guidance 2.7, 2 to 4 candidates, 100 Adam steps at 6e-4, squared error + 10 times the"
    " largest; 50 DDPM steps of DiT-XL/2-256"
)
_EASY = f"{_SOURCE}; the surest are kept and refined under their class"
_HARD = f"{_SOURCE}; the surest are kept and refined under no class (sample_imagenet.py, sample_woof.py)"
_SMALL = Parameters(guidance_scale=1.5)
_OWN = "own: the paper's values with the small generator's guidance scale; not tuned"


_UNSEEN = "; the paper does not use this dataset"
_BY_TEXT = f"{_UNSEEN}, whose classes are none of DiT's: Stable Diffusion by class name, with D4M's guidance 8"


def _published(source: str, **changes: Any) -> Recipe:
    return Recipe(parameters=replace(EASY, **changes), source=f"{_EASY}{source}")


def _own(cost: str = "") -> Recipe:
    return Recipe(parameters=_SMALL, source=_OWN, cost=cost)


METHOD = Method(
    name="cao2",
    title="CaO2",
    family="generation",
    paper="CaO2. ICCV 2025",
    code="hatchetProject/CaO2 6381e50",
    differs=(
        "Timesteps of the refinement are the schedule's, labels are never dropped, the teacher sees normalised images; "
        "this project's generators, teachers and protocol."
    ),
    fidelity="text",
    summary=(
        "For every image several are sampled; of those that the teacher names correctly the surest (or least sure) "
        "stay, and their latents z are optimised so that the denoiser predicts fixed noise: min_z |ε - ε(z_t)|² + 10 "
        "max|ε - ε(z_t)| at small t."
    ),
    version=1,
    draws=1,
    per_index=False,
    needs=Needs(generator=True),
    recipes={
        "digits": _own(cost="one CPU core: 28.6 CPU-seconds per 100 images (docs/results/digits.md)"),
        "mnist": _own(),
        "fashion_mnist": _own(),
        "cifar10": _own(),
        "cifar100": _published(_BY_TEXT, condition="text", guidance_scale=8.0),
        "tiny_imagenet": _published(_UNSEEN),
        "imageidc": _published(_UNSEEN),
        "imagenette": Recipe(
            parameters=EASY, source=_EASY, expected="AAAI26 Table 2, ResNet-18, soft labels, IPC 10/50: 65.0/84.5"
        ),
        "imagewoof": Recipe(
            parameters=replace(HARD, candidates=2),
            source=f"{_HARD}, of two candidates; at IPC 50 the least sure",
            expected="ResNet-18, soft labels, IPC 10: 45.6 (38.7 plain, 42.3 chosen, 41.8 refined); IPC 50: 68.9",
        ),
        "imagenet1k": Recipe(
            parameters=HARD, source=_HARD, expected="RDED's protocol, ResNet-18, IPC 10/50: 46.1/60.0"
        ),
        "default": _own(),
    },
    synthesis="dd_assets.methods.cao2.synthesis:synthesise",
    refuse=refuse,
)
