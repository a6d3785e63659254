"""A table of figures that a study makes of its rows, beside the table of the rows themselves.

Belongs here: its shape and its text. Does not belong: which figures there are (study_scores.py, priors.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dd_assets.report.formats import MISSING, figure, points

Row = Mapping[str, Any]
AXES = ("dataset", "ipc", "student", "method")


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """One further table: a row per method, its figures by name, with '<name>_std' beside each, and its `seeds`."""

    title: str
    note: str
    columns: Mapping[str, str]
    """Figure to heading."""
    percent: bool
    """Whether figures are shown in points of accuracy."""
    rows: Sequence[Row]

    def shown(self, row: Row) -> dict[str, str]:
        """A row as text by heading."""
        texts = {name: str(row[name]) for name in AXES}
        return texts | {heading: self._text(row, name) for name, heading in self.columns.items()}

    def markdown(self) -> str:
        """The table in Markdown, its title above and its note below."""
        headings = [*AXES, *self.columns.values()]
        lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
        lines += [f"| {' | '.join(self.shown(row).values())} |" for row in self.rows]
        return "\n".join([f"**{self.title}**", "", *lines, "", self.note])

    def _text(self, row: Row, name: str) -> str:
        value, spread = row.get(name), row.get(f"{name}_std")
        if not isinstance(value, float):
            return MISSING if value is None else str(value)
        if spread is None:
            return points(value) if self.percent else figure(value)
        return f"{points(value)} ± {100 * spread:.1f}" if self.percent else f"{value:.3f} ± {spread:.3f}"
