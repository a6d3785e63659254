"""What several commands share.

Belongs here: options, tables, the Dagster home, turning options into targets. Does not belong: commands.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dd_assets.errors import InputError, UnknownNameError
from dd_assets.writing import writing

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from dd_assets.planning.engine import Engine
    from dd_assets.planning.plan import Target
    from dd_assets.planning.unit import Reference
    from dd_resources.store import ArtefactStore

INSTANCE = """# Written by dd-assets for a single machine; deploy/dagster.yaml explains each line.
telemetry: {enabled: false}
nux: {enabled: false}
concurrency: {runs: {max_concurrent_runs: 2}}
run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 30}
"""

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
select_option = click.option("--select", help="Assets in Dagster's selection syntax, such as 'group:sre2l'.")
partition_option = click.option(
    "--partition",
    "partitions",
    multiple=True,
    help="A partition such as 'digits|10'; 'digits' means all its cells. May be repeated; all partitions by default.",
)


LONGEST_OF_DAGSTER = 240
"""Characters that are repeated of what Dagster says of its dagster.yaml."""


def dagster_home() -> Path:
    """DAGSTER_HOME (default .dd/dagster), created with its dagster.yaml if new; raises InputError if it cannot be."""
    home = Path(os.environ.get("DAGSTER_HOME") or ".dd/dagster").absolute()
    with _writing(home):
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists():
            (home / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def _writing(home: Path) -> AbstractContextManager[None]:
    remedy = "set DAGSTER_HOME to a folder that can be created and written, or work in another folder"
    return writing(f"the Dagster instance at {home} cannot be written", remedy)


@contextmanager
def dagster_instance() -> Iterator[DagsterInstance]:
    """The instance in DAGSTER_HOME; raises InputError where it cannot be created or its dagster.yaml cannot be used."""
    home = dagster_home()
    import dagster as dg
    import yaml

    try:
        with _writing(home):
            instance = dg.DagsterInstance.get()
    except (yaml.YAMLError, dg.DagsterInvalidConfigError, dg.DagsterInvariantViolationError) as error:
        # Dagster's text goes on with a page of all that it knows.
        problem = " ".join(str(error).split())[:LONGEST_OF_DAGSTER]
        raise InputError(
            f"{home / 'dagster.yaml'} cannot be used: {problem}", "mend it, or move it away and a new one is written"
        ) from error
    with instance:
        yield instance


def show(records: Sequence[dict[str, Any]], columns: Iterable[str], as_json: bool, title: str) -> None:
    """Print records as a table, or as JSON with all their fields."""
    if as_json:
        click.echo(json.dumps(list(records), indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dd_assets.terminal import fitting

    # Cut-off columns are of no use in a pipe or a log: there the table takes the width it needs.
    console = Console(width=None if Console().is_terminal else 160)
    columns = list(columns)
    rows = [[_shown(record[column]) for column in columns] for record in records]
    values = {column: {row[place] for row in rows} for place, column in enumerate(columns)}
    # What is the same in every row is said once, above, where the terminal is narrow.
    same = [column for column in columns if len(rows) > 1 and len(values[column]) == 1]
    kept = fitting(columns, rows, same, console.width)
    said = [f"{column} {rows[0][columns.index(column)]}" for column in columns if column not in kept]
    table = Table(title=f"{title} ({', '.join(said)})" if said else title, title_justify="left")
    whole = _whole({column: max(map(len, (column, *values[column]))) for column in kept}, console.width)
    for column in kept:
        table.add_column(column, no_wrap=column in whole, overflow="ellipsis" if column in whole else "fold")
    for row in rows:
        # As Text: a string's "[digits|10]" would be read as markup and vanish.
        table.add_row(*(Text(row[columns.index(column)]) for column in kept))
    console.print(table)


FOLDED = 14
"""Characters that a folded column has at least."""


def _whole(widths: Mapping[str, int], width: int) -> set[str]:
    """The columns that are not folded: the narrowest, as many as leave the others some room in a terminal's width."""
    whole: set[str] = set()
    left = width - 1
    for place, column in enumerate(ordered := sorted(widths, key=lambda name: widths[name])):
        left -= widths[column] + 3
        if left < (FOLDED + 3) * (len(ordered) - place - 1):
            break
        whole.add(column)
    return whole


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if not isinstance(value, list | tuple):
        return str(value)
    texts = [str(entry) for entry in value]
    return ("; " if any(", " in text for text in texts) else ", ").join(texts)


def targets_of(select: str | None, partitions: Sequence[str], with_studies: bool = False) -> list[Target]:
    """The asset partitions a selection names; raises UnknownNameError for a selection or partition that names none.

    with_studies: without a selection, studies are among them, in the partitions for which they have cells; for
    commands that compute nothing, which thousands of trainings cost nothing.
    """
    from dd_assets.planning.cells import STUDIES
    from dd_assets.planning.graph import Cell, stages
    from dd_assets.planning.plan import all_targets

    targets = among = all_targets(with_studies=with_studies or select is not None)
    if not select:
        targets = [t for t in targets if stages()[t[0]].group != STUDIES or not stages()[t[0]].blocked(Cell.of(t[1]))]
    if select:
        chosen = _selected(select)
        targets = among = [target for target in targets if target[0] in chosen]
        if not targets:
            raise UnknownNameError(
                f"--select {select!r} names no asset with partitions ({', '.join(sorted(chosen))})",
                "select what has some: `dd-assets plan` lists them; a sync brings the leaderboard along by itself",
            )
    if partitions:
        for partition in partitions:
            Cell.of(partition)
        targets = [t for t in targets if t[1] in partitions or t[1].split("|")[0] in partitions]
    if not targets:
        asset, partition = among[0]
        raise UnknownNameError(
            f"nothing that --select {select!r} names has a partition {' or '.join(map(repr, partitions))}",
            f"{asset} has partitions like '{partition}'",
        )
    return targets


def _selected(select: str) -> set[str]:
    """The assets of a selection; raises UnknownNameError where it cannot be read or names what there is not."""
    import warnings

    import dagster as dg

    from dd_assets.definitions import defs

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    graph = defs.resolve_asset_graph()
    try:
        keys = dg.AssetSelection.from_string(select).resolve(graph)
    except dg.DagsterInvalidSubsetError:
        # Its text is a page; what is wrong is a name.
        keys = set()
    except Exception as error:
        # Dagster's parser and its resolution raise several unrelated families for a bad selection.
        raise UnknownNameError(
            f"--select {select!r} is not usable: {error}".replace("\n", " "),
            'write key:"rded/synthetic_images", group:rded or tag:…, joined by `and`, `or`, `not`; a + before or after'
            " a term adds what is upstream or downstream of it",
        ) from error
    if not keys:
        assets = {"/".join(key.path) for key in graph.get_all_asset_keys()}
        groups = {graph.get(key).group_name or "" for key in graph.get_all_asset_keys()}
        for what, known, names in (
            ("group", groups, re.findall(r'group:"?([\w./-]+)', select)),
            ("asset", assets, re.findall(r'key:"?([\w./-]+)', select) or [select]),
        ):
            wrong = next((name for name in names if name not in known), None)
            if wrong is not None:
                raise UnknownNameError.of(f"{what} in --select", wrong, known)
    return {"/".join(key.path) for key in keys}


def opened_store() -> ArtefactStore:
    """The store of the environment; raises StoreError or FormatVersionError."""
    from dd_resources.injection import store_root
    from dd_resources.store import ArtefactStore

    return ArtefactStore(store_root()).open()


def require_executor() -> None:
    """Raise as the definitions do where DD_EXECUTOR cannot work here, before anything runs."""
    from dd_resources.execution import executor
    from dd_resources.injection import store_root

    executor(store_root())


def looking_engine() -> Engine:
    """An engine that computes nothing, over the store and data of the environment."""
    from dd_assets.planning.engine import Engine
    from dd_resources.raw_data import RawData

    return Engine(opened_store(), RawData(os.environ.get("DD_DATA_ROOT", "")), look_only=True)


def reference_of(store: ArtefactStore, target: Target) -> Reference:
    """What an asset partition of this deployment points at; raises InputError if it was never made."""
    from dd_resources.injection import NAMESPACE

    asset, partition = target
    reference = store.read_reference(NAMESPACE, asset, partition)
    if reference is None:
        raise InputError(f"{asset} [{partition}] was never materialized", "dd-assets sync computes it")
    return reference
