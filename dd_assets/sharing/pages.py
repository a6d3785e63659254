"""A page per method for the documentation, from the recipes alone.

Belongs here: laying out what a `Method` states. Does not belong: any statement about a method (its recipe.py).

Run it: `python -m dd_assets.sharing.pages docs/methods` (a test holds the committed pages to it).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dd_assets.methods.contract import Method
from dd_assets.methods.registry import METHODS

FAMILIES = ("baseline", "selection", "optimisation", "generation")
_READS = {
    "teacher": "[`teacher`](../protocol.md)",
    "committee": "`committee`: further teachers, those of its `pool`",
    "statistics": "`statistics`: what the committee's layers see in the real images",
    "priors": "`priors`: how well each member teaches",
    "real_images": "`dataset`: the real images",
    "generator": "a [generator](../generators.md)",
    "centroids": "`class_centroids` of that generator's latents",
    "class_gaussians": "`class_gaussians` of that generator's latents",
    "reference_latents": "`reference_latents`: real images in that generator's latents",
    "prompts": "`prompt_bank`: what prompts are composed of",
    "influence": "`influence`: class gradients along a surrogate's training",
}
"""What a method may read, by the field of `Needs` where there is one."""
_FIDELITY = {"code": "checked against the original code", "text": "re-derived from the text"}


def pages() -> dict[str, str]:
    """File name to Markdown: one page per method that is no variant, and an index."""
    own = {name: method for name, method in METHODS().items() if not method.variant_of}
    made = {f"{name}.md": method_page(method, _variants(name)) for name, method in own.items()}
    return {"index.md": _index(own), **made}


def method_page(method: Method, variants: Sequence[Method] = ()) -> str:
    """One method: what it is, what it reads, its parameters for every dataset with their source."""
    read = _read(method)
    reads = [text for name, text in _READS.items() if name in read]
    reads += [f"the images of [`{start}`]({start}.md)" for start in method.starts()]
    lines = [
        f"# {method.title}",
        "",
        method.summary,
        "",
        "| | |",
        "|---|---|",
        f"| name | `{method.name}`, {method.family} |",
        f"| paper | {_cell(method.paper)} |",
        f"| original code | {_cell(method.code)} |",
        f"| fidelity | {_FIDELITY[method.fidelity]} |",
        f"| what differs here | {_cell(method.differs)} |",
        f"| reads | {_cell('; '.join(reads)) or 'nothing but the number of classes'} |",
        f"| draws | {method.draws} |",
        "",
        "```sh",
        f"dd-assets sync --select 'group:{method.name}' --partition 'digits|10'",
        "```",
        "",
        "## Parameters",
        "",
        *_parameters(method),
        "",
        "## Sources and expected figures",
        "",
        "| dataset | source of the values | published or measured | cost |",
        "|---|---|---|---|",
        *(
            f"| {data} | {_cell(recipe.source)} | {_cell(recipe.expected) or '–'} | {_cell(recipe.cost) or '–'} |"
            for data, recipe in method.recipes.items()
        ),
    ]
    if variants:
        lines += ["", "## Variants", "", "| name | what it changes |", "|---|---|"]
        lines += [f"| `{entry.name}` | {_cell(_changes(entry))} |" for entry in variants]
    return "\n".join(lines) + "\n"


def _read(method: Method) -> set[str]:
    """Keys of `_READS`: what the method declares, and what the parameters of some recipe ask for beyond it."""
    asked = {
        "teacher": method.reads_teacher,
        "centroids": method.reads_centroids,
        "class_gaussians": method.reads_gaussians,
        "reference_latents": method.references_of,
        "prompts": method.reads_prompts,
    }
    stated = [recipe.parameters for recipe in method.recipes.values()]
    return {*method.needs.names(), *(name for name, reads in asked.items() if any(map(reads, stated)))}


def _variants(name: str) -> list[Method]:
    return [entry for entry in METHODS().values() if entry.variant_of == name]


def _changes(entry: Method) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in entry.changes.items())


def _parameters(method: Method) -> list[str]:
    """A table of every field over the datasets; datasets with equal values share a column."""
    columns: list[tuple[list[str], dict[str, Any]]] = []
    for data, recipe in method.recipes.items():
        values = dataclasses.asdict(recipe.parameters)
        for names, known in columns:
            if known == values:
                names.append(data)
                break
        else:
            columns.append(([data], values))
    if not columns[0][1]:
        return ["It has none."]
    head = [
        f"| parameter | {' | '.join(', '.join(names) for names, _ in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    return head + [
        f"| `{name}` | {' | '.join(_cell(_value(values[name])) for _, values in columns)} |" for name in columns[0][1]
    ]


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "–"
    return str(value) if value != "" else "–"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _index(methods: dict[str, Method]) -> str:
    lines = [
        "# Methods",
        "",
        "Generated from the recipes (`dd_assets/methods/<name>/recipe.py`). Fidelity says whether a method was checked",
        "against its authors' code or re-derived from the text alone.",
    ]
    for family in FAMILIES:
        lines += ["", f"## {family.capitalize()}", "", "| method | paper | fidelity |", "|---|---|---|"]
        lines += [
            f"| [`{name}`]({name}.md) {method.title} | {_cell(method.paper)} | {method.fidelity} |"
            for name, method in methods.items()
            if method.family == family
        ]
    return "\n".join(lines) + "\n"


def main(folder: str) -> None:
    """Write the pages into a folder, and remove pages of methods that are gone."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in place.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (place / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
