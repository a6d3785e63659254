"""What the source says of a class's fields: their annotations, and the text below each, which Python throws away.

Belongs here: reading it from the file of a class that is imported already; light, since loading Dagster's definitions
does it for every method. Does not belong: laying it out (planning/descriptions.py, report/reference.py).
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple


class FieldNote(NamedTuple):
    """One field as its class states it."""

    annotation: str
    text: str
    """The string below it in one line, '' where there is none."""

    @property
    def sentence(self) -> str:
        """The text's first sentence."""
        return re.split(r"(?<=\.) (?=[A-Z])", self.text, maxsplit=1)[0]


def field_notes(kind: type) -> dict[str, FieldNote]:
    """Public annotated fields by name, those of base classes first, as dataclasses order them.

    Classes whose source is not at hand have none.
    """
    found: dict[str, FieldNote] = {}
    for base in reversed(kind.__mro__):
        found |= _own(base)
    return found


@cache
def _own(kind: type) -> dict[str, FieldNote]:
    found: dict[str, FieldNote] = {}
    name = ""
    for line in _body(kind):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id[0] != "_":
            name = line.target.id
            found[name] = FieldNote(ast.unparse(line.annotation), "")
            continue
        if name and isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
            found[name] = found[name]._replace(text=" ".join(str(line.value.value).split()))
        name = ""
    return found


def _body(kind: type) -> list[ast.stmt]:
    """The statements of a class at the top of its module."""
    source = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if not source:
        return []
    try:
        # Parsing the class alone costs a tenth of parsing its module.
        written = re.search(
            rf"^class {kind.__name__}\b.*?(?=^[^\s#)\"']|\Z)", Path(source).read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
        (found,) = ast.parse(written[0] if written else "pass").body
    except (OSError, ValueError, SyntaxError):
        return []
    return found.body if isinstance(found, ast.ClassDef) else []
