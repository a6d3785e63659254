"""`dd-assets`, with every iteration of every unit noted: one byte in the file of its recipe below DD_TEST_WORK.

An iteration is an optimiser step, or a batch of views rendered for a label table; a unit without either counts as one.
Worker processes import this module again as their main module, so they note theirs too.
"""

from __future__ import annotations

import os
import sys

from dd_assets.planning import engine

STEPPED = ("teacher", "training", "images/sre2l", "labels")
"""Kinds that note their iterations themselves."""

_compute_product = engine.compute_product
_installed: list[bool] = []
_current: list[int] = []
"""The descriptor of the unit that this process computes now."""


def _note(*_: object) -> None:
    os.write(_current[-1], b".")


def _install() -> None:
    """Let optimiser steps and rendered batches be noted."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from dd_assets.evaluation import labels

    render = labels.render

    def noted(*given: object, **named: object) -> object:
        _note()
        return render(*given, **named)  # type: ignore[arg-type]

    labels.render = noted  # type: ignore[assignment]
    register_optimizer_step_post_hook(_note)
    _installed.append(True)


def _counted(work: engine.Work) -> object:
    if not _installed:
        _install()
    path = f"{os.environ['DD_TEST_WORK']}/{work.unit.name.replace('/', '.')}-{work.unit.digest}"
    _current.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    try:
        if work.unit.name not in STEPPED:
            _note()
        return _compute_product(work)
    finally:
        os.close(_current.pop())


engine.compute_product = _counted  # type: ignore[assignment]

if __name__ == "__main__":
    from dd_assets.cli import main

    sys.exit(main())
