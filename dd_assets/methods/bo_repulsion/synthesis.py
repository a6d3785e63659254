"""BO+repulsion: real images, noised and denoised, as far as the teacher still sees the same, apart from one another.

Belongs here: nothing beyond the shared sampling; the method is a start, a search and a guidance. Does not belong: those
(diffusion/starts.py, searching.py, repulsion.py), numbers (recipe.py).
"""

from __future__ import annotations

from dd_assets.diffusion.generate import generate
from dd_assets.methods.request import Request, SyntheticImages


def synthesise(request: Request) -> SyntheticImages:
    """Search guidance scale and start level per class, then sample with repulsion within it.

    sb3991/adaptive-diffusion-dd b676742, synthesize/LocalStableDiffusion.py; the search by the project's description.
    """
    return generate(request)
