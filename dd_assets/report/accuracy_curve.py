"""Test accuracy over the epochs of several trainings, as figures show it.

Belongs here: joining the looks before the evaluation window with those in it. Does not belong: when a training looks
(evaluation/protocol.py), drawing (pictures.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dd_assets.planning.unit import Manifest


def accuracy_curve(runs: Sequence[Manifest]) -> tuple[list[int], list[float]]:
    """(epochs counted from 1, mean test accuracy in [0, 1]) of trainings under one protocol.

    Looks before the window, where the protocol has them, are on a sample of the test images.
    """
    first = runs[0].summary
    epochs = [epoch + 1 for epoch in (*first.get("early_epochs", ()), *first["evaluated_epochs"])]
    curves = [(*run.summary.get("early_curve", ()), *run.summary["accuracy_curve"]) for run in runs]
    return epochs, [statistics.mean(values) for values in zip(*curves, strict=True)]
