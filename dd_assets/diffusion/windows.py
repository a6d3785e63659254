"""The sampling steps that a method's signal levels mean, for people who read the originals, which count steps.

Belongs here: which fields state levels. Does not belong: from a level to steps (levels.py), the loop (sampling.py).
"""

from __future__ import annotations

from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.levels import Schedule

WINDOWS = (("guided_from", "guided_until"), ("low", "high"), ("level_low", "level_high"))
"""Pairs of fields in which methods state between which levels their guidance acts."""


def steps_meant(parameters: Sampling, schedule: Schedule) -> dict[str, str]:
    """'guidance', 'repulsion', 'start' and 'refinement', as far as parameters have them, as steps of the schedule.

    A start is shown as the steps that run from it, one range for each level that a search tries.
    """
    meant = {}
    for low, high in WINDOWS:
        if hasattr(parameters, low) and hasattr(parameters, high):
            meant["guidance"] = schedule.shown(getattr(parameters, low), getattr(parameters, high))
    if parameters.repulsion:
        meant["repulsion"] = schedule.shown(0.0, parameters.repulsion_until)
    if parameters.start != "noise":
        levels = parameters.search_levels or (parameters.start_level,)
        meant["start"] = "; ".join(schedule.shown(schedule.level(schedule.position_of(level))) for level in levels)
    if parameters.refine:
        meant["refinement"] = schedule.shown(parameters.refine_from)
    return meant
