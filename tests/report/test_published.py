"""Published figures: the right table for each kind of cell, and no figure borrowed for a different one."""

from __future__ import annotations

import dataclasses

import pytest

from dd_assets.report.published import PAPER_METHODS, all_rows, note, published


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (("cifar10", "sre2l", 1, "resnet18", "soft"), (0.162, 0.007, 1)),
        (("cifar10", "d4m", 100, "resnet18", "soft"), (0.777, 0.002, 1)),
        (("cifar10", "random", 1, "resnet18", "hard"), (0.164, 0.004, 7)),
        (("imagenet1k", "rded", 10, "resnet18", "hard"), (0.124, 0.004, 15)),
        (("imagenet1k", "edc", 50, "resnet50", "soft"), (0.652, 0.002, 11)),
        (("imagenet1k", "gvbsm", 50, "vit_b_16", "soft"), (0.578, 0.004, 3)),
    ],
)
def test_cells_come_from_their_table(cell, expected):
    assert published(*cell) == expected


def test_the_unified_protocol_wins_over_other_losses_and_ablations():
    # The same cell also stands in table 12 (26.6, before any alignment), 6 (MSE-GT) and 16 (several teachers).
    assert published("imagenet1k", "sre2l", 10, "resnet18", "soft") == (0.402, 0.003, 1)


@pytest.mark.parametrize(
    "cell",
    [
        ("cifar10", "sre2l", 1, "convnet2_w64", "soft"),
        ("cifar10", "sre2l", 1, "resnet20_cifar", "soft"),
        ("imagenette_128", "sre2l", 1, "resnet18", "soft"),
        ("digits", "random", 1, "resnet18", "soft"),
        ("cifar10", "noise", 1, "resnet18", "soft"),
        ("cifar10", "minimax", 1, "resnet18", "soft"),
        ("cifar10", "sre2l", 2, "resnet18", "soft"),
        ("cifar10", "sre2l", 1, "resnet18", "hybrid-soft"),
    ],
    ids=lambda cell: "-".join(map(str, cell)),
)
def test_nothing_is_borrowed_from_another_cell(cell):
    assert published(*cell) is None
    assert note(*cell) == ""


def test_contradictions_of_the_paper_are_noted():
    # Tables 1 and 2 disagree about both cells.
    assert published("imagenet1k", "gvbsm", 50, "resnet18", "soft").mean == 0.566
    assert "table 2 prints 55.7±0.4" in note("imagenet1k", "gvbsm", 50, "resnet18", "soft")
    assert "table 2 prints 59.2±0.3" in note("imagenet1k", "dwa", 50, "resnet18", "soft")
    # Same mean, another spread.
    assert note("imagenet1k", "cda", 10, "resnet18", "soft") == "table 14 prints ±0.6"
    assert note("cifar10", "sre2l", 1, "resnet18", "soft") == ""


def test_the_file_is_complete_and_every_headline_cell_is_found():
    rows = all_rows()
    assert len(rows) == 1037
    own = {paper: name for name, paper in PAPER_METHODS.items()}
    table_1 = [r for r in rows if r["table"] == "1" and r["dataset"] == "TinyImageNet"]
    assert len(table_1) == 32
    for r in table_1:
        found = published("tiny_imagenet", own[r["method"]], int(r["ipc"]), "resnet18", "soft")
        assert found is not None
        assert f"{100 * found.mean:.1f}" == r["mean"]


def test_exactly_the_cells_the_reference_lists_print_two_means():
    clashing = {
        (r["dataset"], r["method"], r["ipc"], r["student"])
        for r in all_rows()
        if any(not part.strip().split(" ")[-1].startswith("±") and "prints" in part for part in r["note"].split(";"))
        and "the change" not in r["note"]
    }
    expected = {
        ("G-VBSM", "50", "ResNet-18"),
        ("DWA", "50", "ResNet-18"),
        ("EDC", "50", "ResNet-50"),
        ("Minimax", "50", "ResNet-101"),
        ("CDA", "10", "ResNet-101"),
        ("G-VBSM", "10", "ResNet-101"),
        ("Minimax", "10", "ResNet-101"),
        ("RDED", "10", "ResNet-101"),
        ("Minimax", "10", "ResNet-50"),
    }
    assert clashing == {("ImageNet-1K", *cell) for cell in expected}


def test_a_row_has_z_beside_a_published_cell_and_none_for_another_network():
    from dd_assets.datasets.catalogue import CATALOGUE
    from dd_assets.report.leaderboard import _published

    cell, score = ("sre2l", 1, "resnet18", "soft"), {"accuracy_mean": 0.176, "accuracy_std": 0.024}
    found = _published(CATALOGUE["cifar10"], cell, score)
    # RD3 prints 16.2 ± 0.7: z = 1.4 / √(.7² + 2.4²) = 1.4 / 2.5.
    assert (found["published"], found["published_std"], found["z"]) == (0.162, 0.007, pytest.approx(0.56))
    assert _published(CATALOGUE["cifar10"], cell, {**score, "accuracy_std": None})["z"] is None
    own = CATALOGUE["cifar10"]
    smaller = dataclasses.replace(own, teacher=dataclasses.replace(own.teacher, architecture="resnet20_cifar"))
    assert _published(smaller, cell, score)["published"] is None
