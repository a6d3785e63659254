"""The list of unit kinds: version, code and how it wants to be run.

Belongs here: one row per kind. Does not belong: planning or computing any of them.
A version is raised by hand when a change of code changes results; tests/planning hold every row to its fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

Exclusive = bool | Literal["threads"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a kind of unit is computed."""

    version: int
    compute: str
    """'module:function' taking (unit, work), imported in the process that computes."""
    code: str
    """The module whose tokens, with those of what computes and of all that both import, are the fingerprint of this
    version; another one than that of `compute` where it is called by name."""
    exclusive: Exclusive = False
    """True: one at a time in the run's own process; False: side by side in worker processes; "threads": the former for
    the sake of more threads, the latter where it would get no more (dd_resources.compute.Compute)."""


def _own(name: str, version: int, exclusive: Exclusive = False) -> Kind:
    module = f"dd_assets.units.{name}"
    return Kind(version=version, compute=f"{module}:compute", code=module, exclusive=exclusive)


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by name; one 'images/<method>' for each registered method."""
    from dd_assets.methods.registry import METHODS

    table = {
        "dataset": _own("dataset", 1, exclusive=True),
        "teacher": _own("teacher", 1, exclusive="threads"),
        "image_set": _own("image_set", 1, exclusive=True),
        "labels": _own("labels", 1),
        "training": _own("training", 1),
        "statistics": _own("statistics", 2),
        "diversity": _own("diversity", 3, exclusive=True),
        "priors": _own("priors", 1, exclusive=True),
        "generator": _own("generator", 1, exclusive="threads"),
        "generator_samples": _own("generator_samples", 1),
        "fine_tuned_generator": Kind(
            version=1,
            compute="dd_assets.units.fine_tuned:compute",
            code="dd_assets.units.fine_tuned",
            exclusive="threads",
        ),
        "surrogate": _own("surrogate", 1, exclusive="threads"),
        "class_gradients": _own("class_gradients", 1),
        "class_centroids": Kind(
            version=1, compute="dd_assets.units.centroids:compute", code="dd_assets.units.centroids"
        ),
        "class_gaussians": _own("class_gaussians", 1),
        "reference_latents": _own("reference_latents", 1),
        "prompt_bank": _own("prompt_bank", 1, exclusive=True),
        "embedding": _own("embedding", 1, exclusive=True),
        "leaderboard": _own("leaderboard", 9, exclusive=True),
    }
    for name, method in METHODS().items():
        table[f"images/{name}"] = Kind(
            version=method.version,
            compute="dd_assets.units.images:compute",
            code=method.synthesis.split(":")[0],
        )
    return table


def kind_of(name: str) -> Kind:
    """The kind of that name; KeyError is a programming error."""
    return kinds()[name]


def unit_modules() -> dict[str, tuple[int, tuple[str, ...]]]:
    """Unit name to (declared version, modules whose code it stands for), for the fingerprint guard."""
    return {name: (kind.version, (kind.compute.split(":")[0], kind.code)) for name, kind in kinds().items()}
