"""k-means, herding, median and EL2N: choices that can be made by hand.

Belongs here: the four coresets of real images. Does not belong: features and the median order (tests/synthesis).
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import ImageArrays, Normalisation
from dd_assets.errors import InputError
from dd_assets.methods.contract import Facts
from dd_assets.methods.el2n.recipe import Parameters as El2nParameters
from dd_assets.methods.el2n.synthesis import error_norms
from dd_assets.methods.el2n.synthesis import synthesise as el2n
from dd_assets.methods.herding.recipe import Parameters as HerdingParameters
from dd_assets.methods.herding.synthesis import herd
from dd_assets.methods.herding.synthesis import synthesise as herding
from dd_assets.methods.kmeans.recipe import Parameters as KmeansParameters
from dd_assets.methods.kmeans.synthesis import cluster, nearest_distinct
from dd_assets.methods.kmeans.synthesis import synthesise as kmeans
from dd_assets.methods.median.recipe import Parameters as MedianParameters
from dd_assets.methods.median.synthesis import synthesise as median
from dd_assets.methods.registry import method
from tests.methods.requests import request
from tests.models.digits import digits, facts

ALL = [
    (kmeans, KmeansParameters()),
    (herding, HerdingParameters()),
    (median, MedianParameters()),
    (el2n, El2nParameters()),
]
GREY = Facts(
    setting="grey",
    classes=("dark", "light"),
    train_counts=(12, 12),
    size=8,
    channels=1,
    normalisation=Normalisation(mean=(0.0,), std=(1.0,)),
    hflip=True,
)


class Brightness(nn.Module):
    """Two layers: the mean brightness as the only feature, then log-odds 2 · gain · (brightness - 65 / 255)."""

    def __init__(self, gain: float = 150.0) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[-gain], [gain]]))
            self.head.bias.copy_(torch.tensor([gain, -gain]) * 65 / 255)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean(dim=(1, 2, 3))[:, None])


def _constant(levels: list[int]) -> ImageArrays:
    """Constant images of these grey levels in each of two classes."""
    twice = np.tile(np.array(levels, dtype=np.uint8), 2)
    images = np.broadcast_to(twice[:, None, None, None], (len(twice), 8, 8, 1)).copy()
    return ImageArrays(images, np.repeat(np.arange(2), len(levels)))


def _levels(synthesise, parameters, ipc: int, levels: list[int], gain: float = 150.0) -> tuple[list[int], list[int]]:
    """Chosen grey levels of the dark and of the light class, in order."""
    train, teacher = partial(_constant, levels), partial(Brightness, gain)
    made = synthesise(request(parameters, ipc, facts=GREY, train=train, teacher=teacher))
    chosen = made.images[:, 0, 0, 0]
    return chosen[::2].tolist(), chosen[1::2].tolist()


TWELVE = list(range(10, 130, 10))


def test_median_goes_outwards_from_the_middle_where_float32_ties() -> None:
    # Log-odds of -529 to 529: float32 gives a probability of exactly 1 to the right side and would order by row.
    dark, light = _levels(median, MedianParameters(), 5, [*TWELVE[:1], *TWELVE[6:]], gain=1200.0)
    # Light, ascending 10, 70, 80 … 120: seven ranks, the middle is rank 4. Dark, ascending 120 … 70, 10.
    assert light == [100, 110, 90, 120, 80]
    assert dark == [80, 70, 90, 10, 100]


def test_median_is_not_the_most_certain() -> None:
    dark, light = _levels(median, MedianParameters(), 5, TWELVE)
    # Twelve ranks, the middle is rank 6: level 70 of 10, 20 … 120 for light, 60 of 120, 110 … 10 for dark.
    assert light == [70, 80, 60, 90, 50]
    assert dark == [60, 50, 70, 40, 80]


def test_el2n_keeps_the_end_it_is_told_to() -> None:
    assert _levels(el2n, El2nParameters(), 3, TWELVE, gain=30.0) == ([10, 20, 30], [120, 110, 100])
    largest = El2nParameters(keep="largest")
    assert _levels(el2n, largest, 3, TWELVE, gain=30.0) == ([120, 110, 100], [10, 20, 30])


def test_error_norms_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]).log()
    # Label 0: sqrt(.5² + .3² + .2²) and sqrt(.9² + .1² + .8²).
    expected = [math.sqrt(0.38), math.sqrt(1.46)]
    assert error_norms(probabilities, 0).tolist() == pytest.approx(expected, rel=1e-6)


def test_error_norms_of_sure_images_do_not_round_to_zero() -> None:
    norms = error_norms(torch.tensor([[100.0, 0.0], [60.0, 0.0]]), 0)
    # sqrt(2) e^-margin; 1 - p_y would be 0 in float64 for both, and their order that of the rows.
    assert norms.tolist() == pytest.approx([math.sqrt(2) * math.exp(-100), math.sqrt(2) * math.exp(-60)], rel=1e-9)


def test_herding_follows_the_mean_of_what_was_taken() -> None:
    features = np.array([[0.0], [1.0], [2.0], [9.0]])
    chosen, distances = herd(features, 4)
    # Mean 3. First 2 (off by 1); then 9 would give 5.5, 1 gives 1.5, 0 gives 1: 1; then 9, mean 4 against 1 with 0.
    # The three nearest to the mean would be 2, 1, 0.
    assert chosen.tolist() == [2, 1, 3, 0]
    assert distances.tolist() == pytest.approx([1.0, 1.5, 1.0, 0.0])


def test_herding_of_real_images_and_its_features() -> None:
    dark, light = _levels(herding, HerdingParameters(), 4, [0, 25, 50, 225])
    # The same numbers times 25; the teacher's feature is the brightness, the same for both classes.
    assert dark == light == [50, 25, 225, 0]


def test_clusters_come_largest_first_and_each_centre_gets_its_own_image() -> None:
    # Three groups of 2, 5 and 3; their centres are 11, 102 and 201.
    levels = [10, 12, 100, 101, 102, 103, 104, 200, 201, 202]
    made = kmeans(request(KmeansParameters(), 3, facts=GREY, train=lambda: _constant(levels), teacher=Brightness))
    assert made.images[1::2, 0, 0, 0].tolist() == [102, 201, 10]
    assert made.columns["cluster_size"][1::2].tolist() == [5, 3, 2]
    assert made.columns["weight"][1::2].tolist() == [5.0, 3.0, 2.0]
    assert made.columns["distance"][1::2] == pytest.approx([0, 0, 1 / 255], abs=1e-6)


def test_no_image_stands_for_two_centres() -> None:
    features = np.array([[0.0], [10.0], [4.0]])
    chosen, distances = nearest_distinct(features, np.array([[1.0], [0.5], [9.0]]))
    # Both of the first centres are nearest to row 0; the second has to take row 2.
    assert chosen.tolist() == [0, 2, 1]
    assert distances.tolist() == [1.0, 3.5, 1.0]


def test_more_clusters_than_different_images_still_give_different_rows() -> None:
    made = kmeans(request(KmeansParameters(), 4, facts=GREY, train=lambda: _constant([9] * 5), teacher=Brightness))
    assert len(set(made.columns["source_index"].tolist())) == 8
    assert made.columns["cluster_size"][::2].tolist() == [5, 0, 0, 0]


@pytest.mark.parametrize("algorithm", ["full", "minibatch"])
def test_both_algorithms_find_separate_groups(algorithm) -> None:
    features = np.concatenate([np.full((4, 2), 0.0), np.full((8, 2), 5.0), np.full((6, 2), 9.0)])
    features += np.linspace(0, 0.1, features.size).reshape(features.shape)
    centres, sizes = cluster(features, 3, KmeansParameters(algorithm=algorithm), 0)
    assert sizes.tolist() == [8, 6, 4]
    assert np.round(centres[:, 0]).tolist() == [5, 9, 0]


@pytest.mark.parametrize(("synthesise", "parameters"), ALL)
def test_images_are_the_rows_they_name_and_all_different(synthesise, parameters) -> None:
    made, train = synthesise(request(parameters, 10)), digits()[0]
    source = made.columns["source_index"]
    np.testing.assert_array_equal(made.images, train.images[source])
    np.testing.assert_array_equal(made.labels, np.tile(np.arange(10), 10))
    np.testing.assert_array_equal(train.labels[source], made.labels)
    assert len(set(source.tolist())) == 100
    again = synthesise(request(parameters, 10))
    np.testing.assert_array_equal(again.columns["source_index"], source)


@pytest.mark.parametrize(("synthesise", "parameters"), ALL[1:])
def test_deterministic_choices_are_nested_and_do_not_know_the_seed(synthesise, parameters) -> None:
    ten, three = synthesise(request(parameters, 10)), synthesise(request(parameters, 3, seed=1))
    np.testing.assert_array_equal(ten.images[:30], three.images)
    for name, values in three.columns.items():
        np.testing.assert_array_equal(ten.columns[name][:30], values)


def test_kmeans_draws_differ_and_sizes_add_up() -> None:
    made, other = (kmeans(request(KmeansParameters(restarts=1), 10, seed=seed)) for seed in (0, 1))
    assert not np.array_equal(made.columns["source_index"], other.columns["source_index"])
    sizes = made.columns["cluster_size"].reshape(10, 10)
    assert tuple(sizes.sum(axis=0).tolist()) == facts().train_counts
    assert (np.diff(sizes, axis=0) <= 0).all()
    with pytest.raises(InputError, match="in parts"):
        kmeans(request(KmeansParameters(), 5, first=1))


@pytest.mark.parametrize("name", ["kmeans", "herding", "median", "el2n"])
def test_declarations(name: str) -> None:
    declared = method(name)
    assert declared.draws == (3 if name == "kmeans" else 1)
    assert declared.family == "selection"
    few = dataclasses.replace(facts(), train_counts=(142, 9, *[142] * 8))
    parameters = declared.recipe_for("digits").parameters
    assert declared.refuse(parameters, few, 10) == "class '1' has 9 training images, IPC 10 needs 10 different ones"
    assert declared.refuse(parameters, facts(), 50) is None


@pytest.mark.parametrize(("synthesise", "parameters"), ALL)
def test_a_class_with_too_few_images_is_named(synthesise, parameters) -> None:
    with pytest.raises(InputError, match="class 'dark' has 3 images"):
        _levels(synthesise, parameters, 4, [1, 2, 3])
