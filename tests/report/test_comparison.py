"""The verdict in words: winner, noise, random images, and what too few runs may not say."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from dd_assets.report.comparison import Contest, compare
from dd_assets.report.statistics import Runs
from tests.report.worlds import probit_world


def contest(runs: dict[str, Runs], label: str = "soft", control: Runs | None = None) -> Contest:
    return Contest(dataset="digits", ipc=10, student="convnet", label=label, runs=runs, soft_control=control)


def made(means: dict[str, float], seeds: int, trial: int = 0) -> dict[str, Runs]:
    return probit_world(np.random.default_rng(trial), means, 1, seeds, 300, seed=0.05)[0]


def test_a_winner_is_named_with_its_lead_and_the_losers_to_random():
    found = compare(contest(made({"best": 2.0, "random": 0.8, "noise": -1.0, "mid": 1.4}, 6)), 1000)
    assert [entry.method for entry in found.standings] == ["best", "mid", "random", "noise"]
    assert found.words[0].startswith("best wins with ")
    assert "than mid, the next, by " in found.words[0]
    assert "6 pairs)" in found.words[0]
    assert found.words[1].startswith("best and mid beat random images with soft labels, best by ")
    assert found.words[2] == "noise does worse than random images with soft labels."
    assert [entry.ranks for entry in found.standings] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    lead = found.standings[1].against_best
    assert lead is not None
    assert lead.contrast.difference == found.standings[0].accuracy - found.standings[1].accuracy


def test_three_pairs_are_too_few_however_large_the_lead():
    found = compare(contest(made({"best": 3.0, "random": -1.0}, 3)), 1000)
    assert len(found.words) == 1
    assert found.words[0].startswith(
        "No verdict yet: 3 of the 5 runs that one takes → write `trainings: 5` in the setting, then sync. "
        "So far best has the highest mean, "
    )
    # The interval of ranks stays all that there are, and is not given for a finding.
    assert [(entry.ranks, entry.ranked) for entry in found.standings] == [((1, 2), False), ((1, 2), False)]
    assert [entry["ranks"] for entry in found.to_json()["standings"]] == [None, None]


def test_a_method_with_too_few_runs_is_not_called_inseparable():
    runs = made({"one": 2.0, "two": -1.0, "late": 1.9, "random": -2.0}, 6)
    runs["late"] = replace(runs["late"], bits=runs["late"].bits[:2], draws=(0, 0), seeds=runs["late"].seeds[:2])
    found = compare(contest(runs), 1000)
    standing = {entry.method: entry for entry in found.standings}
    assert not standing["late"].ranked
    assert standing["one"].ranked
    text = " ".join(found.words)
    assert "not separable from late" not in text
    assert "no verdict yet on late (2 of the 5 runs that one takes → write `trainings: 5`" in found.words[0]


def test_random_images_with_too_few_runs_give_no_verdict_yet():
    runs = made({"one": 2.0, "two": -1.0, "random": -2.0}, 6)
    runs["random"] = replace(runs["random"], bits=runs["random"].bits[:3], draws=(0,) * 3, seeds=(0, 1, 2))
    words = compare(contest(runs), 1000).words
    assert any(
        sentence.startswith("No verdict yet against random images with soft labels: 3 of the 5 runs")
        for sentence in words
    )


def test_those_that_cannot_be_told_from_the_winner_are_named():
    found = compare(contest(made({"one": 1.0, "two": 1.0, "random": -1.5}, 6)), 1000)
    first, second = (entry.method for entry in found.standings[:2])
    assert found.words[0].startswith(f"{first} has the highest mean")
    assert found.words[0].endswith(f"but is not separable from {second}.")
    assert found.standings[0].ranks == (1, 2)


def test_hard_labels_are_also_held_against_random_with_soft_labels():
    """Images that beat random under hard labels may still be worse than random images with soft labels."""
    both = made({"best": 0.5, "random": -0.5, "soft": 2.0}, 6)
    control = both.pop("soft")
    found = compare(contest(both, "hard", control), 1000)
    assert found.words[1].startswith("best beats random images with hard labels")
    assert found.words[2].startswith("Against random images with soft labels, best is worse by ")
    assert found.against_soft_random is not None
    assert found.against_soft_random.contrast.difference < 0


def test_without_random_images_nothing_is_claimed_about_them():
    found = compare(contest(made({"one": 2.0, "two": 0.0}, 6)), 1000)
    assert (
        found.words[1] == "one and two: one draw each, so this holds for the image sets scored, not for another draw."
    )
    assert found.words[2] == "Random images with soft labels have not been scored here, so nothing is said about them."


def test_a_method_alone_has_beaten_nobody():
    found = compare(contest(made({"one": 1.0}, 6)), 500)
    assert "no other method has been scored here" in found.words[0]
    assert found.standings[0].ranks == (1, 1)


def test_the_json_form_holds_every_figure_and_no_bits():
    import json

    found = compare(contest(made({"one": 1.0, "random": 0.0}, 5)), 500).to_json()
    text = json.dumps(found)
    assert "bits" not in text
    assert found["standings"][0]["against_random"]["contrast"]["pairs"] == 5
    assert set(found["standings"][0]["shares"]) == {"draw", "seed", "image", "rest"}


def test_a_loss_is_told_with_the_interval_of_the_loss():
    runs = made({"one": -1.0, "other": 1.5}, 6)
    found = compare(contest({"one": runs["one"]}, "hard", control=runs["other"]), 1000)
    sentence = next(text for text in found.words if "random images with soft labels" in text)
    low, high = re.search(r"is worse by [\d.]+ points \(95 % interval (-?[\d.]+) to (-?[\d.]+),", sentence).groups()
    assert 0 < float(low) < float(high)


def test_equal_accuracies_share_a_rank():
    bits = made({"a": 1.0}, 6)["a"]
    found = compare(contest({"a": bits, "b": bits, "random": made({"random": -1.0}, 6)["random"]}), 200)
    assert [(entry.method, entry.rank) for entry in found.standings] == [("a", 1), ("b", 1), ("random", 3)]
