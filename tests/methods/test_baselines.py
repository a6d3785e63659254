"""Random and noise: nesting, shards, refusals.

Belongs here: the two baselines. Does not belong: methods with a teacher.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dd_assets.errors import InputError
from dd_assets.methods.noise.synthesis import synthesise as noise
from dd_assets.methods.random.synthesis import synthesise as random
from dd_assets.methods.registry import method
from tests.methods.requests import request
from tests.models.digits import digits, facts

RANDOM = method("random").recipes["digits"].parameters
NOISE = method("noise").recipes["digits"].parameters


def test_random_ipc_10_begins_with_ipc_1() -> None:
    ten, one = random(request(RANDOM, 10)), random(request(RANDOM, 1))
    np.testing.assert_array_equal(ten.images[:10], one.images)
    train = digits()[0]
    np.testing.assert_array_equal(train.images[ten.columns["source_index"]], ten.images)
    np.testing.assert_array_equal(ten.labels, np.tile(np.arange(10), 10))
    assert len(set(ten.columns["source_index"].tolist())) == 100


def test_random_draws_differ() -> None:
    assert not np.array_equal(random(request(RANDOM, 1)).images, random(request(RANDOM, 1, seed=1)).images)


@pytest.mark.parametrize(("synthesise", "parameters"), [(random, RANDOM), (noise, NOISE)])
def test_a_shard_alone_equals_its_part_of_the_whole(synthesise, parameters) -> None:
    whole = synthesise(request(parameters, 5))
    part = synthesise(request(parameters, 50, first=3, last=4))
    np.testing.assert_array_equal(part.images, whole.images[30:40])
    np.testing.assert_array_equal(part.labels, whole.labels[30:40])


def test_random_refuses_more_images_than_a_class_has() -> None:
    few = dataclasses.replace(facts(), train_counts=(142, 9, *[142] * 8))
    reason = method("random").refuse(RANDOM, few, 10)
    assert reason == "class '1' has 9 training images, IPC 10 needs 10 different ones"
    assert method("random").refuse(RANDOM, few, 9) is None
    with pytest.raises(InputError, match="class '0' has 142 images"):
        random(request(RANDOM, 200))


def test_noise_is_gaussian_in_normalised_space_and_clamped() -> None:
    images = noise(request(NOISE, 100)).images
    norm = facts().normalisation
    # P(mean + std ε < 0) for mean .3054, std .376: Φ(-.812) = .2084; white Φ(-1.847) = .0324.
    assert (images == 0).mean() == pytest.approx(0.2084, abs=0.01)
    assert (images == 255).mean() == pytest.approx(0.0324, abs=0.005)
    # The median is not touched by the clamp.
    assert np.median(images) == pytest.approx(255 * norm.mean[0], abs=1.5)
    # Half the deviation: Φ(-1.624) = .0522.
    narrow = noise(request(dataclasses.replace(NOISE, sigma=0.5), 100)).images
    assert (narrow == 0).mean() == pytest.approx(0.0522, abs=0.005)
