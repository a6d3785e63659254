"""CaO2: more samples than are wanted, the teacher's choice of them, and latents brought nearer to the condition.

Belongs here: nothing beyond the shared sampling; the method is a choice and a refinement. Does not belong: the choice
(diffusion/candidates.py), the refinement (diffusion/refinement.py), numbers (recipe.py).
"""

from __future__ import annotations

from dd_assets.diffusion.generate import generate
from dd_assets.methods.request import Request, SyntheticImages


def synthesise(request: Request) -> SyntheticImages:
    """Image k of a class is the k-th in the teacher's order of its candidates.

    hatchetProject/CaO2 6381e50, sample_imagenet.py and sample_nette.py, by the project's description of them.
    """
    return generate(request)
