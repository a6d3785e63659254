"""In which order asset partitions are computed, and which of them one run can hold.

Belongs here: phases, groups and the jobs' names. Does not belong: running them (sync.py), what reads what (graph.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from dd_assets.planning.cells import STUDIES
from dd_assets.planning.class_gaussians import CLASS_GAUSSIANS
from dd_assets.planning.generators import GENERATOR_ASSETS
from dd_assets.planning.graph import Cell, stages
from dd_assets.planning.influence import INFLUENCE
from dd_assets.planning.plan import Target, input_target
from dd_assets.planning.prompt_banks import PROMPT_BANK

PHASES = (
    ("dataset",),
    ("teacher",),
    ("committee", "statistics", "priors", *GENERATOR_ASSETS, PROMPT_BANK, CLASS_GAUSSIANS, INFLUENCE),
)
"""Assets that come one phase after the other, before all that belong to a method. The teacher has one of its own: a
short training that generators, which are long, wait for."""
OF_DATASETS = tuple(asset for phase in PHASES for asset in phase)


def phase_of(target: Target) -> int:
    """The phase in which a target's turn comes; all that belongs to methods and studies has the last."""
    return next((number for number, assets in enumerate(PHASES) if target[0] in assets), len(PHASES))


def groups(targets: Sequence[Target]) -> list[list[Target]]:
    """Targets that one run can hold: same job, same partition, no group before one that it reads.

    targets: upstream before downstream. A target joins the last group of its kind unless it reads a later one.
    """
    made: list[list[Target]] = []
    last: dict[tuple[str, str], int] = {}
    place: dict[Target, int] = {}
    for target in targets:
        cell, kind = Cell.of(target[1]), (job_name(target), target[1])
        read = [place.get(input_target(name, cell), -1) for name in stages()[target[0]].reads(cell)]
        if last.get(kind, -1) < max(read, default=-1) or kind not in last:
            last[kind] = len(made)
            made.append([])
        made[last[kind]].append(target)
        place[target] = last[kind]
    return made


def job_name(target: Target) -> str:
    """The job that a run of this target belongs to."""
    stage = stages()[target[0]]
    if stage.space == "dataset":
        return "datasets_job"
    return f"{STUDIES}_job" if stage.group == STUDIES else f"{stage.tags.get('dd/method', stage.asset)}_job"
