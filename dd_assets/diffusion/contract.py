"""What every generation recipe states about sampling.

Belongs here: the shared parameter fields and the reasons against a cell that follow from them; light, no torch.
Does not belong: numbers of a method (its recipe.py), the loop (sampling.py).

Noise strengths and guidance windows are signal levels ᾱ_t = Π(1 - β): a step index or a "strength" means another noise
on each schedule (D4M's .7 is ᾱ = .0946 on Stable Diffusion's, which DiT's linear one reaches at about .50). levels.py
says which steps a level means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dd_assets.later import later

STARTS = ("noise", "centroid", "nearest")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How images are drawn from a generator; a method's parameters extend it."""

    generator: str = "small"
    """One of the setting's generators (registry.GENERATORS), or the name of an asset `generator_<name>`."""
    steps: int = 50
    sampler: Literal["ddim", "ddpm"] = "ddim"
    """ddpm: the ancestral form on the same steps, with the smaller fixed variance; ddim: noise scaled by `eta`."""
    eta: float = 0.0
    guidance_scale: float = 1.5
    """Classifier-free: ε = ε_null + scale (ε_class - ε_null); 1 leaves the null class out."""
    condition: Literal["class", "text"] = "class"
    prompt: str = "{name}"
    """Of a text condition; {name} stands for the class."""
    negative_prompt: str = ""
    batch: int = 50
    """Images per pass at most; one IPC index per pass."""
    start: Literal["noise", "centroid", "nearest"] = "noise"
    """noise: N(0, 1); else the class's k-means centroid, or the real latent nearest to it, noised to the level."""
    start_level: float = 0.0946
    """ᾱ of that noise, in (0, 1); not read where `start` is "noise"."""
    repulsion: float = later(0.0)
    """λ with which samples of a class push each other apart (repulsion.py; its paper's is .3); 0: they do not."""
    repulsion_until: float = later(0.5)
    """ᾱ up to which they do; .5 is σ = 1, where the original stops."""

    @property
    def joint(self) -> bool:
        """Whether images of a class are drawn in one pass, so that image k may depend on how many there are."""
        return self.repulsion != 0


def sampling_reason(parameters: Any) -> str | None:
    """Why these values make no sense, or None; a method's `refuse` asks it first."""
    if parameters.steps < 1 or parameters.batch < 1:
        return f"steps={parameters.steps}, batch={parameters.batch}: both must be at least 1"
    if parameters.sampler not in ("ddim", "ddpm"):
        return f"sampler {parameters.sampler!r} is neither ddim nor ddpm"
    if not 0 <= parameters.eta <= 1:
        return f"eta={parameters.eta} is outside [0, 1]"
    if parameters.start not in STARTS:
        return f"start {parameters.start!r} is none of {', '.join(STARTS)}"
    if parameters.start != "noise" and not 0 < parameters.start_level < 1:
        return f"start_level={parameters.start_level} is no signal level between 0 and 1"
    if parameters.condition not in ("class", "text"):
        return f"condition {parameters.condition!r} is neither class nor text"
    if parameters.repulsion < 0 or not 0 < parameters.repulsion_until <= 1:
        return f"repulsion={parameters.repulsion} until ᾱ {parameters.repulsion_until}: at least 0, and within (0, 1]"
    return None
