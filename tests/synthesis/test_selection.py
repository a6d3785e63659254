"""Choosing real images: features, median order, the walk over classes.

Belongs here: outputs.py and selection.py on data small enough to order by hand. Does not belong: methods' criteria.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dd_assets.errors import InputError
from dd_assets.models.pixels import normalised
from dd_assets.synthesis.outputs import features_of, logits_of
from dd_assets.synthesis.selection import median_order, select
from tests.methods.requests import request
from tests.models.digits import NORMALISATION, digits, teacher
from tests.synthesis.two_layers import FACTS, images


def test_features_are_the_input_of_the_last_linear_layer() -> None:
    model, pixels = teacher(), digits()[0].images[:601]
    features = features_of(model, pixels, NORMALISATION, "cpu")
    direct = model.blocks(normalised(pixels, NORMALISATION, "cpu")).flatten(1)
    assert features.shape == (601, 64 * 2 * 2)
    assert features.dtype == np.float64
    np.testing.assert_allclose(features, direct.double().numpy(), atol=1e-5)
    # The classifier turns them into the logits, which the features of no earlier layer would do.
    logits = logits_of(model, pixels, NORMALISATION, "cpu")
    torch.testing.assert_close(model.head(torch.from_numpy(features).float()), logits, atol=1e-4, rtol=1e-4)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_last_of_several_linear_layers_counts() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 2)).eval()
    assert features_of(model, images().images, FACTS.normalisation, "cpu").shape == (12, 5)
    with pytest.raises(InputError, match="no linear layer"):
        features_of(nn.Flatten(), images().images, FACTS.normalisation, "cpu")


def test_logits_that_are_not_finite_are_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval().requires_grad_(False)
    model[1].bias[0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        logits_of(model, images().images, FACTS.normalisation, "cpu")


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # Six: ranks 3, 4, 2, 5, 1, then 0 (there is no rank 6).
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [3, 4, 2, 5, 1, 0]),
        # Five: ceil(5 / 2) = 3, one above the median, as the original counts.
        ([0.0, 1.0, 2.0, 3.0, 4.0], [3, 4, 2, 1, 0]),
        ([5.0, 1.0, 3.0, 0.0], [2, 0, 1, 3]),
        ([7.0], [0]),
        ([7.0, 8.0], [1, 0]),
    ],
)
def test_median_order(scores: list[float], expected: list[int]) -> None:
    assert median_order(np.array(scores)).tolist() == expected


def test_select_orders_rows_by_index_and_class_and_joins_columns() -> None:
    def last_first(label: int, pixels: np.ndarray):
        order = np.arange(len(pixels))[::-1]
        return order, {"rank": order * 10 + label}

    whole = select(request(None, 3, facts=FACTS, train=images), last_first)
    assert whole.columns["source_index"].tolist() == [5, 11, 4, 10, 3, 9]
    assert whole.columns["rank"].tolist() == [50, 51, 40, 41, 30, 31]
    np.testing.assert_array_equal(whole.images, images().images[[5, 11, 4, 10, 3, 9]])
    part = select(request(None, 6, first=1, last=2, facts=FACTS, train=images), last_first)
    assert part.columns["source_index"].tolist() == [4, 10]
    with pytest.raises(InputError, match="class 'a' has 6 images, IPC index 6 does not exist"):
        select(request(None, 7, facts=FACTS, train=images), last_first)
