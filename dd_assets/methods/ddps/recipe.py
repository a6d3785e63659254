"""DDPS: the patches of real images that a diffusion model understands better once it is told their class.

Paper: Zhong et al., "Efficient Dataset Distillation via Diffusion-Driven Patch Selection" (v4: "Towards Consistent and
Efficient Dataset Distillation via Diffusion-Driven Selection"), arXiv 2412.09959. Re-derived from text, not verified
against code, as none was published.
From the text: the score of a place is the diffusion loss without the label minus the loss with it, on the same (t, ε);
a patch per image by its mean score; k-means within the class, ranked by score inside each cluster; no training.
Own choices, for want of a statement: eight (t, ε) per image, t in the range of signal levels .2 to .7 (outside it the
label says little), shared by all images of a draw and one from each eighth of the range; as many clusters as patches,
the best of each; features for clustering are the patches' latents; 2 x 2 grids of windows of half the side at 224 px,
as RDED stitches; whole images below 128 px; mipc 300 candidates as RDED's; prompt "a photo of {name}" against "".
Expected: no table is at hand; the abstract speaks of more than 40 % less computation than methods that generate.
Hardware and time: 2 pairs passes of the generator per candidate and no other network; digits in docs/generators.md.

Belongs here: this text, the parameters and their sources. Does not belong: the selection (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dd_assets.methods.contract import Facts, Method, Needs, Recipe


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The selection's settings; only the score is stated in the text at hand."""

    generator: str = "small"
    """One of the setting's generators, or the name of an asset `generator_<name>`."""
    condition: Literal["class", "text"] = "class"
    prompt: str = "a photo of {name}"
    """Of a text condition; {name} stands for the class. The loss without the label has the empty prompt."""
    pairs: int = 8
    """(t, ε) per image; one alone is mostly variance."""
    level_low: float = 0.2
    """The smallest signal level ᾱ at which losses are compared."""
    level_high: float = 0.7
    factor: int = 1
    """Patches per axis of a distilled image."""
    window: float = 1.0
    """Side of a patch as a share of the image's, rounded to pixels; resized to its cell where that differs."""
    mipc: int = 300
    """Candidate images per class at most."""
    batch: int = 50
    """Images per pass at most (twice as many rows, with and without the label)."""

    def window_pixels(self, size: int) -> int:
        """Side of a patch in pixels, for images of this side."""
        return round(self.window * size)


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why the score or the grid makes no sense, or why there are too few candidates, or None."""
    if parameters.pairs < 1 or parameters.batch < 1 or parameters.factor < 1:
        return (
            f"pairs={parameters.pairs}, batch={parameters.batch}, factor={parameters.factor}: each must be at least 1"
        )
    if not 0 < parameters.level_low < parameters.level_high < 1:
        return f"signal levels {parameters.level_low} to {parameters.level_high} are no range within 0 and 1"
    if parameters.condition not in ("class", "text"):
        return f"condition {parameters.condition!r} is neither class nor text"
    if not 1 <= parameters.window_pixels(facts.size) <= facts.size:
        return f"window {parameters.window} gives no patch within {facts.size} px"
    if facts.size % parameters.factor:
        return f"{facts.size} px is not a multiple of factor {parameters.factor}"
    wanted = ipc * parameters.factor**2
    if wanted > parameters.mipc:
        return f"IPC {ipc} with factor {parameters.factor} needs {wanted} patches per class, mipc is {parameters.mipc}"
    for name, count in zip(facts.classes, facts.train_counts, strict=False):
        if count < wanted:
            return f"class {name!r} has {count} training images, IPC {ipc} needs {wanted} patches of different ones"
    return None


_WHOLE = Parameters()
_TEXT = Parameters(generator="pretrained", condition="text", batch=8)
_MOSAIC = replace(_TEXT, factor=2, window=0.5)
_SCORE = "arXiv 2412.09959: the loss difference on the same (t, ε), clusters within the class"
_OWN = "own: whole images, eight pairs at ᾱ .2 to .7; not tuned"


def _published(parameters: Parameters, grid: str) -> Recipe:
    return Recipe(
        parameters=parameters,
        source=f"{_SCORE}; own: {grid}, eight pairs at ᾱ .2 to .7, mipc 300 (recipe.py). With a DiT folder set"
        " condition: class",
        cost="16 passes of the generator per candidate: 4,800 per class (50 images in 50 guided steps are 5,000)",
    )


METHOD = Method(
    name="ddps",
    title="DDPS",
    family="selection",
    paper=(
        "Zhong et al.: Efficient Dataset Distillation via Diffusion-Driven Patch Selection (v4: Towards Consistent and "
        "Efficient Dataset Distillation via Diffusion-Driven Selection). 2024, arXiv 2412.09959"
    ),
    code="none",
    differs=(
        "Re-derived from text, not verified against code. Own choices: pairs and range of t, as many clusters as "
        "patches, latents as features, RDED's grid."
    ),
    fidelity="text",
    summary=(
        "A patch is worth what its label explains of it: S = |ε - ε(z_t, t, none)|² - |ε - ε(z_t, t, class)|² on the "
        "same (t, ε). Each image gives its best patch, k-means parts the patches of a class, the best of each cluster "
        "are stitched."
    ),
    version=1,
    draws=3,
    per_index=False,
    needs=Needs(real_images=True, generator=True),
    recipes={
        "digits": Recipe(
            parameters=replace(_WHOLE, mipc=100),
            source=(
                "own: whole images, because patches of 4 px destroy digits; two and eight pairs, ᾱ .2 to .7, .05 to"
                " .4 and .2 to .95 compared on a validation fifth of the training split (one draw, two students): no"
                " difference beyond that between students, so the stated values stay; mipc 100 of some 143"
            ),
            expected=(
                "ConvNet-2-64 student, plain loop of 120 steps, validation fifth (which the generator and the teacher"
                " had seen): IPC 1 soft .80, hard .76 (random .65, .64; mosaic .20, .16); IPC 10 soft .96, hard .94"
                " (random .95, .94)"
            ),
            cost="one CPU core: 8.2 CPU-seconds per draw at any IPC (measured)",
        ),
        "mnist": Recipe(parameters=_WHOLE, source=_OWN),
        "fashion_mnist": Recipe(parameters=_WHOLE, source=_OWN),
        "cifar10": Recipe(parameters=_WHOLE, source=_OWN),
        "cifar100": _published(_TEXT, "whole images"),
        "tiny_imagenet": _published(_TEXT, "whole images"),
        "imagenette": _published(_MOSAIC, "2 x 2 windows of half the side"),
        "imagewoof": _published(_MOSAIC, "2 x 2 windows of half the side"),
        "imageidc": _published(_MOSAIC, "2 x 2 windows of half the side"),
        "imagenet1k": _published(_MOSAIC, "2 x 2 windows of half the side"),
        "default": Recipe(parameters=_WHOLE, source=_OWN),
    },
    synthesis="dd_assets.methods.ddps.synthesis:synthesise",
    refuse=refuse,
)
