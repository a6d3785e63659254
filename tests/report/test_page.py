"""The leaderboard page: marks, order, figures, and that it needs nothing from outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from dd_assets.errors import InputError
from dd_assets.report.formats import duration, percent, points, signed, size
from dd_assets.report.page import marks, render_page


def row(method: str = "rded", mean: float | None = 0.5, **other: Any) -> dict[str, Any]:
    """A complete leaderboard row."""
    fields = {
        "dataset": "digits",
        "ipc": 1,
        "student": "convnet2_w64",
        "label": "soft",
        "protocol": "rd3",
        "accuracy_std": 0.01,
        "draws": 2,
        "seeds": 3,
        "best_mean": 0.6,
        "synthesis_seconds": 12.0,
        "image_bytes": 1500,
        "label_bytes": 2_000_000,
        "label_agreement": 0.875,
        "published": None,
        "rank": 1,
    }
    return {"method": method, "accuracy_mean": mean, **fields, **other}


class Outline(HTMLParser):
    """What a browser would load, and the text of body rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.rows: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1] += f" {data.strip()}"


def test_best_and_second_are_marked_within_one_contest_only():
    rows = [row("a", 0.5), row("b", 0.7), row("c", 0.6), row("d", 0.9, label="hard"), row("e", 0.1, label="hard")]
    # Marking over the whole table would give 'best' to d alone and 'second' to b.
    assert marks(rows) == ["", "best", "second", "best", "second"]
    assert marks([*rows, row("f", 0.99, ipc=10)])[-1] == "", "a method alone has beaten nobody"


def test_figures_that_print_alike_share_a_mark():
    assert marks([row("a", 0.50001), row("b", 0.50004), row("c", 0.4)]) == ["best", "best", "second"]


def test_overridden_and_missing_results_do_not_compete():
    rows = [row("a", 0.9, rank=None, apart="overridden"), row("b", 0.5), row("c", 0.4), row("d", None)]
    assert marks(rows) == ["", "best", "second", ""]
    assert "overridden" in next(text for text in Outline(render_page(rows, [], [], {})).rows if " a " in f"{text} ")


def test_rows_are_grouped_and_ranked_whatever_their_order():
    rows = [
        row("late", 0.2, rank=2, ipc=10),
        row("first", 0.3, rank=1, ipc=10),
        row("one", ipc=1),
        row("other", dataset="cifar10", ipc=50),
    ]
    text = render_page(rows, [], [], {})
    assert re.findall(r"<h2>(\S+) <small>(\d+)", text) == [("cifar10", "50"), ("digits", "1"), ("digits", "10")]
    order = [re.search(rf">{name}\s*<", text).start() for name in ("other", "one", "first", "late")]
    assert order == sorted(order)


def test_accuracies_are_percent_and_missing_figures_are_dashes():
    shown = row(mean=0.93456, published=0.162, ranks=[1, 2], ior=0.1, beats_random="yes")
    cells = Outline(render_page([shown], [], [], {})).rows[-1].split()
    assert "93.46" in cells
    assert cells[cells.index("±") : cells.index("±") + 2] == ["±", "1.00"]
    assert "16.20" in cells
    assert "87.50" in cells
    assert "–" not in cells
    # A rank interval is written with a dash of its own.
    assert "1–2" in cells
    unknown = ("accuracy_std", "best_mean", "synthesis_seconds", "image_bytes", "label_bytes", "label_agreement")
    bare = row(mean=None, **dict.fromkeys(unknown))
    assert Outline(render_page([bare], [], [], {})).rows[-1].split().count("–") == 9


def test_labels_that_are_not_kept_whole_are_said_beside_the_protocol():
    kept = "stored, int8, top 5"
    rows = [row("a"), row("b", label_storage=kept), row("c", label="hard", label_storage=kept)]
    assert render_page(rows, [], [], {}).count(f"labels {kept}") == 1


def test_the_page_needs_nothing_from_outside():
    page = render_page(
        [row()],
        [{"title": "sheet", "png": b"\x89PNG"}],
        [{"title": "curve", "svg": '<svg xmlns="http://www.w3.org/2000/svg"/>'}],
        {"Device": "CPU"},
    )
    outline = Outline(page)
    assert outline.sources == ["data:,", "data:image/png;base64,iVBORw=="]
    assert "script" not in outline.tags
    assert not re.search(r"@import|url\(", page)


def test_text_is_escaped_and_facts_are_shown():
    page = render_page([row("<b>x</b>", published_note="a < b")], [], [], {"Teacher": "<93 %>"})
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<dt>Teacher</dt><dd>&lt;93 %&gt;</dd>" in page
    assert page.count("a &lt; b") == 2, "the note stands at the figure and below the table"


def test_what_a_verdict_asks_to_be_written_is_shown_as_code():
    one = row()
    cell = (one["dataset"], one["ipc"], one["student"], one["label"])
    page = render_page([one], [], [], {}, verdicts={cell: ["<3 runs → write `trainings: 5`"]})
    assert "&lt;3 runs → write <code>trainings: 5</code>" in page


def test_an_empty_leaderboard_says_so():
    assert "No score has been computed yet" in render_page([], [], [], {})


def test_a_row_without_a_field_is_refused_by_name():
    broken = row()
    del broken["seeds"], broken["rank"]
    with pytest.raises(InputError, match="lacks seeds, rank"):
        render_page([broken], [], [], {})


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (percent, 0.5, "50.00"),
        (percent, None, "–"),
        (percent, float("nan"), "–"),
        (duration, 0.44, "0.4 s"),
        (duration, 9.96, "10 s"),
        (duration, 59.6, "1 min 00 s"),
        (duration, 185, "3 min 05 s"),
        (duration, 3599, "1 h 00 min"),
        (duration, 7800, "2 h 10 min"),
        (duration, None, "–"),
        (size, 812, "812 B"),
        (size, 1500, "1.50 kB"),
        (size, 999_600, "1.00 MB"),
        (size, 23_400_000, "23.4 MB"),
        (size, 5_000_000_000_000, "5000 GB"),
        (size, None, "–"),
        (points, 0.0123, "+1.2"),
        (points, -0.05, "−5.0"),
        (points, None, "–"),
        (signed, -1.26, "−1.3"),
        (signed, -0.02, "+0.0"),
        (signed, None, "–"),
    ],
)
def test_units_are_those_a_reader_would_choose(function, value, text):
    assert function(value) == text
