"""The generated reference says what the program says now, and the settings in the README are those that exist."""

from __future__ import annotations

import re

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
