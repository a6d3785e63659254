"""What the UI says of a method beside its assets' names: its paper, its parameters and where its page is.

Belongs here: these texts, in Markdown, light. Does not belong: any statement about a method (its recipe.py), the pages
of the documentation (sharing/pages.py).
"""

from __future__ import annotations

import dataclasses
import json
import os

from dd_assets.field_notes import field_notes
from dd_assets.methods.contract import Method

DOCS = "DD_DOCS_URL"
"""Where the site of `make docs` is served: the UI's texts then link to its pages."""


def of_images(method: Method) -> str:
    """The description of a method's image sets."""
    parts = (
        method.title,
        method.summary,
        f"Paper: {method.paper}",
        f"Original code: {method.code}",
        with_page("", method),
        f"What differs here: {method.differs}",
        parameters(method),
    )
    return "\n\n".join(filter(None, parts))


def with_page(text: str, method: Method) -> str:
    """A description with the link to the method's page below it; methods of other packages have none."""
    if not method.synthesis.startswith("dd_assets."):
        return text
    page = f"methods/{method.variant_of or method.name}"
    address = os.environ.get(DOCS, "").rstrip("/")
    # Without a site there is nowhere to lead: relative addresses would be Dagster's own.
    link = f"[docs/{page}.md]({address}/{page}/)" if address else f"`docs/{page}.md`"
    return "\n\n".join(filter(None, (text, f"Parameters for every dataset: {link}")))


def parameters(method: Method) -> str:
    """What a launch may override, a table: every parameter, its value without a setting, what it means."""
    values = method.recipes["default"].parameters
    notes = field_notes(type(values))
    rows = []
    for item in dataclasses.fields(values):
        meaning = notes[item.name].sentence if item.name in notes else ""
        value = json.dumps(getattr(values, item.name), default=str)
        rows.append(f"| `{item.name}` | `{_cell(value)}` | {_cell(meaning)} |")
    if not rows:
        return "It has no parameters."
    head = "Parameters that a launch may override, with their values for a dataset that has no recipe of its own:"
    return "\n".join((head, "", "| parameter | default | meaning |", "|---|---|---|", *rows))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
