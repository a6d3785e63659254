"""The generated reference says what the program says now, and the settings in the README are those that exist."""

from __future__ import annotations

import re

import pytest

from dd_assets.report.reference import VARIABLE, page, variables
from tests.docs.blocks import PROJECT


def test_the_reference_page_is_up_to_date() -> None:
    stored = (PROJECT / "docs/reference.md").read_text("utf-8")
    assert stored.rstrip() == page().rstrip(), "run: python -m dd_assets.report.reference > docs/reference.md"


def test_every_variable_is_explained_somewhere() -> None:
    pages = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]
    prose = " ".join(path.read_text("utf-8") for path in pages if path.name != "reference.md")
    named = re.findall(r"`(DD_[A-Z_0-9]+)`", " ".join(variables()))
    assert {"DD_STORE", "DD_DATASETS", "DD_RECIPES"} <= set(named)
    assert [name for name in named if name not in prose] == []


def test_the_pattern_finds_both_ways_of_reading_a_variable() -> None:
    found = VARIABLE.findall("os.environ.get('DD_ONE', 1); os.environ[\"DD_TWO\"]; environ.get('HOME')")
    assert found == ["DD_ONE", "DD_TWO"]


def test_the_picture_of_the_graph_is_up_to_date_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    from dd_assets.report.graph_picture import depths, draw, shown_graph

    monkeypatch.delenv("DD_DATASETS", raising=False)
    graph = shown_graph()
    stored = (PROJECT / "docs/pictures/graph.svg").read_text("utf-8")
    assert stored.rstrip() == draw(graph), "run: python -m dd_assets.report.graph_picture > docs/pictures/graph.svg"
    assert len(stored) < 200_000
    assert all(depths(graph)[name] < depths(graph)[asset] for asset, inputs in graph.items() for name in inputs)
    # Edges that must be there, and one that must not: minimax reads no committee.
    assert {"teacher", "dataset"} <= set(graph["rded/synthetic_images"])
    assert "committee" not in graph["minimax/synthetic_images"]
