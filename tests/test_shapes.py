"""Shape annotations are checked while the tests run, and harmless where jaxtyping is absent."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dd_assets.evaluation.losses import hard_cutmix
from dd_assets.synthesis.patches import centre_pad


def test_a_wrong_rank_is_refused_in_tests() -> None:
    with pytest.raises(Exception, match="Type-check error"):
        centre_pad(torch.zeros(3, 4, 4), 8)


def test_two_arguments_that_share_an_axis_must_agree() -> None:
    labels = torch.zeros(5, dtype=torch.int64)
    with pytest.raises(Exception, match="Type-check error"):
        hard_cutmix(torch.zeros(4, 10), labels, labels, 0.5, "mixed")


def test_without_jaxtyping_the_annotations_are_plain_types() -> None:
    program = (
        "import sys; sys.modules['jaxtyping'] = None\n"
        "import torch\n"
        "from dd_assets.shapes import Float\n"
        "from dd_assets.synthesis.patches import centre_pad\n"
        "assert Float[torch.Tensor, 'n c'] is torch.Tensor\n"
        "print(tuple(centre_pad(torch.ones(1, 1, 2, 2), 4).shape))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "(1, 1, 4, 4)", done.stderr
