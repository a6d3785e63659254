"""The command `sweep`: tuning methods and compositions alike, and one honest look at the test split.

Belongs here: its options and output. Does not belong: proposals and halving (dd_assets/sweeps), units
(planning/sweeps.py), any other command.
"""

from __future__ import annotations

import json
import math
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dd_assets.cli.common import as_json_option, opened_store, require_executor, show
from dd_assets.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dd_assets.datasets.setting import Setting
    from dd_assets.methods.contract import Method
    from dd_assets.planning.sweeps import Candidate
    from dd_assets.sweeps.halving import Race, Trial

COLUMNS = ("group", "tried", "students", "seconds", "validation %", "test %", "parameters")


@click.command()
@click.argument("dataset")
@click.argument("ipc", type=int)
@click.option("--methods", "named", default="random,rded,sre2l", show_default=True, help="Methods to tune, by name.")
@click.option(
    "--recipe",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A recipe file to tune beside the methods. May be repeated.",
)
@click.option("--starts", is_flag=True, help="Also propose each optimising method from every other initialisation.")
@click.option("--minutes", default=30.0, show_default=True, help="Device time of all groups, shared out equally.")
@click.option("--proposals", default=8, show_default=True, help="Parameter sets per group, its own recipe first.")
@click.option("--seed", default=0, show_default=True, help="Of the proposals.")
@click.option("--student", help="Whose accuracy counts; the setting's first by default.")
@click.option(
    "--label",
    type=click.Choice(["soft", "hard"]),
    default="soft",
    show_default=True,
    help="The labels that the students are trained with.",
)
@click.option("--final", is_flag=True, help="Then score each group's best, from all of train, on the test split.")
@click.option("--write", "target", type=click.Path(path_type=Path), help="Write the best as a recipe file.")
@as_json_option
def sweep(
    dataset: str,
    ipc: int,
    named: str,
    files: tuple[Path, ...],
    starts: bool,
    minutes: float,
    proposals: int,
    seed: int,
    student: str | None,
    label: str,
    final: bool,
    target: Path | None,
    as_json: bool,
) -> None:
    """Look for better parameters on validation images, with equal means for every method; test only at the end."""
    from dd_assets.planning.cells import Cell
    from dd_assets.planning.sweeps import Bench, full_students, test_once, validation_of
    from dd_assets.sweeps.halving import race

    _check_means(minutes, proposals)
    if not files and not _names(named):
        raise InputError("nothing to tune", "name methods with --methods, or recipe files with --recipe")
    require_executor()
    if target:
        _check_new(target)
    base = Cell.of(f"{dataset}|{ipc}").setting
    chosen = base.student(student or base.students[0])
    engine = _engine()
    bench = Bench(engine, validation_of(base), ipc, chosen, label)  # type: ignore[arg-type]
    groups = _groups(bench.chosen, ipc, named, files, starts, proposals, seed)
    rows, finalists = [], []
    for name, candidates in groups.items():
        most = full_students(candidates[0].method, base)
        found = race(candidates, _told(bench.attempt, name, candidates), 60 * minutes / len(groups), most)
        if found.best is None:
            rows.append(_row(name, found, None, None))
            continue
        best = candidates[found.best]
        finalists.append((found.trials[found.best], best))
        rows.append(_row(name, found, found.trials[found.best], best))
    if not finalists:
        raise InputError("no group applies here", "; ".join(str(row["refused"]) for row in rows)[:300])
    if final:
        at_last = Bench(engine, base, ipc, chosen, label)  # type: ignore[arg-type]
        for row in rows:
            if row["best"] is not None:
                try:
                    row["test"] = list(test_once(at_last, row["best"]).accuracies)
                except InputError as error:
                    # The other groups' figures are not lost by it.
                    row["refused"].insert(0, str(error))
    title = f"Sweep of {dataset}|{ipc}, {chosen}, {label} labels, validation on {bench.chosen.name}"
    _report(rows, final, as_json, title)
    if target:
        _write(target, max(finalists, key=lambda entry: entry[0].mean)[1])
        # Standard output is the table, or JSON.
        click.echo(f"recipe file: {target}", err=as_json)


def _check_means(minutes: float, proposals: int) -> None:
    """Raise InputError for a budget that is none, or would never be spent, and for no proposals."""
    if not 0 < minutes < math.inf:
        raise InputError(f"--minutes {minutes}", "give a positive number")
    if proposals < 1:
        raise InputError(f"--proposals {proposals}", "give a whole number from 1")


def _engine() -> Any:
    from dd_assets.planning.engine import Engine
    from dd_resources.injection import default_compute
    from dd_resources.raw_data import RawData

    def say(line: str) -> None:
        click.echo(line, err=True)

    return Engine(opened_store(), RawData(os.environ.get("DD_DATA_ROOT", "")), default_compute().get(), announce=say)


def _told(
    attempt: Callable[[Candidate, int], Trial | str], name: str, candidates: Sequence[Candidate]
) -> Callable[[Candidate, int], Trial | str]:
    """The attempt, said before it begins: each names its units alike, which tells nobody how far a sweep is."""

    def told(candidate: Candidate, students: int) -> Trial | str:
        place = candidates.index(candidate) + 1
        click.echo(f"{name}: candidate {place} of {len(candidates)} with {students} of its students", err=True)
        return attempt(candidate, students)

    return told


def _groups(
    setting: Setting, ipc: int, named: str, files: tuple[Path, ...], with_starts: bool, count: int, seed: int
) -> dict[str, list[Candidate]]:
    """Group to candidates: a method, or a composition of one, with as many proposals as any other group.

    What is known of the dataset before it is read tells which cannot apply.
    """
    from dd_assets.methods.contract import with_overrides
    from dd_assets.methods.registry import METHODS, method
    from dd_assets.planning.cells import declared_parameters
    from dd_assets.planning.sweeps import Candidate
    from dd_assets.sweeps.compositions import Composition, proposals, read_composition, starts
    from dd_assets.units.dataset import facts_before

    known = [method(name) for name in _names(named)]
    groups: dict[str, tuple[Method, dict[str, Any]]] = {entry.name: (entry, {}) for entry in known}
    further: list[Composition] = [read_composition(path) for path in files]
    if with_starts:
        further += [f for entry in known for f in starts(METHODS(), declared_parameters(entry, setting), entry)]
    for found in further:
        if found.name in groups:
            raise InputError(f"two groups are called {found.name}", "rename the recipe file's `name`")
        groups[found.name] = (method(found.base), dict(found.parameters))
    made, facts = {}, facts_before(setting)
    for name, (entry, changed) in groups.items():
        stated = with_overrides(declared_parameters(entry, setting), changed, name)
        tried = proposals(stated, count, seed, name, partial(entry.reason_against, facts=facts, ipc=ipc))
        made[name] = [Candidate(method=entry, overrides={**changed, **extra}) for extra in tried]
    return made


def _names(named: str) -> list[str]:
    return [name.strip() for name in named.split(",") if name.strip()]


def _row(name: str, found: Race, trial: Trial | None, best: Candidate | None) -> dict[str, Any]:
    return {
        "group": name,
        "best": best,
        "tried": len(found.trials),
        "proposed": len(found.candidates),
        "complete": found.complete,
        "refused": list(dict.fromkeys(found.refused.values())),
        "seconds": round(found.spent, 1),
        "validation": list(trial.accuracies) if trial else [],
        "test": [],
        "parameters": dict(best.overrides) if best else {},
    }


def _report(rows: list[dict[str, Any]], final: bool, as_json: bool, title: str) -> None:
    plain_rows = [{key: value for key, value in row.items() if key != "best"} for row in rows]
    plain_rows.sort(key=lambda row: -_mean(row["validation"]))
    if as_json:
        click.echo(json.dumps(plain_rows, indent=1))
        return
    shown = [
        {
            "group": row["group"],
            "tried": f"{row['tried']} of {row['proposed']}{'' if row['complete'] else ', budget spent'}",
            "students": len(row["validation"]),
            "seconds": row["seconds"],
            "validation %": _text(row["validation"]),
            "test %": _text(row["test"]),
            "parameters": ", ".join(
                f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in row["parameters"].items()
            )
            or "its recipe",
        }
        for row in plain_rows
    ]
    show(shown, COLUMNS, False, title)
    for row in plain_rows:
        if row["refused"]:
            click.echo(f"{row['group']}: {row['refused'][0]}")
    best = plain_rows[0]
    words = f"best on validation: {best['group']}"
    if final:
        words += f"; on the test split, looked at once: {_text(best['test'])} %"
    click.echo(words)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else -1.0


def _text(values: list[float]) -> str:
    import statistics

    if not values:
        return "–"
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * _mean(values):.1f}{spread}"


def _check_new(target: Path) -> None:
    """Raise InputError unless a recipe file of that name can be made."""
    from dd_assets.sweeps.compositions import SUFFIXES

    if target.suffix not in SUFFIXES:
        raise InputError(f"{target} is no name of a recipe file", f"end it in {' or '.join(SUFFIXES)}")
    if target.exists():
        raise InputError(f"{target} exists", "name a new file; nothing is written over")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"{target.parent} is no folder that can be written to", "name a file in one that can")


def _write(target: Path, best: Candidate) -> None:
    import yaml

    _check_new(target)
    stated = {"name": f"{best.method.name}_swept", "base": best.method.name, "parameters": dict(best.overrides)}
    target.write_text(f"# recipe file\n{yaml.safe_dump(stated, sort_keys=False)}", "utf-8")


COMMANDS = (sweep,)
