"""D4M: disentangled diffusion; class centroids in latent space begin a short denoising.

Paper: Su, Hou, Gao, Liu, Wang, Xu, Qi, Zhang, Luo, Zhou: "D4M: Dataset Distillation via Disentangled Diffusion Model",
CVPR 2024, arXiv 2407.15138. Original code: suduo94/D4M da35d10, distillation/gen_prototype.py and gen_syn_image.py.
Differs: every image of a class is clustered (the original drops the rest of each class but the last, and with its
scripts' km_expand 1 fits little more than the last IPC images); centroids are keyed by class, not by prompt; latents
are the posterior's mode, not a sample; seeded; DDIM takes the place of PNDM; the noise strength .7 is stored as the
signal level it means on Stable Diffusion's schedule, ᾱ = .0946 (35 of 50 steps), so that another schedule gets the
same noise; this project's teachers and RD3 relabel and evaluate.
Expected: own protocol, ResNet-18: ImageNet-1K IPC 10/50/100 27.9/55.2/59.3; RD3's in each recipe. On small data plain
samples may lie below random real images (generation reference §12). Hardware and time: 2.6 s per 512 px image, 6.4 GB
(AAAI26 Table 5); digits in docs/generators.md.

Belongs here: this text, the parameters and their sources. Does not belong: the sampling (diffusion/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.methods.contract import Facts, Method, Needs, Recipe


@dataclass(frozen=True, kw_only=True)
class Parameters(Sampling):
    """The sampling's settings with D4M's values: from centroids, at the level of strength .7."""

    start: Literal["noise", "centroid", "nearest", "random", "gaussian"] = "centroid"
    """nearest begins from the real latent next to each centroid: means of latents vary too little, which blurs images
    at low noise."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why these parameters make no sense, or why a class cannot give `ipc` clusters, or None."""
    reason = sampling_reason(parameters)
    if reason or parameters.start == "noise" or not facts.train_counts:
        return reason
    fewest = min(facts.train_counts)
    return f"its smallest class has {fewest} training images, IPC is {ipc}" if fewest < ipc else None


PUBLISHED = Parameters(
    generator="pretrained",
    condition="text",
    guidance_scale=8.0,
    negative_prompt="cartoon, anime, painting",
)
_SOURCE = (
    "distillation/scripts: strength .7, guidance 8, 50 steps, the class name as prompt and the negative prompt of"
    " gen_syn_image.py; with a DiT folder set condition: class and guidance_scale: 4"
)
_SMALL = Parameters(guidance_scale=1.5, start_level=0.4)


def _published(expected: str) -> Recipe:
    return Recipe(
        parameters=PUBLISHED,
        source=_SOURCE,
        expected=expected,
        cost="one RTX 3090-class GPU: 2.6 s per image at 512 px, 6.4 GB (AAAI26 Table 5)",
    )


def _own(expected: str = "", cost: str = "") -> Recipe:
    return Recipe(
        parameters=_SMALL,
        source=(
            "own: ᾱ .4 (16 of 50 steps of the linear schedule) and guidance 1.5, near the better of four strengths and"
            " two scales tried on 8x8 digits (generation reference §12); at strength .7 the centroid is forgotten"
        ),
        expected=expected,
        cost=cost,
    )


METHOD = Method(
    name="d4m",
    title="D4M",
    family="generation",
    paper="Su et al.: D4M: Dataset Distillation via Disentangled Diffusion Model. CVPR 2024, arXiv 2407.15138",
    code="suduo94/D4M da35d10",
    differs=(
        "All images of a class are clustered, keyed by class; mode latents; seeded; DDIM; the strength is a signal"
        " level; this project's generators, teachers and protocol."
    ),
    fidelity="code",
    summary=(
        "Each class's latents are clustered by k-means with k = IPC; every centroid μ is noised to a signal level ᾱ "
        "and denoised under the class: z = sqrt(ᾱ) μ + sqrt(1 - ᾱ) ε, then the remaining DDIM steps."
    ),
    version=1,
    draws=1,
    per_index=True,
    needs=Needs(generator=True),
    recipes={
        "digits": _own(cost="one CPU core: 1.4 CPU-seconds per 100 images (measured)"),
        "mnist": _own(),
        "fashion_mnist": _own(),
        "cifar10": _own("RD3 Table 1, ResNet-18, IPC 1/10/50/100: 13.4/34.7/61.9/77.7"),
        "cifar100": _published("RD3 Table 1, ResNet-18, IPC 1/10/50/100: 6.6/47.8/64.3/68.9"),
        "tiny_imagenet": _published("RD3 Table 1, ResNet-18, IPC 1/10/50/100: 3.9/36.7/53.8/57.6"),
        "imagenette": _published("RD3 Table 1, ResNet-18, IPC 1/10/50/100: 27.7/66.3/86.5/90.7"),
        "imagewoof": _published("RD3 Table 1, ResNet-18, IPC 1/10/50/100: 19.7/35.4/69.8/80.3"),
        "imageidc": _published(""),
        "imagenet1k": _published(
            "RD3 Table 1, ResNet-18, IPC 1/10/50/100: 5.4/45.4/60.2/63.5; own protocol 10/50/100: 27.9/55.2/59.3"
        ),
        "default": _own(),
    },
    synthesis="dd_assets.methods.d4m.synthesis:synthesise",
    refuse=refuse,
)
