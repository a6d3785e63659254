"""The reference page, generated from the program itself: commands, settings' fields, variables, Python API, errors.

Belongs here: writing docs/reference.md. Does not belong: prose that a person maintains.
Run `python -m dd_assets.report.reference > docs/reference.md`; a test compares the page with what this prints.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import Views
from dd_assets.field_notes import field_notes
from dd_assets.models.registry import ARCHITECTURES, TeacherRecipe

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"""["'](DD_[A-Z_0-9]*[A-Z0-9]|DAGSTER_HOME)["']""")
"""A string that is a variable's name and nothing else: read at once, kept in a constant or handed to a function."""


def commands() -> list[str]:
    """A section per command: its help, arguments and options."""
    from dd_assets.cli import main

    lines = []
    for name, command in sorted(main.commands.items()):
        arguments = " ".join(p.name.upper() for p in command.params if isinstance(p, click.Argument) and p.name)
        lines += [f"### dd-assets {name}", "", f"`dd-assets {name}{' ' if arguments else ''}{arguments}`", ""]
        lines += [" ".join((command.help or "").split()), ""]
        options = [p for p in command.params if isinstance(p, click.Option)]
        if options:
            lines += ["| option | default | meaning |", "|---|---|---|"]
            lines += [f"| `{_spelling(p)}` | {_default(p)} | {_cell(p.help or '')} |" for p in options] + [""]
    return lines


def _spelling(option: click.Option) -> str:
    return ", ".join(option.opts) + (f" / {', '.join(option.secondary_opts)}" if option.secondary_opts else "")


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    value: Any = option.to_info_dict()["default"]
    if option.secondary_opts and isinstance(value, bool):
        return f"`{(option.opts if value else option.secondary_opts)[0]}`"
    plain = isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""
    return f"`{value}`" if plain else "–"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def fields_of(kind: type, left_out: Sequence[str], without_default: str = "required") -> list[str]:
    """A row per field of a dataclass that a settings file can state: default and the text below it."""
    known = {entry.name: entry for entry in dataclasses.fields(kind)}
    rows = []
    for name, note in field_notes(kind).items():
        if name in known and name not in left_out:
            default = known[name].default
            shown = without_default if default is dataclasses.MISSING else f"`{_yaml(default)}`"
            rows.append(f"| `{name}` | {_cell(_values(note.annotation))} | {shown} | {_cell(note.text)} |")
    return ["| field | values | default | meaning |", "|---|---|---|---|", *rows, ""]


def _values(annotation: str) -> str:
    return ", ".join(f"`{value}`" for value in re.findall("'([^']+)'", annotation)) or annotation


def _yaml(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("...\n").strip()


def architectures() -> list[str]:
    """A row per network that a teacher, a member of a committee or a student can be."""
    rows = [f"| `{entry.name}` | {entry.min_size} | {_cell(entry.summary)} |" for entry in ARCHITECTURES.values()]
    return ["| name | least px | what it is |", "|---|---|---|", *rows, ""]


def settings() -> list[str]:
    """What docs/datasets.md does not list: fields of teachers' recipes and of the protocol, and architectures."""
    return [
        "The other fields of a settings file are in [Datasets](datasets.md#fields).",
        "",
        "### Fields of a teacher's recipe",
        "",
        _summary(TeacherRecipe) + " A setting that states no `epochs` has 50.",
        "",
        *fields_of(TeacherRecipe, ()),
        "### Fields of `protocol` in a setting",
        "",
        *fields_of(Protocol, ("name", "label", "views")),
        "### Fields of `protocol.views`",
        "",
        *fields_of(Views, ("preset",), without_default="of the preset that `views` names"),
        "### Architectures",
        "",
        *architectures(),
    ]


def variables() -> list[str]:
    """Every environment variable that the code names, with the modules that do."""
    found: dict[str, set[str]] = {}
    for package in ("dd_assets", "dd_resources"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for name in VARIABLE.findall(path.read_text("utf-8")):
                found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    rows = [f"| `{name}` | {', '.join(f'`{place}`' for place in sorted(found[name]))} |" for name in sorted(found)]
    return ["| variable | named by |", "|---|---|", *rows, ""]


def python_api() -> list[str]:
    """The public names of `dd_assets` with their public members."""
    import dd_assets

    lines = []
    for name in sorted(dd_assets.__all__):
        thing = getattr(dd_assets, name)
        lines += [f"### dd_assets.{name}", "", _summary(thing), ""]
        if inspect.isfunction(thing):
            lines += [f"`{name}{inspect.signature(thing)}`", ""]
            continue
        members = [*_attributes(thing), *_methods(thing)]
        lines += [*members, ""] if members else []
    return lines


def _attributes(thing: type) -> list[str]:
    """A line per annotated attribute and property of a class."""
    found = [(name, note.annotation, note.text) for name, note in field_notes(thing).items()]
    for name, member in vars(thing).items():
        if isinstance(member, property) and not name.startswith("_"):
            found.append((name, str(inspect.get_annotations(member.fget)["return"]), _summary(member)))  # type: ignore[arg-type]
    return [f"- `{name}: {annotation}`{f': {text}' if text else ''}" for name, annotation, text in found]


def _methods(thing: type) -> list[str]:
    """A line per public method of a class."""
    methods = [(n, m) for n, m in vars(thing).items() if not n.startswith("_") and inspect.isfunction(m)]
    return [f"- `{n}{inspect.signature(m)}`: {_summary(m)}" for n, m in methods]


def _summary(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def errors() -> list[str]:
    """Every refusal, with its exit code."""
    from dd_assets import errors as module

    kinds = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, module.DDError)]
    rows = [f"| `{kind.__name__}` | {kind.exit_code} | {_cell(_summary(kind))} |" for kind in kinds]
    return [
        "| error | exit code | meaning |",
        "|---|---|---|",
        *rows,
        "",
        "Further exit codes: 1 a run failed, part of a `sync` was refused, or a check of `doctor` or `check-method`"
        " failed; 2 an option or command that does not exist; 7 a recomputation came out different (`verify`,"
        " `sync --force`); 130 ended by Ctrl-C; 143 ended by SIGTERM.",
        "",
    ]


def page() -> str:
    """The whole page, Markdown."""
    head = ["# Reference", "", "Generated by `python -m dd_assets.report.reference`.", ""]
    parts = {
        "Commands": commands(),
        "Settings": settings(),
        "Environment variables": [
            "What each means stands in the README, [Datasets](datasets.md) and [Deployment](deploy.md).",
            "",
            *variables(),
        ],
        "Python": python_api(),
        "Errors": errors(),
    }
    return "\n".join(head + [line for title, lines in parts.items() for line in (f"## {title}", "", *lines)])


if __name__ == "__main__":
    print(page())
