"""Soft labels in fewer bytes: worked examples, what is lost, and that training meets the same views.

Belongs here: label_codecs.py and the protocol's fields for it. Does not belong: the units that store (tests/units).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dd_assets.errors import InputError
from dd_assets.evaluation.label_codecs import DROPPED, Head, check_feature_width, decode, encode, epoch_sources
from dd_assets.evaluation.losses import soft_kl
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.models.classifier import Penultimate
from dd_assets.planning.digests import plain

RD3 = Protocol(views=VIEW_PRESETS["rd3"])


def _logits(views: int, classes: int, spread: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((views, classes)) * spread).astype(np.float16)


def test_a_row_by_hand() -> None:
    row = np.array([[-1.0, 0.0, 1.0, 254.0]], dtype=np.float16)
    columns = encode(row, "int8", 0)
    assert columns["low"].tolist() == [-1.0]
    assert columns["step"].tolist() == [1.0]
    assert columns["logits_u8"].tolist() == [[0, 1, 2, 255]]
    assert decode(columns, 4).tolist() == row.astype(np.float32).tolist()


def test_equal_logits_come_back_as_they_were() -> None:
    # A span of zero would divide by zero.
    row = np.full((2, 5), 3.5, dtype=np.float16)
    assert np.array_equal(decode(encode(row, "int8", 0), 5), row.astype(np.float32))


def test_the_ends_of_a_row_stay_within_reach_in_fp16() -> None:
    # 1000.3 is no fp16 number: with low or step rounded to nearest the largest logits would be cut off.
    rows = (np.random.default_rng(1).standard_normal((500, 100)) * 300 + 1000).astype(np.float16)
    columns = encode(rows, "int8", 0)
    step = columns["step"].astype(np.float32)[:, None]
    assert (np.abs(decode(columns, 100) - rows.astype(np.float32)) <= step / 2 + 1e-3).all()


@pytest.mark.parametrize("classes", [10, 1000])
def test_int8_is_as_good_as_lossless(classes: int) -> None:
    logits = _logits(200, classes)
    columns = encode(logits, "int8", 0)
    stored = sum(values.nbytes for values in columns.values()) / len(logits)
    assert stored == classes + 4 == replace(RD3, label_codec="int8").bytes_per_view(classes)
    whole, back = (torch.from_numpy(values.astype(np.float32)) for values in (logits, decode(columns, classes)))
    # The bound; KL(teacher || decoded teacher) at the protocol's temperature.
    assert float(soft_kl(back, whole, 20.0)) < 1e-6


def test_the_largest_logits_and_a_softmax_over_them() -> None:
    row = np.array([[1.0, 5.0, -2.0, 5.0, 4.0]], dtype=np.float16)
    columns = encode(row, "fp16", 3)
    assert columns["top_index"].tolist() == [[1, 3, 4]]
    assert columns["top_index"].dtype == np.uint16
    back = decode(columns, 5)
    assert back.tolist() == [[DROPPED, 5.0, DROPPED, 5.0, 4.0]]
    target = torch.softmax(torch.from_numpy(back) / 20, dim=1)
    assert target[0, [0, 2]].tolist() == [0.0, 0.0]
    kept = torch.softmax(torch.tensor([5.0, 5.0, 4.0]) / 20, dim=0)
    torch.testing.assert_close(target[0, [1, 3, 4]], kept)
    # With -inf in their place the loss would be 0 times infinity.
    student = torch.zeros(1, 5, requires_grad=True)
    loss = soft_kl(student, torch.from_numpy(back), 20.0)
    loss.backward()
    expected = float((kept * (kept.log() - np.log(1 / 5))).sum())
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert bool(torch.isfinite(student.grad).all())
    with pytest.raises(InputError, match="label_top_k=6 of 5 classes"):
        encode(row, "fp16", 6)


def test_epochs_are_gone_through_again_each_as_often() -> None:
    how = replace(RD3, epochs=10, label_epochs=4)
    sources = epoch_sources(how, 7)
    assert sources[:4].tolist() == [0, 1, 2, 3]
    assert sorted(sources[4:8].tolist()) == [0, 1, 2, 3]
    assert len(sources) == 10
    assert not np.array_equal(epoch_sources(how, 8)[4:], sources[4:])
    for same in (replace(RD3, epochs=10), replace(RD3, epochs=10, label_epochs=10), replace(how, label_epochs=99)):
        assert epoch_sources(same, 7).tolist() == list(range(10))


def test_defaults_leave_recipes_as_they_were() -> None:
    assert not {"label_codec", "label_top_k", "label_epochs"} & set(plain(RD3))
    assert plain(replace(RD3, label_codec="int8"))["label_codec"] == "int8"
    # Hard labels come from no table, whatever was stated for soft ones.
    stated = replace(RD3, label_codec="int8", label_epochs=5)
    assert stated.for_labels("hard") == RD3.for_labels("hard")
    assert stated.by_one_teacher().label_epochs == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label_top_k": 3, "loss": "mse_gt"}, "mse_gt needs every logit"),
        ({"label_top_k": 3, "label_codec": "int8"}, "what is kept of a row is fp16"),
        ({"label_epochs": -1}, "neither number is negative"),
        ({"label_epochs": 5, "label_storage": "online"}, "would change nothing"),
        ({"label_codec": "features", "labeller": "committee"}, "one teacher's"),
        ({"label_codec": "int4"}, "label_codec of the protocol"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError if "label_codec of" not in words else Exception, match=words):
        replace(RD3, **changes)


def test_features_by_hand_and_their_classifier() -> None:
    rows = np.array([[0.0, 1.0, 255.0]], dtype=np.float16)
    columns = encode(rows, "features", 0)
    assert columns["features_u8"].tolist() == [[0, 1, 255]]
    head = Head(np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32), np.array([0.5, -5.0], dtype=np.float32))
    assert decode(columns, 2, head).tolist() == [[2.5, 250.0]]
    with pytest.raises(InputError, match="without the classifier"):
        decode(columns, 2)


def test_features_are_as_good_as_lossless_and_a_quarter_of_fp16() -> None:
    """512 features after a ReLU and 1,000 classes, logits as wide as a trained network's (standard deviation 2.5)."""
    rng = np.random.default_rng(3)
    features = np.maximum(rng.standard_normal((100, 512)), 0).astype(np.float16)
    weight = (rng.standard_normal((1000, 512)) * 2.5 / 16).astype(np.float32)
    head = Head(weight, rng.standard_normal(1000).astype(np.float32))
    columns = encode(features, "features", 0)
    logits = features.astype(np.float32) @ head.weight.T + head.bias
    assert 2.0 < logits.std() < 3.5
    assert sum(values.nbytes for values in columns.values()) / len(features) == 516
    back = decode(columns, 1000, head)
    assert float(soft_kl(torch.from_numpy(back), torch.from_numpy(logits), 20.0)) < 1e-6


def test_features_that_would_enlarge_a_table_are_refused() -> None:
    check_feature_width(19, 10)
    with pytest.raises(InputError, match=r"20 features take no fewer bytes than 10 fp16 logits.*int8"):
        check_feature_width(20, 10)


def test_a_network_answers_with_what_its_classifier_is_given() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    inputs = torch.randn(5, 1, 2, 2)
    features = Penultimate(network)(inputs)
    assert features.shape == (5, 3)
    torch.testing.assert_close(network[3](features), network(inputs))
    scaled = torch.nn.Sequential(network, torch.nn.Tanh())
    with pytest.raises(InputError, match="not its last linear layer's"):
        Penultimate(scaled)(inputs)
