"""DAP: samples move towards real images in the features of the diffusion model itself.

Paper: Su, Wu, Chen, Shi, Wang, Ye, Zhu: "Diffusion Models as Dataset Distillation Priors", ICLR 2026, arXiv 2510.17421.
Original code: none is public; from the description.
What the text at hand leaves open is a field here: how many references and which, the length of the gradient, where the
guidance ends (a t_stop is ablated, its value is not known), whether features are pooled, the layer. Chosen here: each
reference has a noise of its own, the same at every t; features under the class, without the null class; the width of
the RBF kernel is the references' mean distance; the references are at most 128 random images of a class (the paper's
cost grows with the data, so it takes all); this project's teachers and RD3 relabel and evaluate.
With the whole class as references all samples are drawn to one point of feature space, and diversity falls with γ
(generation reference §12; docs/generators.md): dap_kmeans gives each sample the real images next to a centroid of its
own, chunk disjoint random ones.
Expected: in each recipe; with soft labels (RDED's protocol, ResNet-18) ImageNet-1K IPC 10/50 49.1/62.7. Hardware and
time: 15 to 36 s per step "depending on data size" (Table 10); digits in docs/generators.md.

Belongs here: this text, the parameters and their sources. Does not belong: the guidance (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dd_assets.diffusion.contract import Sampling, sampling_reason
from dd_assets.methods.contract import Facts, Method, Needs, Recipe, variant

KERNELS = ("linear", "rbf", "laplacian", "polynomial", "cosine")
LENGTHS = ("raw", "unit", "noise")
REFERENCES = ("class", "chunk", "kmeans")
BANK = {"class": 128, "chunk": 128, "kmeans": 8}
"""Real latents that are kept (diffusion/references.py): per class, or per centroid."""


@dataclass(frozen=True, kw_only=True)
class Parameters(Sampling):
    """The sampling's settings and the guidance."""

    gamma: float = 1.0
    """γ; 0 is plain sampling."""
    length: Literal["raw", "unit", "noise"] = "raw"
    """Of the gradient: as it is (the paper's); root mean square 1; root mean square sqrt(1 - ᾱ). A raw one grows
    tenfold towards the clean end and depends on the layer's size, so that its γ means nothing elsewhere."""
    kernel: Literal["linear", "rbf", "laplacian", "polynomial", "cosine"] = "linear"
    layer: float = 0.3
    """Depth of the block whose output is the feature, in [0, 1): block 8 of DiT-XL's 28; .5 is a UNet's mid-block."""
    pooled: bool = False
    """Whether features are averaged over tokens or positions; else all of them count."""
    references: Literal["class", "chunk", "kmeans"] = "class"
    """class: the same random images of the class for all its samples; chunk: disjoint ones for each; kmeans: for each
    the real images nearest to a centroid of its own."""
    count: int = 64
    """References of a sample at most."""
    guided_from: float = 0.0
    guided_until: float = 1.0
    """Signal levels between which samples are guided; 1 is to the end."""

    @property
    def joint(self) -> bool:
        """As for any sampling; and references of the whole class are passed through the network once for all of its
        samples."""
        return super().joint or self.references == "class"

    @property
    def choice(self) -> str:
        """Which real latents are read: those of the class, or of its centroids."""
        return "kmeans" if self.references == "kmeans" else "class"


def part_of(parameters: Parameters, index: int) -> slice:
    """Which of its class's (or centroid's) real latents a sample of this IPC index is compared with."""
    if parameters.references == "chunk":
        return slice(index * parameters.count, (index + 1) * parameters.count)
    return slice(0, parameters.count)


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why these parameters make no sense, or why a class has too few real images for them, or None."""
    reason = sampling_reason(parameters)
    if reason:
        return reason
    stated = {"kernel": KERNELS, "length": LENGTHS, "references": REFERENCES}
    for name, known in stated.items():
        if getattr(parameters, name) not in known:
            return f"{name} {getattr(parameters, name)!r} is none of {', '.join(known)}"
    if parameters.gamma < 0 or parameters.count < 1 or not 0 <= parameters.layer < 1:
        return (
            f"gamma={parameters.gamma}, count={parameters.count}, layer={parameters.layer}: at least 0, at least 1,"
            " and in [0, 1)"
        )
    if not 0 <= parameters.guided_from < parameters.guided_until <= 1:
        return f"guided from ᾱ {parameters.guided_from} until {parameters.guided_until} is no window within [0, 1]"
    return _too_few(parameters, facts, ipc)


def _too_few(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    fewest = min(facts.train_counts, default=10**9)
    bank = BANK[parameters.references]
    if parameters.count > bank:
        return f"count={parameters.count}: {bank} real latents are kept ({parameters.references})"
    if fewest < ipc:
        return f"its smallest class has {fewest} training images, IPC is {ipc}"
    if parameters.kernel in ("rbf", "laplacian") and min(parameters.count, fewest) < 2:
        few = "its smallest class has 1 training image" if parameters.count > 1 else f"count={parameters.count}"
        return f"{few}: the width of kernel {parameters.kernel} is a distance between references, of which one has none"
    parts = min(bank, fewest)
    if parameters.references == "chunk" and ipc * parameters.count > parts:
        return f"{ipc} disjoint parts of {parameters.count} images: {parts} are kept of the smallest class"
    return None


PUBLISHED = Parameters(generator="pretrained", guidance_scale=4.0)
_SOURCE = (
    "paper: γ 1 best on ImageNette with DiT (0: 62.8, .5: 66.4, 1: 67.8), blocks 4 to 12 of 28, every step guided; the"
    " raw gradient, 64 references and all features unpooled are choices made here; guidance 4 and 50 steps as MGD3;"
    " with a Stable Diffusion folder set condition: text, layer: .5 (the mid-block)"
)
_SMALL = Parameters(guidance_scale=1.5, gamma=0.005, length="unit", start_level=0.4)
_KMEANS_GAMMA = 0.025
_SWEEP = (
    "own: 1-NN on a held-out 30 % of the digits' training images (the generator had seen them; references of the rest),"
    " IPC 10, one draw, mean distance within classes in brackets: plain 89.6 (3.82); class, unit length, γ .00125 90.3"
    " (3.59), .005 91.4 (2.87), .025 87.7 (.10: collapsed); layer of generation reference §12, not tuned"
)
_KMEANS_SWEEP = (
    "own: as dap's sweep, references kmeans, 5 of them, γ .0125 93.3 (2.34), .025 98.1 (3.68), .05 97.9 (3.96); length"
    " noise .025 95.6 (2.66); chunk, 5 of them, .025 90.3 (2.24)"
)


def _published(expected: str, source: str = "", parameters: Parameters = PUBLISHED) -> Recipe:
    return Recipe(
        parameters=parameters,
        source=f"{_SOURCE}{source}",
        expected=expected,
        cost='15 to 36 s per step "depending on data size" (paper, Table 10); GPU not known',
    )


def _own(source: str = "", expected: str = "", cost: str = "") -> Recipe:
    return Recipe(
        parameters=_SMALL,
        source=source or "own: the digits' values, not tuned here",
        expected=expected,
        cost=cost,
    )


_UNSEEN = "; the paper does not use this dataset"
_TEXT = replace(PUBLISHED, condition="text", guidance_scale=8.0, layer=0.5)
_BY_TEXT = ", whose classes are none of DiT's: Stable Diffusion by class name, with D4M's guidance 8"

METHOD = Method(
    name="dap",
    title="DAP",
    family="generation",
    paper=(
        "Su, Wu, Chen, Shi, Wang, Ye, Zhu: Diffusion Models as Dataset Distillation Priors. ICLR 2026, arXiv 2510.17421"
    ),
    code="none",
    differs=(
        "From the description: references, their noise, the gradient's length, the layer and where guidance ends are "
        "fields; at most 128 references of a class; this project's generators, teachers and protocol."
    ),
    fidelity="text",
    summary=(
        "Each denoising step is followed by one towards real images of the class in the diffusion model's own features "
        "φ(x_t, t), real images noised to the same t: x_{t-1} - γ ∇_{x_t} mean_j D_K(φ(x_t), φ(y_t^j)), D_K the "
        "distance that a Mercer kernel induces."
    ),
    version=1,
    draws=1,
    per_index=True,
    needs=Needs(generator=True, reference_latents=True),
    through=("denoiser",),
    recipes={
        "digits": _own(_SWEEP, cost="one CPU core: 16 CPU-seconds per 100 images on a busy machine (measured)"),
        "mnist": _own(),
        "fashion_mnist": _own(),
        "cifar10": _own(),
        "cifar100": _published("", f"{_UNSEEN}{_BY_TEXT}", _TEXT),
        "tiny_imagenet": _published("", _UNSEEN),
        "imagenette": _published(
            "hard labels: ConvNet-6 IPC 10 64.8, ResNetAP-10 IPC 100 86.0; Stable Diffusion, soft labels, IPC 50 81.4"
        ),
        "imagewoof": _published("hard labels, ResNet-18, IPC 100: 71.6"),
        "imageidc": _published(""),
        "imagenet1k": _published("RDED's protocol, ResNet-18, IPC 10/50: 49.1/62.7; ResNet-101 IPC 50 68.1"),
        "default": _own(),
    },
    synthesis="dd_assets.methods.dap.synthesis:synthesise",
    refuse=refuse,
)


def _kmeans() -> Method:
    """With references of its own a sample bears a stronger pull, which the small recipes' γ states."""
    made = variant(
        METHOD,
        "dap_kmeans",
        "DAP, k-means references",
        "Each sample has references of its own: the real images next to its centroid.",
        references="kmeans",
        count=5,
    )
    own = {
        data: replace(
            recipe,
            parameters=replace(recipe.parameters, gamma=_KMEANS_GAMMA),
            source=_KMEANS_SWEEP if data == "digits" else "own: the digits' values, not tuned here",
        )
        for data, recipe in made.recipes.items()
        if recipe.parameters.length == "unit"
    }
    return replace(made, recipes={**made.recipes, **own}, compared=True)


VARIANTS = (
    _kmeans(),
    variant(METHOD, "dap_d4m", "DAP on D4M's start", "Begins from D4M's noised class centroids.", start="centroid"),
)
