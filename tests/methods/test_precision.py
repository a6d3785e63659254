"""Mixed precision of the methods that optimise under networks: what is in bfloat16 and what is not.

Belongs here: the field `precision` of all of them. Does not belong: bf16 of students and labels (tests/evaluation).
"""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
import torch

from dd_assets.methods.contract import UnderNetworks
from dd_assets.methods.registry import METHODS, method
from dd_assets.methods.request import SyntheticImages
from tests.synthesis import two_layer_moments as example
from tests.synthesis.committees import committee, initial, tiny

UNDER_NETWORKS = ["cda", "cvdd", "delt", "dwa", "edc", "gvbsm", "prism", "sre2l", "sre2lpp"]


def _made(name: str, iterations: int, precision: str) -> SyntheticImages:
    parameters = dataclasses.replace(
        importlib.import_module(f"dd_assets.methods.{name}.recipe").Parameters(),
        **{"iterations": iterations, "crop": False, "hflip": False, "jitter": 0, "precision": precision},
    )
    start = initial(2)
    made = (
        example.committee_request(dataclasses.replace(parameters, init="random"), 2, start)
        if name in ("edc", "gvbsm")
        else tiny(parameters, 2, committee("a", "b", "c"))
    )
    return importlib.import_module(f"dd_assets.methods.{name}.synthesis").synthesise(made)


def test_every_method_under_networks_has_the_field() -> None:
    for each in METHODS().values():
        assert isinstance(each.recipe_for("digits").parameters, UnderNetworks) == (each.family == "optimisation")
    assert set(UNDER_NETWORKS) <= METHODS().keys()


@pytest.mark.parametrize("name", UNDER_NETWORKS)
def test_bf16_is_close_to_fp32_at_first_and_not_equal(name: str) -> None:
    full, half = (_made(name, 3, precision) for precision in ("fp32", "bf16"))
    for figure in set(full.curves) - {"iteration"}:
        # bfloat16 has 8 bits of mantissa: 2^-8 of a value, a few of them in a row.
        np.testing.assert_allclose(half.curves[figure][0], full.curves[figure][0], rtol=0.03, atol=1e-3)
    assert any((half.curves[figure] != full.curves[figure]).any() for figure in full.curves)
    assert half.images.dtype == np.uint8


def test_only_the_networks_see_bfloat16() -> None:
    members = committee("a", "b", "c")
    parameters = dataclasses.replace(
        method("prism").recipe_for("digits").parameters,
        **{"iterations": 9, "shorter_by": 0, "crop": False, "jitter": 0, "precision": "bf16"},
    )
    convolved: set[torch.dtype] = set()
    members["a"][1].register_forward_hook(lambda layer, inputs, output: convolved.add(output.dtype))
    saved: dict[str, np.ndarray] = {}

    class Checkpoints:
        def load(self) -> None:
            return None

        def save(self, state: dict[str, np.ndarray]) -> None:
            saved.update(state)

    importlib.import_module("dd_assets.methods.prism.synthesis").synthesise(
        tiny(dataclasses.replace(parameters, pool=()), 1, members, checkpoints=Checkpoints())
    )
    assert convolved == {torch.bfloat16}
    assert {saved[part].dtype for part in ("images", "exp_avg", "exp_avg_sq")} == {np.dtype(np.float32)}
