"""Patch scoring and stitching (reference 16.8).

Belongs here: patches.py on values that can be followed by hand. Does not belong: RDED's candidates and crops.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dd_assets.synthesis.patches import centre_pad, choose, cross_entropy_scores, score_patches, stitch


def test_padding_is_centred_zeros() -> None:
    padded = centre_pad(torch.ones(1, 1, 2, 2), 5)[0, 0]
    assert padded.sum() == 4
    assert padded[1:3, 1:3].sum() == 4  # the odd pixel goes to the bottom and right
    # Each side has its own margin.
    assert centre_pad(torch.ones(1, 1, 2, 4), 6)[0, 0, 2:4, 1:5].sum() == 8


def test_scores_see_padded_patches_not_enlarged_ones() -> None:
    class Recorder(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            self.seen = images
            return torch.stack([images.sum(dim=(1, 2, 3)), torch.zeros(len(images))], dim=1)

    teacher = Recorder()
    scores = score_patches(teacher, torch.ones(3, 1, 2, 2), 0, 4, "float64", batch=2)
    assert teacher.seen.shape == (1, 1, 4, 4)
    # Log-odds 4 · 1 against 0; an enlarged patch would sum to 16.
    assert scores.tolist() == pytest.approx([math.log1p(math.exp(-4))] * 3)


def test_in_bf16_the_classifier_still_tells_patches_apart() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False)).eval()
    with torch.no_grad():
        teacher[1].weight.copy_(torch.eye(4))
        teacher[2].weight.copy_(torch.tensor([[1.0, 2**-9, 0, 0], [0, 0, 0, 0]]))
    patches = torch.tensor([[8.0, 0, 0, 0], [8.0, 4, 0, 0]]).view(2, 1, 2, 2)
    full, half = (score_patches(teacher, patches, 0, 2, "float64", precision=p) for p in ("fp32", "bf16"))
    # Logits 8 and 8 + 1/128: a bfloat16 between 8 and 16 is a multiple of 1/16, so that as logits they would tie.
    assert full[1] < full[0]
    torch.testing.assert_close(half, full)


def test_float64_tells_confident_patches_apart() -> None:
    logits = torch.tensor([[40.0, 0.0, 0.0], [60.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    # float32 gives 0 for all three, and the first would win by its place.
    assert cross_entropy_scores(logits, 0, "float32").tolist() == [0.0, 0.0, 0.0]
    scores = cross_entropy_scores(logits, 0, "float64")
    assert scores.argsort().tolist() == [1, 2, 0]
    assert float(scores[0]) == pytest.approx(2 * math.exp(-40))


def test_both_dtypes_are_the_cross_entropy() -> None:
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.0, 9.0, 0.0], [700.0, 0.0, 0.0]])
    expected = nn.functional.cross_entropy(logits.double(), torch.tensor([1, 1, 1]), reduction="none")
    torch.testing.assert_close(cross_entropy_scores(logits, 1, "float64"), expected)
    torch.testing.assert_close(cross_entropy_scores(logits, 1, "float32"), expected.float())


def test_best_crop_of_each_image_first() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7], [0.5, 0.4, 0.6]])
    image, crop = choose(scores, 2)
    # The best crops overall are both of image 0.
    assert image.tolist() == [0, 2]
    assert crop.tolist() == [0, 1]


def test_quadrant_k_takes_ranks_k_times_ipc_onwards() -> None:
    patches = torch.arange(8.0).view(8, 1, 1, 1).repeat(1, 1, 2, 2)
    images = stitch(patches, 2)
    assert images.shape == (2, 1, 4, 4)
    assert images[0, 0, ::2, ::2].tolist() == [[0, 2], [4, 6]]
    assert images[1, 0, ::2, ::2].tolist() == [[1, 3], [5, 7]]
    assert torch.equal(stitch(patches, 1), patches)
