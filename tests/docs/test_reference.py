"""The generated reference says what the program says now, and the settings in the README are those that exist."""

from __future__ import annotations

import ast
import re

import pytest

from dd_assets.report.reference import VARIABLE, page, python_api, variables
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


def test_the_pattern_finds_every_way_of_naming_a_variable() -> None:
    source = "os.environ.get('DD_ONE', 1); environ[\"DD_TWO\"]; NAME = 'DD_3'; number(\"DD_STEP_GB\", 0); get('HOME')"
    assert VARIABLE.findall(source) == ["DD_ONE", "DD_TWO", "DD_3", "DD_STEP_GB"]
    assert VARIABLE.findall("name.startswith('DD_'); 'set DD_FIVE=1'; \"mchen725/DD_IGD 912e868\"") == []


def test_every_variable_that_any_string_speaks_of_is_listed() -> None:
    """Messages and docstrings count too, so that a variable whose name is put together somewhere is missed here."""
    listed = set(re.findall(r"`(DD_[A-Z_0-9]+)`", " ".join(variables())))
    spoken = set()
    for package in ("dd_assets", "dd_resources"):
        for path in (PROJECT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    spoken |= set(re.findall(r"(?<![A-Z_/])DD_[A-Z_0-9]*[A-Z0-9]", node.value))
    assert spoken == listed
    assert {"DD_DOWNLOAD_WEIGHTS", "DD_STEP_CPUS", "DD_STEP_GPUS", "DD_STEP_MEMORY_GB"} <= listed


def test_attributes_of_public_classes_are_listed_with_their_types() -> None:
    lines = "\n".join(python_api())
    for line in (
        "- `images: np.ndarray`: uint8 (N, H, W, C), ordered by (IPC index, class).",
        "- `inputs: Tensor`: Normalised float32 (n, C, H, W).",
        "- `schedule: ViewSchedule`: The geometry of every view, batch after batch.",
        "- `accuracy: float`: Top-1 on the test split after the last epoch, in [0, 1].",
    ):
        assert line in lines


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
