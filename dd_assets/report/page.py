"""The leaderboard as one HTML file that works offline.

Belongs here: ordering, marking and formatting rows for the template. Does not belong: reading the store, drawing
pictures (pictures.py) or looking up published figures (published.py).
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from dd_assets.errors import InputError
from dd_assets.report.formats import MISSING, duration, figure, percent, points, signed, size
from dd_assets.report.pictures import data_uri

ROW_FIELDS = (
    "dataset",
    "ipc",
    "method",
    "student",
    "label",
    "protocol",
    "accuracy_mean",
    "accuracy_std",
    "draws",
    "seeds",
    "best_mean",
    "synthesis_seconds",
    "image_bytes",
    "label_bytes",
    "published",
    "rank",
)
"""Every row has these keys; accuracies, `best_mean` and `published` are fractions in [0, 1], any figure may be None."""

OPTIONAL_FIELDS: Mapping[str, Any] = {
    "published_note": "",
    "published_std": None,
    "z": None,
    "apart": "",
    "best_std": None,
    "ranks": None,
    "beats_random": "",
    "ior": None,
    "href": "",
    "page": "",
    "provenance": "",
    "data_free_rank": None,
    "label_agreement": None,
    "label_storage": "",
}
"""Shown if present: where the paper contradicts itself, its ± and z, why a result does not compete (overridden
parameters, a failed check, other data, another protocol or labeller), the standard deviation of `best_mean`, the
interval of ranks, whether it beats random images ('yes', 'no', 'unclear') and by what fraction, where the figure comes
from, the method's own page, whether the images owe anything to the real ones but through the teacher, the rank among
those that do not, the share of views whose base label the labels' networks name first (a fraction), and how soft labels
are kept where that is not whole and in fp16."""

Row = Mapping[str, Any]
Verdicts = Mapping[tuple[str, int, str, str], Sequence[str]]


def render_page(
    rows: Sequence[Row],
    sheets: Sequence[Mapping[str, Any]],
    curves: Sequence[Mapping[str, str]],
    facts: Mapping[str, Any],
    diversity: Sequence[Mapping[str, Any]] = (),
    verdicts: Verdicts = {},  # noqa: B006 - read only
    plots: Mapping[tuple[str, int], Sequence[Mapping[str, str]]] = {},
    frontiers: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page as text: no script, no address outside itself, wide and narrow, light and dark.

    rows: dicts with `ROW_FIELDS` (see there for units) and optionally `OPTIONAL_FIELDS`; sheets: {title, png bytes};
    curves: {title, svg as made by `curve_svg`}, inserted as they are; facts: what the numbers rest on (commit, device,
    teacher accuracy…), shown in the given order; diversity: tables as made by report/diversity.py; verdicts: sentences
    per (dataset, IPC, student, label); plots: figures per (dataset, IPC), and `frontiers` over all IPC, as curves.
    Raises InputError naming a row's missing field.
    """
    checked(rows)
    return template("leaderboard.html.j2").render(
        groups=grouped(rows, verdicts, plots),
        sheets=[{"title": sheet["title"], "source": data_uri(sheet["png"])} for sheet in sheets],
        curves=list(curves),
        facts=facts,
        diversity=list(diversity),
        frontiers=list(frontiers),
    )


def checked(rows: Sequence[Row]) -> None:
    """Raise InputError naming a field that a row lacks."""
    for row in rows:
        missing = [field for field in ROW_FIELDS if field not in row]
        if missing:
            raise InputError(f"a leaderboard row lacks {', '.join(missing)}", "pass every field of ROW_FIELDS")


def marks(rows: Sequence[Row]) -> list[str]:
    """'best', 'second' or '' for each row, among rows of the same dataset, IPC, student and label that have a rank.

    A row without a rank (`apart` says why) is shown but does not compete. Decided by `accuracy_mean` at
    the two decimals of a percent that the page prints, so that equal figures share a mark; a group of one is not
    marked, since nothing was beaten.
    """
    figures: dict[tuple[Any, ...], set[float]] = defaultdict(set)
    sizes: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in rows:
        if _competes(row):
            sizes[_contest(row)] += 1
            figures[_contest(row)].add(_shown(row["accuracy_mean"]))
    words = []
    for row in rows:
        ladder = sorted(figures[_contest(row)], reverse=True)
        beaten = sizes[_contest(row)] > 1 and _competes(row)
        place = ladder.index(_shown(row["accuracy_mean"])) if beaten else 2
        words.append(("best", "second", "")[min(place, 2)])
    return words


def _contest(row: Row) -> tuple[Any, ...]:
    return row["dataset"], row["ipc"], row["student"], row["label"]


def _competes(row: Row) -> bool:
    return row["rank"] is not None and row["accuracy_mean"] is not None


def _shown(mean: float) -> float:
    return round(100 * mean, 2)


def grouped(
    rows: Sequence[Row], verdicts: Verdicts, plots: Mapping[tuple[str, int], Sequence[Mapping[str, str]]]
) -> list[dict[str, Any]]:
    """One group per dataset and IPC, sorted; inside it one contest per student and label, the best rank first."""
    marked = list(zip(rows, marks(rows), strict=True))
    marked.sort(key=lambda pair: (pair[0]["dataset"], pair[0]["ipc"], *_order(pair[0])))
    groups: list[dict[str, Any]] = []
    for (dataset, ipc), members in itertools.groupby(marked, key=lambda pair: _contest(pair[0])[:2]):
        contests = [
            {
                "student": student,
                "label": label,
                "rows": [{**OPTIONAL_FIELDS, **row, "mark": mark, **_bar(row)} for row, mark in contest],
            }
            for (student, label), contest in itertools.groupby(members, key=lambda pair: _contest(pair[0])[2:])
        ]
        said = [
            {"student": entry["student"], "label": entry["label"], "words": words}
            for entry in contests
            if (words := verdicts.get((dataset, ipc, entry["student"], entry["label"])))
        ]
        figures = list(plots.get((dataset, ipc), ()))
        groups.append({"dataset": dataset, "ipc": ipc, "contests": contests, "verdicts": said, "plots": figures})
    return groups


def _order(row: Row) -> tuple[Any, ...]:
    rank = row["rank"] if row["rank"] is not None else math.inf
    mean = row["accuracy_mean"] if row["accuracy_mean"] is not None else -1.0
    return str(row["student"]), str(row["label"]), rank, -mean, str(row["method"])


def _bar(row: Row) -> dict[str, float]:
    """Where the bar ends and what the ± spans, in percent of the bar's length."""
    mean, std = row["accuracy_mean"] or 0.0, row["accuracy_std"] or 0.0
    low, high = max(0.0, mean - std), min(1.0, mean + std)
    return {"bar": round(100 * mean, 2), "low": round(100 * low, 2), "span": round(100 * (high - low), 2)}


def _code(text: str) -> Any:
    """Text as HTML, with what stands in backticks, as a terminal shows it, as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def template(name: str) -> Any:
    """A template of this package, with the filters of formats.py; an undefined name is an error."""
    # Imported here: jinja2 costs 40 ms and the page is made once per report.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dd_assets.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, duration=duration, size=size, figure=figure, points=points, signed=signed, code=_code
    )
    environment.globals["missing"] = MISSING
    return environment.get_template(name)
