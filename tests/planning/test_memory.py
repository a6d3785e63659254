"""Peak memory before it is spent: worked examples, refusals, and one recovery that is really measured.

Belongs here: planning/memory.py. Does not belong: what single networks keep (tests/models/test_architectures.py).
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError
from dd_assets.methods.contract import Facts
from dd_assets.methods.registry import method
from dd_assets.planning.memory import PROCESS, Estimate, estimate, require_fit


def _facts(classes: int, size: int) -> Facts:
    return Facts(
        setting="made up",
        classes=tuple(map(str, range(classes))),
        train_counts=(100,) * classes,
        size=size,
        channels=3,
        normalisation=Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3),
        hflip=True,
    )


def test_imagenet_by_hand() -> None:
    sre2l = method("sre2l")
    parameters = sre2l.recipe_for("imagenet1k").parameters
    needed = estimate(sre2l, parameters, _facts(1000, 224), 10, ["resnet18"])
    # 100 images of 224 px: 110.5 floats per pixel kept by ResNet-18 (1.6 times that at the peak), and 6 floats per
    # value for the images themselves.
    assert needed.batch == 100
    assert needed.per_image == round(4 * (1.6 * 110.5 + 6 * 3) * 224**2)
    assert needed.fixed == PROCESS + 4 * 4 * 1000 * 3 * 224**2
    # The reference states 5.3 GB on a GPU; the images of 1,000 classes and their states, 2.4 GB, are alive here too.
    assert 6.5e9 < needed.total < 8e9


def test_ten_classes_fill_a_batch_of_ten() -> None:
    sre2l = method("sre2l")
    parameters = sre2l.recipe_for("cifar10").parameters
    assert estimate(sre2l, parameters, _facts(10, 32), 10, ["resnet18"]).batch == 10
    whole = dataclasses.replace(parameters, batch_layout="whole_set")
    assert estimate(sre2l, whole, _facts(10, 32), 50, ["resnet18"]).batch == 100


def test_a_selection_needs_its_images_only() -> None:
    rded = method("rded")
    needed = estimate(rded, rded.recipe_for("imagenette").parameters, _facts(10, 224), 10, ["resnet18"])
    assert needed.total == PROCESS + 1000 * 3 * 224**2


def test_what_does_not_fit_names_the_batch_that_would() -> None:
    needed = Estimate(fixed=1 << 30, per_image=1 << 26, batch=100)
    require_fit(needed, 16 << 30, "sre2l")
    with pytest.raises(InputError, match=r"sre2l needs about 7\.8 GB, 4\.3 GB are free → batch 41 would fit"):
        require_fit(needed, 4 << 30, "sre2l")
    with pytest.raises(InputError, match="not even one image"):
        require_fit(needed, 1 << 30, "sre2l")


MEASURED = """
import numpy as np, torch
from dd_assets.methods.sre2l.synthesis import synthesise
from dd_assets.methods.sre2l.recipe import Parameters
from dd_assets.methods.request import Request
from dd_assets.models.architectures import build_model
from dd_resources.compute import peak_memory
from tests.planning.test_memory import _facts
torch.set_num_threads(1)
model = build_model("resnet18", classes=40, channels=3, size=128, seed=0).eval().requires_grad_(False)
synthesise(Request(
    facts=_facts(40, 128), parameters=Parameters(iterations=2, batch=40, jitter=4), ipc=1, first=0, last=1, seed=0,
    train=lambda: None, teacher=lambda: model,
))
print(peak_memory())
"""


@pytest.mark.slow
def test_the_estimate_is_what_a_recovery_takes() -> None:
    sre2l = method("sre2l")
    parameters = dataclasses.replace(sre2l.recipe_for("default").parameters, batch=40)
    needed = estimate(sre2l, parameters, _facts(40, 128), 1, ["resnet18"])
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    assert needed.total == pytest.approx(int(done.stdout), rel=0.2)
