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

    Raises InputError where the schedule has fewer training timesteps than that.
    """
    from diffusers import DDIMScheduler

    stated = {name: config[name] for name in SCHEDULE_FIELDS if name in config}
    # PNDM's spacing of the published Stable Diffusion folders carries the same offset as DDIM's "leading".
    scheduler: Any = DDIMScheduler(**{**stated, "clip_sample": False})
    total = scheduler.config["num_train_timesteps"]
    if not 1 <= steps <= total:
        raise InputError(f"{steps} sampling steps of {total} training timesteps", f"choose 1 to {total}")
    scheduler.set_timesteps(steps)
    return Schedule(
        alpha_bars=scheduler.alphas_cumprod.double().numpy(),
        timesteps=scheduler.timesteps.numpy().astype(np.int64),
        final_alpha_bar=float(scheduler.final_alpha_cumprod),
    )
