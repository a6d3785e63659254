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

STARTS = ("noise", "centroid", "nearest", "random", "gaussian")
KEEP = ("confident", "uncertain")
GROUP_SCORES = ("units", "latents")
SEARCH_FOR = ("divergence", "confidence")
CONFIDENCE_STEPS = 10
"""Of a search for confidence (sb3991/adaptive-diffusion-dd b676742, synthesize/main_GUIDE.py)."""


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
    start: Literal["noise", "centroid", "nearest", "random", "gaussian"] = "noise"
    """noise: N(0, 1); centroid, nearest, random: the class's k-means centroid, the real latent nearest to it or any of
    the class's (of the 128 that are kept at most, again and again where more are drawn), noised to the level; gaussian:
    from the normal distribution of the class's latents, DDIM-inverted to the level (inversion.py)."""
    start_level: float = 0.0946
    """ᾱ of that noise, in (0, 1); not read where `start` is "noise"."""
    repulsion: float = later(0.0)
    """λ with which samples of a class push each other apart (repulsion.py; its paper's is .3); 0: they do not."""
    repulsion_until: float = later(0.5)
    """ᾱ up to which they do; .5 is σ = 1, where the original stops."""
    groups: int = later(1)
    """Of start "gaussian": groups of starts that are drawn per class, of which the most typical one is kept (D3HR)."""
    group_score: Literal["units", "latents"] = later("units")
    """What makes a group typical: mean and deviation of every number in units of its own deviation, or of the latents
    themselves, with the skewness (D3HR's code; inversion.py)."""
    candidates: int = later(1)
    """Images drawn for each one that is kept; the teacher chooses (CaO2, candidates.py)."""
    keep: Literal["confident", "uncertain"] = later("confident")
    """Of the candidates that the teacher names correctly, those of which it is most or least sure."""
    refine: int = later(0)
    """Steps in which clean latents are brought nearer to what the denoiser expects (CaO2, refinement.py)."""
    refine_rate: float = later(6e-4)
    """Adam's learning rate there."""
    refine_from: float = later(0.6)
    """ᾱ of the noisiest timestep there; .6 is the spaced index 11 of 50 on DiT's schedule, CaO2's."""
    refine_condition: Literal["class", "null"] = later("class")
    """What the denoiser is asked under there: the image's class or prompt, or nothing."""
    search_scales: tuple[float, ...] = later(())
    """Guidance scales that are tried per class, in place of `guidance_scale` (searching.py); () for none."""
    search_levels: tuple[float, ...] = later(())
    """Start levels that are tried with each of them, in place of `start_level`; () for none."""
    search_for: Literal["divergence", "confidence"] = later("divergence")
    """divergence: the teacher's answers stay nearest to those on the real images, by samples of half the steps without
    repulsion; confidence: they are surest of the class, by samples of ten steps with it (BO+repulsion's code)."""
    mosaic: int = later(0)
    """Cells per axis of mosaics of one crop of each drawn image, the most realistic first (mosaics.py): RDED's choice
    in place of `keep`; 1: a crop is an image; 0: no crops."""

    @property
    def joint(self) -> bool:
        """Whether images of a class are drawn in one pass, so that image k may depend on how many there are."""
        return self.repulsion != 0 or self.candidates > 1 or self.groups > 1 or self.searches or self.mosaic > 0

    @property
    def searches(self) -> bool:
        """Whether guidance scale and start level are looked for."""
        return bool(self.search_scales or self.search_levels)

    @property
    def asks_teacher(self) -> bool:
        """Whether the sampling itself needs the teacher, whatever the method's guidance does."""
        return self.candidates > 1 or self.searches or self.mosaic > 0

    @property
    def search_steps(self) -> int:
        """Steps of the samples that a search compares."""
        return max(1, self.steps // 2) if self.search_for == "divergence" else min(self.steps, CONFIDENCE_STEPS)


def sampling_reason(parameters: Any) -> str | None:
    """Why these values make no sense, or None; a method's `refuse` asks it first."""
    if parameters.steps < 1 or parameters.batch < 1:
        return f"steps={parameters.steps}, batch={parameters.batch}: both must be at least 1"
    if parameters.sampler not in ("ddim", "ddpm"):
        return f"sampler {parameters.sampler!r} is neither ddim nor ddpm"
    if not 0 <= parameters.eta <= 1:
        return f"eta={parameters.eta} is outside [0, 1]"
    if min(parameters.guidance_scale, *parameters.search_scales, 0) < 0:
        return f"guidance_scale={parameters.guidance_scale}, search_scales={parameters.search_scales}: at least 0"
    if parameters.start not in STARTS:
        return f"start {parameters.start!r} is none of {', '.join(STARTS)}"
    if parameters.start != "noise" and not 0 < parameters.start_level < 1:
        return f"start_level={parameters.start_level} is no signal level between 0 and 1"
    if parameters.condition not in ("class", "text"):
        return f"condition {parameters.condition!r} is neither class nor text"
    if parameters.repulsion < 0 or not 0 < parameters.repulsion_until <= 1:
        return f"repulsion={parameters.repulsion} until ᾱ {parameters.repulsion_until}: at least 0, and within (0, 1]"
    return _choosing_reason(parameters) or _refining_reason(parameters)


def _choosing_reason(parameters: Any) -> str | None:
    if parameters.groups < 1 or parameters.candidates < 1:
        return f"groups={parameters.groups}, candidates={parameters.candidates}: both must be at least 1"
    if parameters.groups > 1 and parameters.start != "gaussian":
        return f"groups={parameters.groups} of start {parameters.start!r}: only starts of a gaussian come in groups"
    if parameters.group_score not in GROUP_SCORES:
        return f"group_score {parameters.group_score!r} is neither units nor latents"
    if parameters.keep not in KEEP:
        return f"keep {parameters.keep!r} is neither confident nor uncertain"
    if parameters.search_for not in SEARCH_FOR:
        return f"search_for {parameters.search_for!r} is neither divergence nor confidence"
    if parameters.mosaic < 0 or parameters.mosaic**2 > parameters.candidates:
        return (
            f"mosaic={parameters.mosaic} takes {parameters.mosaic**2} crops for an image, of which"
            f" candidates={parameters.candidates} are drawn"
        )
    if parameters.mosaic and parameters.refine:
        return f"refine={parameters.refine} is of latents, which crops (mosaic={parameters.mosaic}) do not have"
    if not parameters.searches:
        return None
    if parameters.start != "random":
        return f"a search compares with the real images it starts from; start is {parameters.start!r}, not random"
    if not all(0 < level < 1 for level in parameters.search_levels):
        return f"search_levels={parameters.search_levels}: signal levels lie between 0 and 1"
    return None


def _refining_reason(parameters: Any) -> str | None:
    if parameters.refine < 0 or parameters.refine_rate <= 0 or not 0 < parameters.refine_from < 1:
        return (
            f"refine={parameters.refine} at rate {parameters.refine_rate} from ᾱ {parameters.refine_from}: at least 0,"
            " above 0 and between 0 and 1"
        )
    if parameters.refine_condition not in ("class", "null"):
        return f"refine_condition {parameters.refine_condition!r} is neither class nor null"
    return None
