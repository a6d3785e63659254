"""FocusDD-style: key regions by a vision transformer's attention, stitched with a small whole image.

Paper: Hu, Cheng, Saukh, Ozdemir, Lu, Cao, Li, "FocusDD: Real-World Scene Infusion for Robust Dataset Distillation",
arXiv 2501.06405. Re-derived from text, not verified against code, as none was published.
From the text: a pre-trained ViT ranks image patches by class-token attention and class probability, key regions of
several images are stitched into one, and a down-sampled whole image is put in as background.
Own choices, for want of a statement: attention of the last block, mean over heads; importance of a region is its share
of that attention times p(class); one region per image; three regions and one whole image in a 2 x 2 grid, all four of
different images of the class; mipc 300 candidates as RDED's; the ViT is a member of the setting's committee, trained at
the setting's own size and normalisation, so nothing is resized for it.
ViTs of 224 px settings: the recipes name `vit_base_patch16_224`, and a setting whose committee lacks it is refused.
Expected: own protocol, ImageNet-1K, IPC 100: ResNet-50 71.0, MobileNetV2 62.6; labels there may be another network's
(RD3's one teacher knows nothing of the ViT), so they are no target here. Hardware and time: not published; digits on
one CPU core 0.4 s per draw.

Belongs here: this text, the parameters and their sources. Does not belong: the selection (synthesis.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dd_assets.methods.contract import Facts, Method, Needs, Recipe

CELLS = ("key", "whole")
"""What a cell shows: the key region of an image, or the whole image made small."""
MOSAIC = ("key", "key", "key", "whole")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The selection's settings; none is stated in the paper."""

    layout: tuple[str, ...] = MOSAIC
    """What the cells of a square grid show, row by row; each is `key` or `whole`."""
    window: float = 0.5
    """Side of a key region as a share of the image's, rounded to pixels; resized to its cell where that differs."""
    mipc: int = 300
    """Candidate images per class at most."""
    pool: tuple[str, ...] = ("vit_micro",)
    """The one committee member whose attention counts, a vision transformer."""

    @property
    def factor(self) -> int:
        """Cells per axis; a cell has side size // factor."""
        return math.isqrt(len(self.layout))

    def window_pixels(self, size: int) -> int:
        """Side of a key region in pixels, for images of this side."""
        return round(self.window * size)


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why the layout is no grid for these images or there are too few candidates, or None."""
    cells = len(parameters.layout)
    if not cells or parameters.factor**2 != cells or set(parameters.layout) - set(CELLS):
        return f"layout {parameters.layout} is no square grid of 'key' and 'whole'"
    if len(parameters.pool) != 1:
        return f"pool {parameters.pool} does not name exactly one vision transformer"
    if not 1 <= parameters.window_pixels(facts.size) <= facts.size:
        return f"window {parameters.window} gives no region within {facts.size} px"
    if facts.size % parameters.factor:
        return f"{facts.size} px is not a multiple of factor {parameters.factor}"
    wanted = ipc * cells
    if wanted > parameters.mipc:
        return f"IPC {ipc} with {cells} cells needs {wanted} images per class, mipc is {parameters.mipc}"
    for name, count in zip(facts.classes, facts.train_counts, strict=True):
        if count < wanted:
            return f"class {name!r} has {count} training images, IPC {ipc} needs {wanted} different ones"
    return None


_MOSAIC = Parameters()
_NATIVE = Parameters(pool=("vit_base_patch16_224",))
_WHOLE = Parameters(layout=("key",), window=1.0)
"""One cell that shows all of an image: what is left of the method is its ranking."""


_LIKE_DIGITS = "own: whole images by rank, as digits; not tuned"
_DIGITS = Recipe(
    parameters=replace(_WHOLE, mipc=100),
    source=(
        "own: whole images, because a mosaic destroys digits of 8 px; mosaic, regions of 7 px and whole images "
        "compared on a validation fifth of the training split (two draws, one student each); mipc 100 of some 143"
    ),
    expected=(
        "ConvNet-2-64 student, plain loop of 200 steps, validation fifth: IPC 1 soft .80, hard .61 (mosaic .31, .09; "
        "7 px .58, .27; random .81, .68); IPC 10 soft .93, hard .89 (mosaic .61, .11; 7 px .80, .73; random .95, .93)"
    ),
    cost="one CPU core: 0.4 s per draw at any IPC",
)


def _mosaic(parameters: Parameters, expected: str = "") -> Recipe:
    source = "own, no value being published: three key regions of half the side, one whole image; mipc 300 as RDED's"
    return Recipe(parameters=parameters, source=source, expected=expected)


METHOD = Method(
    name="focusdd",
    title="FocusDD-style",
    family="selection",
    paper=(
        "Hu, Cheng, Saukh, Ozdemir, Lu, Cao, Li: FocusDD: Real-World Scene Infusion for Robust Dataset Distillation. "
        "2025, arXiv 2501.06405"
    ),
    code="none",
    differs=(
        "Re-derived from text, not verified against code. Own choices: last block's attention, mean over heads; one "
        "key region per image; three regions and one whole image per mosaic; mipc; a committee member as ViT."
    ),
    fidelity="text",
    summary=(
        "A vision transformer finds the region of each image that its class token attends to most; the images of a "
        "class are ranked by that attention times p(y | x). A distilled image stitches the regions of three images "
        "and, as background, a fourth one made small."
    ),
    version=1,
    draws=3,
    per_index=False,
    needs=Needs(committee=True, real_images=True),
    attention=True,
    recipes={
        "digits": _DIGITS,
        "mnist": Recipe(parameters=_WHOLE, source=_LIKE_DIGITS),
        "fashion_mnist": Recipe(parameters=_WHOLE, source=_LIKE_DIGITS),
        "cifar10": Recipe(parameters=_WHOLE, source=_LIKE_DIGITS),
        "cifar100": Recipe(parameters=_WHOLE, source=_LIKE_DIGITS),
        "tiny_imagenet": _mosaic(_MOSAIC),
        "imagenette": _mosaic(_NATIVE),
        "imagewoof": _mosaic(_NATIVE),
        "imageidc": _mosaic(_NATIVE),
        "imagenet1k": _mosaic(
            _NATIVE, expected="own protocol, IPC 100: ResNet-50 71.0, MobileNetV2 62.6 (paper's abstract)"
        ),
        "default": _mosaic(_MOSAIC),
    },
    synthesis="dd_assets.methods.focusdd.synthesis:synthesise",
    refuse=refuse,
)
