"""YAML that a person wrote, and one line for what cannot be read.

Belongs here: parsing, with refusals that name the file and the line. Does not belong: what a file may state
(datasets/user_settings.py, sweeps/compositions.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dd_assets.errors import InputError

MERGE = "tag:yaml.org,2002:merge"
"""The tag of `<<`, whose value's keys a mapping takes over."""


def read_yaml(path: Path, problem: str = "is not valid YAML", remedy: str = "mend the line named") -> Any:
    """What a file states, {} where it is empty; raises InputError '<path> <problem>: …' and for a key written twice.

    Lets OSError pass: who asks knows why that file is read.
    """
    try:
        # From an open file, so that PyYAML names it; of a text it would say "<unicode string>".
        with path.open(encoding="utf-8") as stream:
            return _load(stream, str(path)) or {}
    except _unreadable() as error:
        raise InputError(f"{path} {problem}: {' '.join(str(error).split())}", remedy) from error


def parsed(text: str, problem: str, remedy: str) -> Any:
    """One value, such as of a command line's option; raises InputError '<problem>: …'."""
    try:
        return _load(text, problem)
    except _unreadable() as error:
        raise InputError(f"{problem}: {' '.join(str(error).split())}", remedy) from error


def _unreadable() -> tuple[type[Exception], ...]:
    import yaml

    # Besides its own errors PyYAML lets out what int() and datetime raise, such as for 2001-99-99.
    return yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError


def _load(stream: Any, where: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain YAML that refuses a key written twice, where PyYAML would keep the last silently.

        What `<<` brings in is no key written twice: a mapping's own keys go before it.
        """

        def __init__(self, stream: Any) -> None:
            super().__init__(stream)
            self.looked_at: set[int] = set()

        def flatten_mapping(self, node: Any) -> None:
            # Called before what `<<` names is copied into the node, and once more for a node that others name.
            if id(node) not in self.looked_at:
                self.looked_at.add(id(node))
                self.refuse_doubles(node)
            super().flatten_mapping(node)

        def refuse_doubles(self, node: Any) -> None:
            lines: dict[str, int] = {}
            for written, _ in node.value:
                key = written.value if written.tag == MERGE else str(self.construct_object(written, deep=True))
                line = written.start_mark.line + 1
                if key in lines:
                    raise InputError(
                        f"{where}, line {line}: key {key!r} is written twice, first in line {lines[key]}",
                        "remove one of the two",
                    )
                lines[key] = line

    return yaml.load(stream, Loader)
