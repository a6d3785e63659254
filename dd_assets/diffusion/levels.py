"""Signal levels: how much of the clean image a timestep leaves, and which sampling steps a level means.

Belongs here: ᾱ of a schedule, the timesteps of a sampler, start steps and windows, as plain numbers.
Does not belong: the loop that walks them (sampling.py), tensors.

Schedules are diffusers' (DDIMScheduler's ᾱ and "leading" or other spacing); everything here is NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dd_assets.errors import InputError

SCHEDULE_FIELDS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "set_alpha_to_one",
    "steps_offset",
    "prediction_type",
    "timestep_spacing",
    "rescale_betas_zero_snr",
)
"""What of a scheduler's configuration is read, whichever scheduler class the folder names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """A noise schedule with the steps of one sampling."""

    alpha_bars: np.ndarray
    """ᾱ of every training timestep, float64 (train steps,), descending."""
    timesteps: np.ndarray
    """Those that are sampled, int64 (steps,), noisiest first."""
    final_alpha_bar: float
    """ᾱ after the last step."""

    def level(self, position: int) -> float:
        """ᾱ at a position of `timesteps`; the position after the last is the clean end."""
        last = position == len(self.timesteps)
        return self.final_alpha_bar if last else float(self.alpha_bars[self.timesteps[position]])

    def levels(self) -> np.ndarray:
        """ᾱ of each step, float64 (steps,), ascending."""
        return self.alpha_bars[self.timesteps]

    def position_of(self, level: float) -> int:
        """The step whose log signal-to-noise ratio is nearest to that of `level`.

        Raises InputError for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise InputError(f"signal level {level} is not between 0 and 1", "D4M's is 0.0946")
        found = self.levels()
        ratio = np.log(found) - np.log1p(-found)
        return int(np.argmin(np.abs(ratio - math.log(level / (1 - level)))))

    def within(self, low: float, high: float) -> list[int]:
        """Positions whose ᾱ lies in [low, high], noisiest first."""
        return [int(p) for p in np.flatnonzero((self.levels() >= low) & (self.levels() <= high))]

    def shown(self, low: float = 0.0, high: float = 1.0) -> str:
        """The steps that a window of levels means: positions, the index counted down, and timesteps."""
        found = self.within(low, high)
        if not found:
            return f"ᾱ {low:g} to {high:g}: no step"
        count, first, last = len(self.timesteps), found[0], found[-1]
        return (
            f"ᾱ {low:g} to {high:g}: {len(found)} of {count} steps, index {count - 1 - first} down to"
            f" {count - 1 - last}, t = {self.timesteps[first]} to {self.timesteps[last]}"
        )


def schedule_of(config: Mapping[str, Any], steps: int) -> Schedule:
    """The schedule of a diffusers scheduler configuration, with `steps` sampling steps.

    Raises InputError where the schedule has fewer training timesteps than that, or where nothing of the image is left
    in a step that is sampled.
    """
    from diffusers import DDIMScheduler

    stated = stated_schedule(config)
    # PNDM's spacing of the published Stable Diffusion folders carries the same offset as DDIM's "leading".
    scheduler: Any = DDIMScheduler(**{**stated, "clip_sample": False})
    total = scheduler.config["num_train_timesteps"]
    if not 1 <= steps <= total:
        raise InputError(f"{steps} sampling steps of {total} training timesteps", f"choose 1 to {total}")
    scheduler.set_timesteps(steps)
    found = Schedule(
        alpha_bars=scheduler.alphas_cumprod.double().numpy(),
        timesteps=scheduler.timesteps.numpy().astype(np.int64),
        final_alpha_bar=float(scheduler.final_alpha_cumprod),
    )
    if found.levels()[0] <= 0:
        # ε says nothing of the clean sample there, and guidances, inversion and steps are stated in ε.
        raise InputError(
            f"the noise schedule has signal level 0 at t = {found.timesteps[0]} (rescale_betas_zero_snr), where no"
            " clean sample can be told from the noise",
            'set timestep_spacing to "leading" in its scheduler_config.json, which does not sample that step',
        )
    return found


def stated_schedule(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a scheduler's configuration makes its schedule, JSON-able."""
    stated = {name: config[name] for name in SCHEDULE_FIELDS if name in config}
    return {name: np.asarray(value).tolist() for name, value in stated.items()}


def closed_form(config: Mapping[str, Any], steps: int) -> Schedule | None:
    """`schedule_of` without diffusers, for estimates: up to float32; None for a schedule that it does not know."""
    total = int(config.get("num_train_timesteps", 1000))
    low, high = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    betas = {
        "linear": np.linspace(low, high, total),
        "scaled_linear": np.linspace(low**0.5, high**0.5, total) ** 2,
    }.get(config.get("beta_schedule", "linear"))
    spaced = {
        "leading": lambda: np.arange(steps)[::-1] * (total // steps) + int(config.get("steps_offset", 0)),
        "linspace": lambda: np.linspace(0, total - 1, steps).round()[::-1],
        "trailing": lambda: np.arange(total, 0, -total / steps).round() - 1,
    }.get(config.get("timestep_spacing", "leading"))
    other = config.get("trained_betas") is not None or config.get("rescale_betas_zero_snr")
    if betas is None or spaced is None or other or not 1 <= steps <= total:
        return None
    alpha_bars = np.cumprod(1 - betas)
    final = 1.0 if config.get("set_alpha_to_one", True) else float(alpha_bars[0])
    return Schedule(alpha_bars=alpha_bars, timesteps=spaced().astype(np.int64), final_alpha_bar=final)
