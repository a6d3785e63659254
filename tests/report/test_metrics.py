"""DD-Ranking's scores, gaps, Shapley shares, fronts and costs, against values computed by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from dd_assets.errors import InputError
from dd_assets.planning.unit import Manifest
from dd_assets.report.attribution import FACTORS, completed, possible_sets, shapley_shares
from dd_assets.report.efficiency import cost_of, equal_bytes, mean_cost, pareto_front
from dd_assets.report.metrics import (
    augmentation_robust_score,
    cross_architecture_gap,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
    published_z,
)


def test_ior_from_rd3s_own_tables():
    # IN-1K, IPC 10: EDC 46.9, random 45.8 with soft labels; RDED 12.4, random 6.1 with hard ones (RD3 Tables 1, 7, 15).
    assert improvement_over_random(0.469, 0.458) == pytest.approx(0.011)
    assert improvement_over_random(0.124, 0.061) == pytest.approx(0.063)
    assert hard_label_recovery(0.565, 0.124) == pytest.approx(0.441)


def test_lrs_and_ars_lie_between_zero_and_one():
    assert label_robust_score(1, -1) == pytest.approx(1)
    assert label_robust_score(-1, 1) == pytest.approx(0)
    assert label_robust_score(0.3, 0.3) == pytest.approx((1 - math.exp(-1)) / (math.e - math.exp(-1)))
    assert label_robust_score(0.011, 0.441) == pytest.approx((math.exp(-0.215) - 0.36788) / 2.3504, abs=1e-4)
    assert augmentation_robust_score(1, 1) == pytest.approx(1)
    assert augmentation_robust_score(0.2, -0.1) == pytest.approx((math.exp(0.05) - 0.36788) / 2.3504, abs=1e-4)
    assert label_robust_score(0.2, 0.9, weight=1.0) == pytest.approx((math.exp(0.2) - 0.36788) / 2.3504, abs=1e-4)


def test_percents_are_refused():
    """In percent DD-Ranking's formula gives e^(.5·1.1 - .5·44.1): about -.157, or billions the other way round."""
    with pytest.raises(InputError, match="not percent"):
        improvement_over_random(46.9, 45.8)
    with pytest.raises(InputError, match="not percent"):
        label_robust_score(1.1, 44.1)


def test_the_gap_between_architectures():
    assert cross_architecture_gap({"resnet18": 0.6, "vit": 0.3, "resnet50": 0.5}, "resnet18") == pytest.approx(0.2)
    assert cross_architecture_gap({"resnet18": 0.6}, "resnet18") is None
    assert cross_architecture_gap({"vit": 0.6, "swin": 0.2}, "resnet18") is None


def test_z_beside_a_published_value():
    assert published_z(0.50, 0.003, 0.49, 0.004) == pytest.approx(2.0)
    assert published_z(0.48, 0.0, 0.49, 0.005) == pytest.approx(-2.0)
    assert published_z(0.5, None, 0.49, 0.004) is None
    assert published_z(0.5, 0.003, 0.49, None) is None
    assert published_z(0.5, 0.0, 0.5, 0.0) is None


def all_sets(factors: tuple[str, ...]) -> list[frozenset[str]]:
    return [frozenset(c) for size in range(len(factors) + 1) for c in itertools.combinations(factors, size)]


def test_shapley_shares_of_factors_that_only_add():
    worth = dict(zip(FACTORS, (0.05, 0.1, 0.3, 0.02), strict=True))
    table = {chosen: 0.2 + sum(worth[name] for name in chosen) for chosen in all_sets(FACTORS)}
    assert shapley_shares(table) == pytest.approx(worth)


def test_two_factors_that_need_each_other_share_alike():
    """Switched off one at a time, each would seem to be worth the whole .4, and together twice the gain."""
    table = {chosen: 0.2 + 0.4 * ({"a", "b"} <= chosen) for chosen in all_sets(("a", "b", "c"))}
    assert shapley_shares(table, "abc") == pytest.approx({"a": 0.2, "b": 0.2, "c": 0.0})


def test_shapley_shares_are_the_mean_over_all_orders():
    values = {chosen: 1 / (2 + 7 * place % 16) for place, chosen in enumerate(all_sets(FACTORS))}
    mean = dict.fromkeys(FACTORS, 0.0)
    for order in itertools.permutations(FACTORS):
        for place, name in enumerate(order):
            before = frozenset(order[:place])
            mean[name] += (values[before | {name}] - values[before]) / math.factorial(4)
    shares = shapley_shares(values)
    assert shares == pytest.approx(mean)
    assert sum(shares.values()) == pytest.approx(values[frozenset(FACTORS)] - values[frozenset()])


def test_sets_that_cannot_be_trained_count_as_what_they_amount_to():
    needs = {"synthesis": "initialisation"}
    assert len(possible_sets(needs)) == 12
    table = {chosen: 0.1 + 0.2 * len(chosen) for chosen in possible_sets(needs)}
    whole = completed(table, needs)
    assert whole[frozenset({"synthesis", "soft labels"})] == table[frozenset({"soft labels"})]
    assert shapley_shares(whole)["soft labels"] == pytest.approx(0.2)
    with pytest.raises(InputError, match="no accuracy with augmentation on"):
        completed({c: v for c, v in table.items() if c != frozenset({"augmentation"})}, needs)


def test_a_missing_combination_is_named():
    table = {chosen: 0.5 for chosen in all_sets(("a", "b"))}
    del table[frozenset("a")], table[frozenset()]
    with pytest.raises(InputError, match="lack the accuracy with nothing; with a "):
        shapley_shares(table, "ab")


def test_the_pareto_front_is_what_nothing_dominates():
    points = [(1, 0.5), (2, 0.5), (2, 0.7), (3, 0.6), (4, 0.9), (4, 0.9)]
    assert pareto_front(points) == [True, False, True, False, True, True]
    assert pareto_front([]) == []


def row(method: str, ipc: int, label: str, accuracy: float, images: int, labels: int, **other: Any) -> dict[str, Any]:
    sizes = {"image_bytes": images, "label_bytes": labels}
    return {"method": method, "ipc": ipc, "label": label, "accuracy_mean": accuracy, "apart": "", **sizes, **other}


def test_equal_bytes_holds_a_method_against_random_images_of_as_many_bytes():
    rows = [
        row("random", 1, "hard", 0.2, 100, 0),
        row("random", 10, "hard", 0.6, 10_000, 0),
        row("sre2l", 1, "soft", 0.5, 100, 900),
        row("sre2l", 1, "soft", 0.9, 100, 900, apart="overridden"),
    ]
    found = {(point["method"], point["ipc"]): point for point in equal_bytes(rows)}
    # 1,000 bytes lie half way between 100 and 10,000 on a log scale: random images reach .4 there.
    assert found["sre2l", 1]["control"] == pytest.approx(0.4)
    assert found["sre2l", 1]["gain"] == pytest.approx(0.1)
    assert [point["front"] for point in equal_bytes(rows)] == [True, True, True]
    assert len(found) == 3, "an overridden result takes no part"


def test_random_images_need_not_use_every_byte():
    """Past the last of the hard labels' points random images still reach it: less would flatter every method there."""
    rows = [row("random", 1, "hard", 0.7, 100, 0), row("random", 1, "soft", 0.3, 100, 100)]
    rows += [row("random", 10, "soft", 0.9, 1000, 9000), row("x", 1, "soft", 0.6, 100, 200)]
    found = {(point["method"], point["bytes"]): point for point in equal_bytes(rows)}
    assert found["x", 300]["control"] == 0.7
    assert found["random", 200]["gain"] == pytest.approx(-0.4)


def test_outside_what_random_images_were_tried_at_nothing_is_said():
    rows = [row("random", 1, "hard", 0.2, 100, 0), row("big", 1, "hard", 0.1, 5000, 0)]
    assert [point["gain"] for point in equal_bytes(rows)] == [0.0, None]
    assert [point["front"] for point in equal_bytes(rows)] == [True, False]


def test_soft_labels_are_also_a_seed_and_a_teacher():
    found = equal_bytes([row("random", 1, "soft", 0.8, 100, 9000, teacher_bytes=400)])
    assert [(p["bytes"], p["label"]) for p in found] == [(500, "soft, seed + teacher"), (9100, "soft")]
    assert [p["front"] for p in found] == [True, False], "as good for fewer bytes"


def test_labels_found_online_cost_the_network_that_finds_them():
    """Their stored table is a row per batch; counted alone it would make them the cheapest labels there are."""
    online = row("random", 1, "soft", 0.8, 100, 50, teacher_bytes=400) | {"label_storage": "online"}
    assert [(point["label"], point["bytes"]) for point in equal_bytes([online])] == [("soft, seed + teacher", 500)]


def test_what_has_left_the_store_has_no_bytes():
    rows = [row("random", 1, "hard", 0.2, 100, 0), row("random", 10, "hard", 0.6, 900, 0)]
    gone = [row("x", 1, "hard", 0.9, 0, 0), row("x", 1, "soft", 0.9, 0, 500), row("x", 10, "soft", 0.9, 700, 0)]
    assert [point["method"] for point in equal_bytes(rows + gone)] == ["random", "random"]


def manifest(digest: str, kind: str, cpu: float, sources: dict[str, str], **measured: Any) -> Manifest:
    return Manifest(
        recipe_digest=digest,
        recipe={"unit": kind},
        content=digest,
        payloads={},
        verdicts=(),
        summary={},
        measurements={"cpu_seconds": cpu, "seconds": 2 * cpu, **measured},
        label="",
        sources=sources,
    )


def test_a_cost_counts_every_unit_once_and_keeps_teachers_and_generators_apart():
    known = {
        "d": manifest("d", "dataset", 99, {}),
        "t": manifest("t", "teacher", 10, {"dataset": "d"}),
        "s": manifest("s", "statistics", 1, {"teacher": "t", "dataset": "d"}),
        "g": manifest("g", "generator", 50, {"dataset": "d"}),
        "a": manifest("a", "images/rded", 2, {"teacher": "t"}),
        "i": manifest("i", "image_set", 7, {"shard0": "a"}),
        "b": manifest("b", "images/x", 3, {"teacher": "t", "statistics": "s", "generator": "g", "initial": "i"}),
        "c": manifest("c", "images/x", 4, {"teacher": "t", "gone": "lost"}, peak_rss_bytes=5),
        "gpu": manifest("gpu", "images/x", 1, {}, device="cuda:0"),
    }
    found = cost_of(manifest("set", "image_set", 0, {"shard0": "b", "shard1": "c"}), known.get)
    # The teacher is reached four ways; counted each time it would be 41.
    assert (found.synthesis, found.teacher, found.generator, found.total) == (9, 11, 50, 70)
    assert found.peak_bytes == 5
    on_gpu = cost_of(manifest("set", "image_set", 0, {"shard0": "gpu"}), known.get)
    assert (on_gpu.synthesis, on_gpu.device) == (2, "cuda:0"), "on a GPU the CPU's time says little"
    both = mean_cost([manifest("1", "image_set", 0, {"s": "b"}), manifest("2", "image_set", 0, {"s": "c"})], known.get)
    assert both is not None
    assert both.synthesis == pytest.approx((5 + 4) / 2)
    assert mean_cost([], known.get) is None


def test_whatever_a_generator_or_networks_besides_were_made_for_is_counted():
    known = {
        "g": manifest("g", "generator", 50, {}),
        "f": manifest("f", "fine_tuned_generator", 20, {"generator": "g"}),
        "h": manifest("h", "class_gaussians", 15, {"generator": "g"}),
        "r": manifest("r", "reference_latents", 4, {"generator": "g"}),
        "n": manifest("n", "surrogate", 8, {}),
        "k": manifest("k", "class_gradients", 2, {"surrogate": "n"}),
        "b": manifest("b", "images/x", 3, {"a": "f", "b": "h", "c": "r", "d": "k"}),
    }
    found = cost_of(manifest("set", "image_set", 0, {"shard0": "b"}), known.get)
    assert (found.synthesis, found.teacher, found.generator) == (3, 10, 89)


def test_what_priors_were_measured_with_is_the_teachers_and_what_the_images_share_with_it_is_theirs():
    """CV-DD's priors rest on distillations, label tables and students of every member."""
    known = {
        "t": manifest("t", "teacher", 10, {}),
        "start": manifest("start", "images/rded", 2, {"teacher": "t"}, peak_rss_bytes=4),
        "a": manifest("a", "images/sre2lpp", 60, {"teacher": "t", "initial": "start"}, peak_rss_bytes=9),
        "i": manifest("i", "image_set", 7, {"shard0": "a"}),
        "l": manifest("l", "labels", 30, {"images": "i", "teacher": "t"}),
        "s": manifest("s", "training", 40, {"labels": "l", "images": "i"}),
        "p": manifest("p", "priors", 1, {"student": "s"}),
        "b": manifest("b", "images/cvdd", 3, {"teacher": "t", "priors": "p", "initial": "start"}, peak_rss_bytes=5),
    }
    found = cost_of(manifest("set", "image_set", 0, {"shard0": "b"}), known.get)
    assert (found.synthesis, found.teacher) == (5, 10 + 60 + 30 + 40 + 1)
    assert found.peak_bytes == 5
