"""Minimax diffusion: a generator fine-tuned to be representative and diverse, then sampled plainly.

Paper: Gu, Vahidian, Kungurtsev, Wang, Jiang, You, Chen: "Efficient Dataset Distillation via Minimax Diffusion",
CVPR 2024, arXiv 2311.15529. Original code: vimar-gu/MinimaxDiffusion 969fc6f, train_dit.py and sample.py.
Differs: latents are the posterior's mode, not a sample; the loss is the noise's MSE alone, without the bound that
trains DiT's variance, which is not sampled from here (docs/generators.md); diffusers' DiT has the class and time
embeddings once per block where the original has them once, so that DiffFit moves more numbers; the whole square image
is encoded, no centre crop; one autoencoder throughout, where the original trains with one and samples with another;
the same guidance on all latent channels; one fine-tuning for all classes of ImageNet-1K, where the original makes one
for every group of 20 or so; this project's teachers and RD3 relabel and evaluate.
Expected: RD3's in each recipe. The authors say that the method is not for CIFAR (issue 3): DiT-XL is conditioned on
ImageNet's classes. Hardware and time: about 1 h for ten classes (README); digits in docs/generators.md.

Belongs here: this text, the parameters and their sources. Does not belong: the fine-tuning, which is an asset of its
own (diffusion/recipes.py, FINE_TUNINGS), the sampling (diffusion/).
"""

from __future__ import annotations

from dataclasses import dataclass

from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.methods.contract import Facts, Method, Needs, Recipe


@dataclass(frozen=True, kw_only=True)
class Parameters(Sampling):
    """The sampling's settings, from the fine-tuned generator."""

    generator: str = "minimax"


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why these parameters make no sense, or None."""
    if parameters.start != "noise":
        return f"start={parameters.start}: there are no class centroids of a fine-tuned generator"
    return sampling_reason(parameters)


PUBLISHED = Parameters(guidance_scale=4.0, sampler="ddpm")
_SMALL = Parameters(guidance_scale=1.5)


def _published(expected: str) -> Recipe:
    return Recipe(
        parameters=PUBLISHED,
        source="sample.py: DDPM in 50 steps, guidance 4; the fine-tuning is that of train_dit.py and run.sh"
        " (FINE_TUNINGS: dit)",
        expected=expected,
        cost="one GPU of 16 GB: 10.1 s per 256 px image, 10 GB (AAAI26 Table 5), after the fine-tuning's hour",
    )


def _own(source: str, expected: str = "", cost: str = "") -> Recipe:
    return Recipe(parameters=_SMALL, source=source, expected=expected, cost=cost)


_UNTUNED = "own: guidance 1.5, as the generator is judged; not tuned (FINE_TUNINGS has the fine-tuning)"

METHOD = Method(
    name="minimax",
    title="Minimax",
    family="generation",
    paper="Gu et al.: Efficient Dataset Distillation via Minimax Diffusion. CVPR 2024, arXiv 2311.15529",
    code="vimar-gu/MinimaxDiffusion 969fc6f",
    differs=(
        "No bound on the variance, which is not sampled from; mode latents; one fine-tuning for all classes; this"
        " project's generators, teachers and protocol."
    ),
    fidelity="code",
    summary=(
        "A generator is fine-tuned on MSE(ε) + λr (1 - min cos(x̂0, real memory)) + λd max cos(x̂0, memory of "
        "predictions), class by class, and then sampled plainly. The memories hold the last 64 latents of each class."
    ),
    version=1,
    draws=1,
    per_index=True,
    needs=Needs(generator=True),
    recipes={
        "digits": _own(
            "own: guidance 1.5, as its samples are judged; FINE_TUNINGS has the fine-tuning and what was compared",
            cost="one CPU core: 5 CPU-seconds per 100 images, after 28 of fine-tuning (measured)",
        ),
        "mnist": _own(_UNTUNED),
        "fashion_mnist": _own(_UNTUNED),
        "cifar10": _own(_UNTUNED, "no figure in RD3; the authors do not recommend the method for CIFAR (issue 3)"),
        "cifar100": _published("no figure in RD3; the authors do not recommend the method for CIFAR (issue 3)"),
        "tiny_imagenet": _published("RD3 Table 1, ResNet-18, IPC 1/10/50/100: 9.8/39.4/54.4/56.1"),
        "imagenette": _published("RD3 Table 1, ResNet-18, IPC 1/10/50/100: 28.8/66.6/85.2/89.3"),
        "imagewoof": _published("RD3 Table 1, ResNet-18, IPC 1/10/50/100: 23.8/45.5/72.2/79.2"),
        "imageidc": _published("own protocol, ResNetAP-10, hard labels, IPC 10/20/50: 53.1/59.0/69.6"),
        "imagenet1k": _published(
            "RD3 Table 1, ResNet-18, IPC 1/10/50/100: 6.8/45.9/60.4/62.2; RDED's protocol 10/50: 44.3/58.6"
        ),
        "default": _own(_UNTUNED),
    },
    synthesis="dd_assets.methods.minimax.synthesis:synthesise",
    refuse=refuse,
)
