"""Minimax: plain samples of a generator that was fine-tuned for it.

Belongs here: nothing beyond the shared sampling; the method is a fine-tuning. Does not belong: that fine-tuning
(diffusion/finetuning.py, minimax.py), the loop (diffusion/sampling.py), numbers (recipe.py).
"""

from __future__ import annotations

from dd_assets.diffusion.generate import generate
from dd_assets.methods.request import Request, SyntheticImages


def synthesise(request: Request) -> SyntheticImages:
    """Sample the fine-tuned generator under each class; vimar-gu/MinimaxDiffusion 969fc6f, sample.py."""
    return generate(request)
