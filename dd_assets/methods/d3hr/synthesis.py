"""D3HR: starts drawn from the distribution of a class's inverted latents, in typical groups.

Belongs here: nothing beyond the shared sampling; the method is an initialisation. Does not belong: inversion and groups
(diffusion/inversion.py), numbers (recipe.py).
"""

from __future__ import annotations

from dd_assets.diffusion.generate import generate
from dd_assets.methods.request import Request, SyntheticImages


def synthesise(request: Request) -> SyntheticImages:
    """Denoise each class's most typical group of draws.

    lin-zhao-resoLve/D3HR 8ba351d, generation/group_sampling.py, by the project's description of it.
    """
    return generate(request)
