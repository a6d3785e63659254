"""The recipe files of docs/examples/recipes are what docs/results/cifar10_resnet20.md says of them.

Belongs here: those files against the methods' recipes. Does not belong: refusals of recipe files (test_sweep.py).
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

from dd_assets.methods.registry import METHODS
from dd_assets.sweeps.compositions import composed

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples" / "recipes"
FOUND = dict((method.name, method) for _, method in composed(str(FOLDER), METHODS()))
OPTIMISED = [name for name, method in METHODS().items() if method.family == "optimisation" and not method.variant_of]


def test_every_optimisation_has_a_quarter_of_cifar10s_iterations_and_nothing_else_changed() -> None:
    assert {f"{name}_quarter" for name in OPTIMISED} == {name for name in FOUND if name.endswith("_quarter")}
    for name in OPTIMISED:
        whole = METHODS()[name].recipe_for("cifar10").parameters
        part = FOUND[f"{name}_quarter"].recipe_for("cifar10").parameters
        assert part.iterations == round(whole.iterations / 4)
        # PRISM's lengths by IPC index shrink with it.
        shorter = {"shorter_by": whole.shorter_by // 4} if name == "prism" else {}
        assert part == dataclasses.replace(whole, iterations=part.iterations, **shorter)


def test_prisms_six_cells_differ_in_where_logits_and_statistics_come_from() -> None:
    whole = METHODS()["prism"].recipe_for("cifar10").parameters
    for logits, statistics in itertools.product(("primary", "all"), ("same", "all", "subset")):
        cell = FOUND[f"prism_equal_{logits}_{statistics}"].recipe_for("cifar10").parameters
        assert cell == dataclasses.replace(whole, logits_from=logits, bn_from=statistics, equal_forwards=True)
