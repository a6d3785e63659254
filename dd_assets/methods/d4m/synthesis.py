"""D4M: images from class centroids, noised and denoised again.

Belongs here: nothing beyond the shared sampling; the method is an initialisation. Does not belong: clustering
(diffusion/centroids.py), the loop (diffusion/sampling.py), numbers (recipe.py).
"""

from __future__ import annotations

from dd_assets.diffusion.generate import generate
from dd_assets.methods.request import Request, SyntheticImages


def synthesise(request: Request) -> SyntheticImages:
    """Noise each centroid of the class to ᾱ = `start_level` and denoise it under the class or its prompt.

    suduo94/D4M da35d10, distillation/gen_syn_image.py. Image k of a class comes from its k-th largest cluster.
    """
    return generate(request)
