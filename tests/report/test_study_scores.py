"""DD-Ranking's scores and Shapley shares of a study's rows, by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.methods.registry import METHODS
from dd_assets.report.attribution import FACTORS
from dd_assets.report.study_scores import attribution_table, budget_table, initialisation_of, robust_table
from dd_assets.studies.registry import read_study, study

DIGITS = CATALOGUE["digits"]


def rows(accuracies: dict[tuple[str, str], list[float]]) -> list[dict[str, Any]]:
    """Rows of one cell from (method, variant) to accuracy by seed."""
    return [
        {
            "dataset": "digits",
            "ipc": 10,
            "student": "convnet2_w64",
            "method": method,
            "variant": variant,
            "learning_rate": 0.001,
            "runs": {f"draw{seed}/seed{seed}": value for seed, value in enumerate(values)},
        }
        for (method, variant), values in accuracies.items()
    ]


def test_scores_are_computed_run_by_run_and_averaged() -> None:
    """IOR soft .1 and .2, plain 0 and .1, hard -.1; HLR .4 and .3."""
    found = rows(
        {
            ("random", "soft"): [0.5, 0.6],
            ("random", "soft, plain"): [0.4, 0.4],
            ("random", "hard"): [0.6, 0.7],
            ("rded", "soft"): [0.6, 0.8],
            ("rded", "soft, plain"): [0.4, 0.5],
            ("rded", "hard"): [0.5, 0.6],
        }
    )
    table = robust_table(study("robust_scores"), found, {"convnet2_w64": 0.9})
    random, rded = table.rows
    assert [rded[name] for name in ("ior_soft", "ior_plain", "ior_hard", "hlr")] == pytest.approx(
        [0.15, 0.05, -0.1, 0.35]
    )
    assert rded["ior_soft_std"] == pytest.approx(0.05 * math.sqrt(2))

    def scaled(alpha: float) -> float:
        return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))

    assert rded["lrs"] == pytest.approx((scaled(0.05 - 0.2) + scaled(0.1 - 0.15)) / 2)
    assert rded["ars"] == pytest.approx((scaled(0.05) + scaled(0.15)) / 2)
    assert random["ars"] == pytest.approx(scaled(0))
    assert (random["ior_soft"], random["seeds"]) == (0, 2)
    texts = table.shown(rded)
    assert texts["IOR soft"] == "0.150 ± 0.071"
    assert texts["rates"] == "0.001, 0.001, 0.001"
    assert "| rded |" in table.markdown()


def test_an_arm_that_is_missing_leaves_its_figures_out() -> None:
    found = rows(
        {("random", "soft"): [0.5], ("rded", "soft"): [0.6], ("rded", "hard"): [], ("rded", "soft, plain"): []}
    )
    table = robust_table(study("robust_scores"), found, {})
    rded = table.rows[1]
    assert rded["ior_soft"] == pytest.approx(0.1)
    assert (rded["ior_plain"], rded["hlr"], rded["lrs"], rded["ars"]) == (None, None, None, None)
    assert table.shown(rded)["LRS"] == "–"


def test_bytes_are_paid_for_pair_by_pair() -> None:
    found = rows(
        {
            ("random", "fp16"): [0.50, 0.60, 0.40, 0.30],
            ("random", "int8"): [0.49, 0.57, 0.38],
            ("random", "top 5"): [],
            ("rded", "int8"): [0.7],
        }
    )
    for row, count in zip(found, (1000, 250, None, 250), strict=True):
        row["label_bytes"] = count
    table = budget_table(study("label_budget"), found)
    full, int8 = table.rows
    assert (full["smaller"], full["loss"], full["bound"]) == ("1", 0, 0)
    assert (int8["smaller"], int8["bytes"], int8["pairs"]) == ("4", "250 B", 3)
    # Losses .01, .03, .02: mean .02, deviation .01; t at .95 with two degrees of freedom is 2.920.
    # Unpaired, the fourth run of fp16 would make the loss -.03.
    assert (int8["loss"], int8["loss_std"]) == (pytest.approx(0.02), pytest.approx(0.01))
    assert int8["bound"] == pytest.approx(0.02 + 2.920 * 0.01 / math.sqrt(3), rel=1e-3)
    assert table.shown(int8)["bound"] == "+3.7"


def test_pairs_of_one_draw_count_as_one() -> None:
    """They share the images, whatever number of students was trained on them."""
    found = rows({("random", "fp16"): [0.5] * 6, ("random", "int8"): [0.49, 0.47, 0.48, 0.46, 0.50, 0.48]})
    for row, count in zip(found, (1000, 250), strict=True):
        row["label_bytes"] = count
        row["runs"] = {f"draw{seed % 3}/seed{seed}": value for seed, value in enumerate(row["runs"].values())}
    _, int8 = budget_table(study("label_budget"), found).rows
    # Losses .01 and .04, .03 and .00, .02 and .02: means .025, .015, .02; t at .95 with two degrees of freedom: 2.920.
    assert (int8["pairs"], int8["loss"]) == (6, pytest.approx(0.02))
    assert int8["bound"] == pytest.approx(0.02 + 2.920 * 0.005 / math.sqrt(3), rel=1e-3)


def additive(method_gain: dict[str, float]) -> dict[tuple[str, str], list[float]]:
    """Accuracy .2 and: what the images add, .1 with soft labels, .05 with augmentation, another .04 with both."""
    recipe = {"hard, plain": 0.0, "hard": 0.05, "soft, plain": 0.1, "soft": 0.19}
    return {
        (method, variant): [0.2 + gain + of_recipe, 0.3 + gain + of_recipe]
        for method, gain in method_gain.items()
        for variant, of_recipe in recipe.items()
    }


def test_shares_of_a_world_in_which_factors_add_up() -> None:
    """The .04 that soft labels and augmentation have together is halved between them. edc begins from edc_init (+.05)
    and adds .03; a synthesis without its start counts as nothing, so that of the .03 the two have half each."""
    found = rows(additive({"random": 0.0, "edc_init": 0.05, "edc": 0.08, "rded": 0.02}))
    edc, rded = attribution_table(study("attribution"), DIGITS, found).rows
    assert (edc["method"], edc["start"], rded["method"], rded["start"]) == ("edc", "edc_init", "rded", "none")
    assert [edc[name] for name in FACTORS] == pytest.approx([0.065, 0.015, 0.12, 0.07])
    assert [edc[name] for name in ("gain", "images", "recipe")] == pytest.approx([0.27, 0.08, 0.19])
    assert edc["gain_std"] == pytest.approx(0)
    assert rded.get("initialisation") is None
    assert [rded[name] for name in FACTORS[1:]] == pytest.approx([0.02, 0.12, 0.07])
    shown = attribution_table(study("attribution"), DIGITS, found).shown(edc)
    assert (shown["whole gain"], shown["starts from"]) == ("+27.0 ± 0.0", "edc_init")


def test_an_incomplete_seed_has_no_shares() -> None:
    accuracies = additive({"random": 0.0, "rded": 0.02})
    accuracies["rded", "hard"] = accuracies["rded", "hard"][:1]
    (entry,) = attribution_table(study("attribution"), DIGITS, rows(accuracies)).rows
    assert entry["seeds"] == 1
    assert entry["gain_std"] is None


@pytest.mark.parametrize(
    ("name", "start"),
    [("edc", "edc_init"), ("dwa", "dwa_init"), ("sre2l", "noise"), ("sre2lpp", "rded"), ("rded", ""), ("d4m", "")],
)
def test_what_a_method_starts_from(name: str, start: str) -> None:
    assert initialisation_of(METHODS()[name], DIGITS) == start


def test_every_method_of_the_attribution_study_has_its_start_in_the_grid() -> None:
    entry = study("attribution")
    for grid in (entry.grid, entry.smaller["digits"]):
        for name in grid.method:
            start = initialisation_of(METHODS()[name], dataclasses.replace(DIGITS, recipes={}))
            if METHODS()[name].family != "baseline" and not name.endswith("_init"):
                assert start in ("", *grid.method), name
        assert "random" in grid.method


GOOD = """
title: Test
source: own
scores: attribution
datasets: [imagenet1k]
method: [random]
ipc: [1]
student: [resnet18]
variants:
  one: {}
  two: {label: hard, factors: [augmentation]}
"""


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (GOOD.replace("scores: attribution", "scores: robst"), "did you mean 'robust'"),
        (GOOD.replace("[augmentation]", "[augmentations]"), "did you mean 'augmentation'"),
        (GOOD.replace(", factors: [augmentation]", ""), "two variants have the same factors on"),
    ],
)
def test_wrong_scores_and_factors_are_named(tmp_path: Any, text: str, match: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises((UnknownNameError, InputError), match=match):
        read_study(path)
