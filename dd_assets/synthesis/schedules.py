"""How the step size and the crop change over a recovery.

Belongs here: schedules as plain functions of the iteration and the number of iterations; no torch. Does not belong:
the loop that reads them (recover.py) and which method uses which (recipes).
"""

from __future__ import annotations

import math
from typing import Literal

Curriculum = Literal["step", "linear", "cosine"]


def learning_rate_at(iteration: int, iterations: int, base: float) -> float:
    """Half a cosine read before the step: exactly `base` at iteration 0, still above 0 at the last one."""
    return base * 0.5 * (1 + math.cos(math.pi * iteration / iterations))


def crop_floor_at(iteration: int, iterations: int, mode: Curriculum, milestone: float, floor: float) -> float:
    """The smallest area share that a crop may take at `iteration`, in [floor, 1].

    It is exactly 1 at iteration 0, falls to `floor` at milestone · iterations and stays there; milestone 0 turns the
    curriculum off. "step" keeps 1 until the milestone. Source: VILA-Lab/SRe2L 8d00cba, CDA/recover_cda_in1k.py.
    """
    end = milestone * iterations
    if iteration >= end:
        return floor
    share = {
        "step": 1.0,
        "linear": 1 - iteration / end,
        "cosine": (1 + math.cos(math.pi * iteration / end)) / 2,
    }[mode]
    return floor + (1 - floor) * share
