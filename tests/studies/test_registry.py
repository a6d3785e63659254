"""Studies as data: what ships is complete and states what it costs; what is wrong in a file is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.errors import DDError, InputError, UnknownNameError
from dd_assets.methods.registry import METHODS
from dd_assets.models.registry import ARCHITECTURES
from dd_assets.planning.cells import Cell
from dd_assets.planning.studies import reason_against
from dd_assets.report.published import PAPER_STUDENTS, all_rows, published_in
from dd_assets.studies.registry import read_study, studies, study

TABLES = (1, 2, 3, 5, 6, 7, 11, 12, 13, 14, 15, 16, 17, 18)
FIGURES = (1, 2, 4, 5, 6, 7, 8)
OWN = ("attribution", "dap_guidance", "label_budget", "rd3_readings", "robust_scores")
"""Studies that are no table or figure of the paper."""
DIGITS = CATALOGUE["digits"]


def test_every_table_and_figure_of_the_paper_ships() -> None:
    shipped = [f"rd3_figure_{n}" for n in FIGURES] + [f"rd3_table_{n}" for n in TABLES]
    assert [name for name in studies() if name not in OWN] == shipped
    assert {name for name, entry in studies().items() if entry.scores} == set(OWN)
    assert all(entry.table == n for n in TABLES for entry in [study(f"rd3_table_{n}")])


@pytest.mark.parametrize("name", studies())
def test_the_smaller_grid_states_its_cells_and_all_apply(name: str) -> None:
    entry = study(name)
    cells = entry.cells(DIGITS)
    assert len(cells) == entry.stated_cells["digits"]
    assert len({(found.ipc, found.key) for found in cells}) == len(cells)
    for found in cells:
        assert not reason_against(Cell(setting=DIGITS, ipc=found.ipc), found)
        assert found.method in METHODS()
        # A small family member never bears a name of the paper's.
        assert found.student in ARCHITECTURES
        assert found.student not in PAPER_STUDENTS


def test_all_smaller_grids_together_are_188_cells() -> None:
    assert sum(len(entry.cells(DIGITS)) for entry in studies().values()) == 188


@pytest.mark.parametrize("number", TABLES)
def test_every_figure_the_paper_prints_in_a_table_has_its_cell(number: int) -> None:
    """Cells of the paper's grid, looked up in published.csv, are as many as its rows of that table."""
    entry = study(f"rd3_table_{number}")
    found = set()
    for data in entry.datasets:
        for ipc in entry.grid.ipc:
            for method in entry.grid.method:
                for student in entry.grid.student:
                    for variant in entry.variants.values():
                        printed = published_in(number, data, method, ipc, student, variant.published)
                        if printed is not None:
                            found.add((data, ipc, method, student, variant.name))
    assert len(found) == sum(row["table"] == str(number) for row in all_rows())


def test_variants_of_one_cell_are_told_apart_in_table_12() -> None:
    named = [variant.published for variant in study("rd3_table_12").variants.values()]
    means = [published_in(12, "imagenet1k", "sre2l", 10, "resnet18", entry) for entry in named]
    assert [entry.mean if entry else None for entry in means] == [0.266, 0.352, 0.383, 0.402]


def test_a_setting_that_is_neither_the_papers_nor_stated_gets_its_own_students_and_ipc() -> None:
    mine = replace(CATALOGUE["mnist"], ipc=(10, 20))
    cells = study("rd3_table_3").cells(mine)
    assert cells == []
    cells = study("rd3_table_1").cells(mine)
    assert {found.ipc for found in cells} == {10}
    assert {found.student for found in cells} == set(mine.students)


GOOD = """
title: Test
source: own
datasets: [imagenet1k]
method: [random]
ipc: [1]
student: [resnet18]
variants:
  one: {}
"""


@pytest.mark.parametrize(
    ("text", "kind", "match"),
    [
        (GOOD + "colour: red", UnknownNameError, "unknown field of x.yaml 'colour'"),
        (GOOD.replace("one: {}", "one: {preset: 'kd:dk'}"), UnknownNameError, "did you mean 'kd:dkd'"),
        (GOOD.replace("one: {}", "one: {protocol: {temperatur: 3}}"), UnknownNameError, "did you mean 'temperature'"),
        (GOOD.replace("one: {}", "one: {protocol: {kd_ce: 1.0}}"), InputError, "would change nothing"),
        (
            GOOD.replace("random", "noise").replace("one: {}", "one: {parameters: {sigmo: 1.0}}"),
            UnknownNameError,
            "variant one.*did you mean 'sigma'|'sigmo'.*sigma",
        ),
        (GOOD.replace("one: {}", "one: {label: softer}"), UnknownNameError, "unknown label"),
        (GOOD.replace("one: {}", "a/b: {}"), InputError, "a name with '/'"),
        (GOOD.replace("[random]", "[]"), InputError, "no method"),
        (GOOD + "smaller: {digits: {cells: 1, variants: [two]}}", UnknownNameError, "unknown variant"),
        (GOOD + "figures: {T: protocol.temperatur}", UnknownNameError, "figure T.*did you mean 'temperature'"),
        (GOOD + "figures: {T: views.hflip}", UnknownNameError, "unknown beginning of x.yaml, figure T 'views'"),
        (GOOD + "figures: {T: [protocol.temperature, diversity]}", UnknownNameError, "figure T shows 'diversity'"),
        (GOOD + "x: [", InputError, "not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, kind: type[DDError], match: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(kind, match=match):
        read_study(path)


def test_axes_that_a_setting_states_take_the_place_of_the_studys_own() -> None:
    stated = {"label_budget": {"method": ("noise",), "variants": ("fp16", "int8")}}
    mine = replace(DIGITS, name="mine", ipc=(10,), students=("convnet2_w64",), studies=stated)
    cells = study("label_budget").cells(mine)
    assert [(cell.method, cell.ipc, cell.variant.name) for cell in cells] == [
        ("noise", 10, "fp16"),
        ("noise", 10, "int8"),
    ]
    assert len(study("label_budget").cells(replace(mine, studies={}))) == 3 * 7


def test_cells_that_cannot_be_say_why() -> None:
    cell = Cell(setting=DIGITS, ipc=10)
    found = study("rd3_table_18").cells(DIGITS)[0]
    assert "no method dc" in reason_against(cell, replace(found, method="dc"))
    assert "images of at least 32 px" in reason_against(cell, replace(found, student="vit_tiny_patch16_224"))
    hybrid = next(k for k in study("rd3_table_5").cells(DIGITS) if k.variant.name == "hybrid")
    alone = Cell(setting=replace(DIGITS, committee=()), ipc=1)
    assert "committee" in reason_against(alone, hybrid)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rd3_figure_7", {"patch shuffle": {"views.shuffle_factor": 2, "views.crop_scale_min": 0.5}}),
        ("rd3_figure_8", {"T 20": {"temperature": 20.0}, "T 80": {"temperature": 80.0}}),
        ("rd3_figure_5", {"KL": {"loss": "kl"}}),
        ("label_budget", {"fp16": {"label_codec": "fp16"}, "40 epochs, int8": {"label_epochs": 40, "label_top_k": 0}}),
        ("rd3_readings", {"shuffle and crop, T 20": {"batch_norm_updates": 1}, "flip, T 20": {"temperature": 20.0}}),
    ],
)
def test_a_variant_is_what_its_name_says_under_any_setting(name: str, expected: dict[str, dict[str, object]]) -> None:
    """A setting may have flip and CutMix alone, another temperature, RDED's loop, labels of another form."""
    base = replace(
        CATALOGUE["cifar10"].protocol,
        views=replace(CATALOGUE["cifar10"].protocol.views, shuffle_factor=1, crop_scale_min=1.0),
        temperature=30.0,
        batch_norm_updates=2,
        loss="mse_gt" if name == "rd3_figure_5" else "kl",
        label_epochs=50,
    )
    for variant, values in expected.items():
        made = study(name).variants[variant].protocol_of(base, "random", "cifar10", 10)
        for field, value in values.items():
            stated = made.views if field.startswith("views.") else made
            assert getattr(stated, field.removeprefix("views.")) == value, (variant, field)


def test_labels_that_a_setting_cannot_have_block_their_cells_alone() -> None:
    """Five of two classes' logits; a last batch of one view under batch statistics."""
    two = replace(DIGITS, classes=DIGITS.classes[:2])
    budget = {cell.variant.name: cell for cell in study("label_budget").cells(DIGITS, 10)}
    cell = Cell(setting=two, ipc=10)
    assert "label_top_k=5 of 2 classes → keep fewer" in reason_against(cell, budget["top 5"])
    assert reason_against(cell, budget["int8"]) == ""
    own = next(cell for cell in study("rd3_table_2").cells(DIGITS, 10) if cell.variant.name == "own recipe")
    alone = replace(
        own, method="sre2l", variant=replace(own.variant, protocol={"label_batch_norm": "batch", "batch": 9})
    )
    images = replace(DIGITS, classes=DIGITS.classes[:1])
    assert "a batch of one view" in reason_against(Cell(setting=images, ipc=10), alone)


def test_what_a_papers_preset_leaves_out_is_said_of_each_cell() -> None:
    own = study("rd3_table_2").variants["own recipe"]
    assert own.left_out("cda", "cifar10").endswith("no recipe stated for cifar10: imagenet1k's")
    assert "best epoch" in own.left_out("rded", "cifar10")
    assert study("rd3_table_2").variants["rd3"].left_out("cda", "cifar10") == ""
