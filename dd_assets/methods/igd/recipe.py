"""IGD: influence-guided diffusion; samples that teach a classifier what its class would.

Paper: Chen, Du, Huang, Yin, Zhang, Wang: "Influence-Guided Diffusion for Dataset Distillation", ICLR 2025. Original
code: mchen725/DD_IGD 912e868, sample.py, sample_mp.sh, test_ckpts_grad_sim.py; its sampler,
diffusion/gaussian_diffusion.py, in two copies that agree (Lokshaw-Chau/MinimaxDiffusion 3a9bbbd, miaostudy/RAE-IGD
bfd8fed).
Differs: the guided step is .0015 k sqrt(1 - ᾱ) of the noise's root mean square, which is as much of its length: k = 5
is stored as .0075. (Until the sampler was found, the .0015 was missing and 5 / 64 stood for it.) γ = 120 is stored as
120 / 4096, the step in lengths of x_t. The window (spaced index 30 to 45) is stored as signal levels. The copies add up
the losses of both halves of guidance, whose second is a trajectory of its own; here there is one image. One image of
every class at a time, not one image: a class still sees all its earlier ones. The checkpoints are chosen while the
surrogate trains, on the images whose gradients are then stored; the surrogate sees the setting's normalisation and
padded crops; class gradients are means over images, not over chunks. The slope goes through the denoiser
(through_denoiser), as the formula's derivative in z_t says.
Expected: own protocols in each recipe; RD3 has no figures. Hardware and time: 8.2 s per 256 px image on an RTX 4090, 24
GB; digits in docs/generators.md.

Belongs here: this text, the parameters and their sources. Does not belong: the surrogate's recipe, which is an asset of
its own (models/surrogates.py), the guidances (synthesis.py), the sampling (diffusion/).
"""

from __future__ import annotations

from dataclasses import dataclass

from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.methods.contract import Facts, Method, Needs, Recipe

LOWEST, HIGHEST = 1.9e-4, 0.0225
"""ᾱ at the spaced indices 45 (t = 917, .000198) and 30 (t = 612, .0221) of DiT's linear schedule in 50 steps."""


@dataclass(frozen=True, kw_only=True)
class Parameters(Sampling):
    """The sampling's settings and those of the two guidances."""

    influence: float
    """Step of the influence guidance, in lengths of the noise; the original's .0015 k."""
    deviation: float
    """Step of the deviation guidance, in lengths of x_t; the original's γ over the number of a latent's numbers."""
    low: float = LOWEST
    """ᾱ from which both guidances act: noisier predictions are garbage, and so are gradients at them."""
    high: float = HIGHEST
    """ᾱ up to which both guidances act."""
    memory: int = 64
    """Finished latents of each class that the deviation guidance remembers, first in, first out."""
    through_denoiser: bool = True
    """Whether the slope goes through the denoiser too; without, its answer is a constant, which costs half."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why these parameters make no sense, or None."""
    if parameters.influence < 0 or parameters.deviation < 0:
        return f"influence={parameters.influence}, deviation={parameters.deviation}: neither may be negative"
    if not 0 <= parameters.low < parameters.high <= 1:
        return f"low={parameters.low}, high={parameters.high} are no window of signal levels"
    if parameters.memory < 1:
        return f"memory={parameters.memory}: at least 1"
    if parameters.joint and parameters.deviation:
        return (
            "images of a class that are drawn at once (repulsion, candidates, groups, a search) have no earlier ones to"
            " deviate from; set deviation: 0, or none of those"
        )
    return sampling_reason(parameters)


PUBLISHED = Parameters(
    generator="pretrained", guidance_scale=4.0, sampler="ddpm", influence=0.0015 * 5, deviation=120 / 4096, batch=10
)
_SMALL = Parameters(influence=0.02, deviation=0.03, low=0.001, high=0.1)


def _published(expected: str) -> Recipe:
    return Recipe(
        parameters=PUBLISHED,
        source="sample_mp.sh: k 5, γ 120, window 30 to 45 of 50 DDPM steps, 200 images per gradient, memory 64; on a"
        " generator fine-tuned by minimax k 10 and γ 100: generator: minimax, influence: 0.015, deviation: 0.0244",
        expected=expected,
        cost="one RTX 4090: 8.2 s per 256 px image; class gradients take 4 bytes x checkpoints x classes x parameters",
    )


def _own(source: str, cost: str = "") -> Recipe:
    return Recipe(parameters=_SMALL, source=source, cost=cost)


_UNTUNED = "own: what was chosen on digits; not tuned"

METHOD = Method(
    name="igd",
    title="IGD",
    family="generation",
    paper="Chen et al.: Influence-Guided Diffusion for Dataset Distillation. ICLR 2025",
    code="mchen725/DD_IGD 912e868",
    differs=(
        "Steps are shares of the noise's length, the window is signal levels, checkpoints are chosen during the"
        " surrogate's training; this project's generators, teachers and protocol."
    ),
    fidelity="text",
    summary=(
        "Sampling goes down 1 - cos(∇θ l(D(x̂0), c; θ_e), mean class gradient), the mean over the epochs e at which a "
        "surrogate's class gradients have turned, and down the highest cosine to the class's earlier latents. Both act "
        "in a window of noisy steps."
    ),
    version=1,
    draws=1,
    per_index=False,
    needs=Needs(generator=True, influence=True),
    through=("denoiser", "decoder"),
    recipes={
        "digits": _own(
            "own, on a validation fifth of the training images, IPC 10, one draw, three students each (deviations .004"
            " to .017): plain samples .917; influence .05 up to ᾱ .4 .865, .02 up to .1 .893, with deviation .03 .890"
            " (this recipe), .005 with .015 .891; 5 / 64 in the published window .871, once held to be the published"
            " step, which is .0075 and was not tried; deviation .03 alone up to .4 .924. So influence lowers its own"
            " loss (.27 to .20) and not the error of students here: influence: 0 is better on digits and no longer IGD",
            cost="one CPU core: 33 CPU-seconds per 100 images, 12 to 15 for the surrogate, 1 for the gradients, on a"
            " busy machine (measured)",
        ),
        "mnist": _own(_UNTUNED),
        "fashion_mnist": _own(_UNTUNED),
        "cifar10": _own(_UNTUNED),
        "cifar100": _published(""),
        "tiny_imagenet": _published(""),
        "imagenette": _published("Minimax's protocol, ResNet-18, hard labels, IPC 10/50/100: 67.7/81.0/84.4"),
        "imagewoof": _published("Minimax's protocol, ResNet-18, hard labels, IPC 100: 70.6"),
        "imageidc": _published(""),
        "imagenet1k": _published("RDED's protocol, ResNet-18, IPC 10/50: 45.5/59.8; on a minimax generator 46.2/60.3"),
        "default": _own(_UNTUNED),
    },
    synthesis="dd_assets.methods.igd.synthesis:synthesise",
    refuse=refuse,
)
