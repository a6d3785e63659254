"""What is minimised: the figures that a method reports, each by its weight, are all there is to its loss.

Belongs here: how terms are put together, for methods that share the loop. Does not belong: the terms, each worked out
by hand in its own test.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from dd_assets.methods.request import Request
from dd_assets.synthesis import recover as loop
from tests.methods.requests import request
from tests.synthesis import two_layer_moments as example
from tests.synthesis.two_layers import FACTS, images, network

BN = {"bn_loss": "r_bn"}
WEIGHTS = {
    "sre2l": BN,
    "sre2lpp": BN,
    "cda": BN,
    "delt": BN,
    "dwa": BN,
    "cvdd": BN,
    "gvbsm": {"feature_loss": "r_loss", "densification": "densification"},
    "edc": {"feature_loss": "r_loss", "flatness": "flatness_weight"},
}
"""Of each method: its figures beside ce, and the parameter that weighs them."""
START = images().images[[0, 6, 1, 7]]


def _request(name: str) -> Request:
    parameters = importlib.import_module(f"dd_assets.methods.{name}.recipe").Parameters()
    weights = {field: 0.3 + 0.4 * place for place, field in enumerate(WEIGHTS[name].values())}
    parameters = dataclasses.replace(parameters, iterations=2, **weights)
    if name in ("gvbsm", "edc"):
        return example.committee_request(parameters, 2, start=START)
    given = request(parameters, 2, facts=FACTS, train=images, teacher=network)
    members, priors = {"one": network(), "two": network()}, {"one": 60.0, "two": 50.0}
    return dataclasses.replace(given, initial=lambda: START, committee=lambda: members, priors=lambda: priors)


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_the_loss_is_its_figures_by_their_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, found = _request(name), []

    def watched(request: Request, recovery: loop.Recovery) -> Any:
        @contextmanager
        def objective(batch: loop.Batch) -> Iterator[loop.Objective]:
            with recovery.objective(batch) as real:

                def loss(viewed: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
                    total, figures = real(viewed, labels)
                    found.append((float(total), {key: float(value) for key, value in figures.items()}))
                    return total, figures

                yield loss

        return loop.recover(request, dataclasses.replace(recovery, objective=objective))

    synthesis = importlib.import_module(f"dd_assets.methods.{name}.synthesis")
    monkeypatch.setattr(synthesis, "recover", watched)
    synthesis.synthesise(asked)
    assert found
    for total, figures in found:
        weights = {"ce": 1.0, **{key: getattr(asked.parameters, field) for key, field in WEIGHTS[name].items()}}
        assert figures.keys() == weights.keys()
        assert total == pytest.approx(sum(weights[key] * figures[key] for key in weights), rel=1e-5)
    # A term that is 0 throughout would leave its weight and sign unseen.
    assert all(np.any([figures[key] for _, figures in found]) for key in WEIGHTS[name])
