"""Texts below fields, and the descriptions that the UI shows of methods."""

from __future__ import annotations

import dataclasses

import pytest

from dd_assets.field_notes import FieldNote, field_notes
from dd_assets.methods.registry import METHODS, method
from dd_assets.planning.descriptions import DOCS, of_images, parameters, with_page
from dd_assets.planning.graph import stage


@dataclasses.dataclass
class Base:
    """Its own text is nobody's note."""

    first: int = 0
    """Of the base.   In two
    lines. E.g. so."""
    second: str = "x"


@dataclasses.dataclass
class Derived(Base):
    second: str = "y"  # stated again, with another note
    """Of the derived; it is 1.5 long."""
    third: tuple[
        int,
        ...,
    ] = ()
    _hidden: int = 0
    """Nobody's business."""

    def method(self) -> None:
        """No field."""
        local: int = 0
        """Neither."""
        del local


def test_notes_are_those_of_the_class_and_its_bases_in_order() -> None:
    assert field_notes(Derived) == {
        "first": FieldNote("int", "Of the base. In two lines. E.g. so."),
        "second": FieldNote("str", "Of the derived; it is 1.5 long."),
        "third": FieldNote("tuple[int, ...]", ""),
    }
    assert field_notes(Base)["first"].sentence == "Of the base."
    assert field_notes(Derived)["second"].sentence == "Of the derived; it is 1.5 long."


def test_classes_without_source_have_none() -> None:
    assert field_notes(int) == {}
    assert field_notes(dataclasses.make_dataclass("Made", [("field", int)])) == {}


def test_every_parameter_of_every_method_is_listed_with_its_default() -> None:
    for entry in METHODS().values():
        text = stage(f"{entry.name}/synthetic_images").description
        fields = dataclasses.fields(entry.recipes["default"].parameters)
        rows = [line for line in text.splitlines() if line.startswith("| `")]
        assert [row.split("`")[1] for row in rows] == [item.name for item in fields], entry.name
        assert all(row.replace("\\|", "").count("|") == 4 for row in rows), entry.name


def test_a_row_says_what_one_would_type_and_what_it_means() -> None:
    text = parameters(method("edc"))
    assert "| `batch` | `100` | Images per batch; all images of a class lie side by side, and a batch may end" in text
    assert "| `crop` | `true` |  |" in text
    assert '| `init` | `"random"` | Where images begin: "noise", or the name of a method whose images' in text
    assert '| `precision` | `"fp32"` | bf16: mixed precision' in text, "a field of the base class"
    assert parameters(method("random")) == "It has no parameters."


def test_pages_are_linked_where_the_site_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DOCS, raising=False)
    assert with_page("Text.", method("edc")) == "Text.\n\nParameters for every dataset: `docs/methods/edc.md`"
    monkeypatch.setenv(DOCS, "https://docs.example.org/dd/")
    link = "[docs/methods/sre2l.md](https://docs.example.org/dd/methods/sre2l/)"
    for name in ("sre2l", "sre2l_rded"):
        assert link in of_images(method(name)), "a variant stands on its base's page"
    elsewhere = dataclasses.replace(method("edc"), synthesis="their_package.synthesis:run")
    assert with_page("Text.", elsewhere) == "Text."


@pytest.mark.parametrize("asset", ["synthetic_images", "soft_labels", "score_resnet18"])
def test_every_asset_of_a_method_names_its_page(asset: str) -> None:
    assert "docs/methods/rded.md" in stage(f"rded/{asset}").description
