"""Commands that look: what there is, what is stale and why, the leaderboard, the UI.

Belongs here: listing and showing. Does not belong: anything that computes or changes the store (computing.py).
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dd_assets.cli.common import (
    as_json_option,
    dagster_home,
    dagster_instance,
    looking_engine,
    opened_store,
    partition_option,
    select_option,
    show,
    targets_of,
)
from dd_assets.errors import InputError
from dd_assets.writing import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dd_assets.planning.plan import Row, Target


@click.command()
@as_json_option
def methods(as_json: bool) -> None:
    """Which methods there are, from which papers, and what they need."""
    from dd_assets.methods.registry import METHODS

    rows = [
        {
            "name": entry.name,
            "family": entry.family,
            "paper": entry.paper,
            "fidelity": entry.fidelity,
            "needs": entry.needs.names(),
        }
        for entry in METHODS().values()
    ]
    show(rows, rows[0], as_json, "Methods")


@click.command()
@as_json_option
@click.option("--download", "wanted", help="Fetch a catalogue dataset into DD_DATA_ROOT, nothing else.")
@click.option("--catalogue", is_flag=True, help="List what `base:` can name in a settings file, not what is enabled.")
def datasets(as_json: bool, wanted: str | None, catalogue: bool) -> None:
    """Which dataset settings are enabled."""
    from dd_assets.datasets.registry import settings

    if wanted:
        from dd_assets.datasets.downloads import download

        click.echo(download(wanted, os.environ.get("DD_DATA_ROOT", "")))
        return
    if catalogue:
        from dd_assets.datasets.catalogue import CATALOGUE

        listed = CATALOGUE
    else:
        listed = settings()
    rows = [
        {
            "name": entry.name,
            "data": entry.data,
            "classes": len(entry.classes),
            "size": entry.size,
            "channels": entry.channels,
            "teacher": entry.teacher.architecture,
            "students": list(entry.students),
            "ipc": list(entry.ipc),
        }
        for entry in listed.values()
    ]
    show(rows, rows[0], as_json, "Datasets")


@click.command()
@as_json_option
def students(as_json: bool) -> None:
    """Which student networks have score assets, and which datasets score them."""
    from dd_assets.datasets.registry import settings
    from dd_assets.models.registry import architecture
    from dd_assets.planning.graph import students as names

    rows = [
        {
            "name": name,
            "network": architecture(name).summary,
            "datasets": [entry.name for entry in settings().values() if name in entry.students],
        }
        for name in names()
    ]
    show(rows, rows[0], as_json, "Students")


@click.command()
@click.option("--folder", help="Look at a folder of images below DD_DATA_ROOT instead, and suggest a setting for it.")
@click.option("--yaml", "target", help="With --folder: write the suggested setting to this new file.")
@as_json_option
def doctor(folder: str | None, target: str | None, as_json: bool) -> None:
    """Check the store, the raw data, the device and the Dagster instance, without computing anything.

    The store is created if it is new. Files are written to it and to the instance's folder, and removed again.
    """
    from dd_assets.doctor import examine, examine_folder

    if target and not folder:
        raise InputError("--yaml needs --folder", "name the folder of images that the setting is for")
    rows = examine_folder(folder, target) if folder else examine()
    show(rows, ("check", "ok", "detail"), as_json, "Doctor")
    if not all(row["ok"] for row in rows):
        sys.exit(1)


@click.command()
@select_option
@partition_option
@as_json_option
@click.option("--publish", "to_ui", is_flag=True, help="Also report an up_to_date check per partition to the UI.")
def plan(select: str | None, partitions: tuple[str, ...], as_json: bool, to_ui: bool) -> None:
    """What is fresh, missing, stale, pending, blocked or refused, without computing anything.

    Below it: what is being computed in this store at the moment, by whom, and how far that is.
    """
    from dataclasses import asdict

    from dd_assets.planning.plan import Planner
    from dd_assets.planning.underway import all_underway
    from dd_resources.injection import NAMESPACE

    planner = Planner(looking_engine(), NAMESPACE)
    found = [planner.visit(target) for target in targets_of(select, partitions)]
    if as_json:
        show([asdict(row) for row in found], (), True, "Plan")
    else:
        records = [asdict(row) | {"about": _seconds(row), "size": _megabytes(row)} for row in found]
        show(records, ("asset", "partition", "status", "reason", "about", "size"), False, "Plan")
        click.echo(_totals(found))
        for now in all_underway(planner.engine.store):
            click.echo(f"computing {now} ({now.holder})")
    if to_ui:
        from dd_assets.planning.sync import publish

        with dagster_instance() as instance:
            publish(instance, found)


def _seconds(row: Row) -> str | None:
    return None if row.seconds_estimate is None else f"{row.seconds_estimate:.1f} s"


def _megabytes(row: Row) -> str | None:
    return None if row.bytes_estimate is None else f"{row.bytes_estimate / 1e6:.1f} MB"


def _totals(rows: Sequence[Row]) -> str:
    """How many rows have each status, and what those to compute are estimated to cost."""
    from dd_assets.planning.plan import STATUSES, UNMADE

    counts = ", ".join(f"{sum(row.status == status for row in rows)} {status}" for status in STATUSES)
    unmade = [row for row in rows if row.status in UNMADE]
    if not unmade:
        return counts
    known = [row for row in unmade if row.seconds_estimate is not None]
    if not known:
        return f"{counts}; nothing is known yet of what it takes to compute {len(unmade)}"
    seconds, size = (sum(row.seconds_estimate or 0.0 for row in known), sum(row.bytes_estimate or 0 for row in known))
    cost = f"{seconds:.1f} s of one process and {size / 1e6:.1f} MB"
    return f"{counts}; to compute: about {cost}, as far as known ({len(known)} of {len(unmade)})"


@click.command()
@click.argument("asset")
@click.argument("partition")
def explain(asset: str, partition: str) -> None:
    """Why an asset partition is, or is not, up to date, followed through its inputs, and the recipes it is made by."""
    from dd_assets.planning.explain import kept_beside
    from dd_assets.planning.plan import Planner, target_of, with_upstream
    from dd_assets.planning.verify import own_recipes
    from dd_resources.injection import NAMESPACE

    planner = Planner(looking_engine(), NAMESPACE)
    store = planner.engine.store
    for target in with_upstream([target_of(asset, partition)]):
        row = planner.visit(target)
        click.echo(f"{row.status:<8} {row.asset} [{row.partition}]{': ' if row.reason else ''}{row.reason}")
        reference = store.read_reference(NAMESPACE, *target) or planner.found.get(target)
        if reference is not None:
            recipes = own_recipes(store, reference)
            click.echo(f"{'':<8} recipes: {', '.join(f'{key} {digest[:12]}' for key, digest in recipes.items())}")
            for line in kept_beside(store, recipes.values()):
                click.echo(f"{'':<8} {line}")


@click.command()
@as_json_option
@click.option("--html", default=None, help="Also write the HTML page to this file.")
def leaderboard(as_json: bool, html: str | None) -> None:
    """Every score in the store, ranked."""
    show_leaderboard(html, as_json, {})


def show_leaderboard(html: str | None, as_json: bool, origin: dict[Target, str]) -> None:
    """Print the leaderboard, with how each score came about if that is known, and write the page if asked for.

    Raises InputError where the page cannot be written.
    """
    from dd_assets.report.contents import gather
    from dd_assets.report.leaderboard import leaderboard_rows
    from dd_assets.terminal import leaderboard_table
    from dd_assets.units.leaderboard import page
    from dd_resources.injection import NAMESPACE

    if html:
        check_page(html)
    store = opened_store()
    rows = leaderboard_rows(store, NAMESPACE)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif rows:
        leaderboard_table(rows, origin)
    if not rows:
        remedy = "set DD_STORE to the store that has some, or make some with `dd-assets demo`"
        click.echo(f"the store at {store.root} has no scores → {remedy}", err=as_json)
    if html:
        path = Path(html).absolute()
        _write(path, page(store, gather(store, NAMESPACE, rows)))
        click.echo(f"HTML page: {path}", err=as_json)


def check_page(html: str) -> None:
    """Raise InputError where the page cannot be written: told before any work, not after."""
    path = Path(html).absolute()
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b") if path.exists() else tempfile.TemporaryFile(dir=path.parent):
            pass


def _writing(path: Path) -> AbstractContextManager[None]:
    return writing(f"the page cannot be written to {path}", "name a file in a folder that you may write to")


def _write(path: Path, text: str) -> None:
    with _writing(path):
        path.write_text(text, encoding="utf-8")


WORKSPACE = """# Written by `dd-assets ui` at every start.
load_from:
  - python_module:
      module_name: dd_assets.definitions
      working_directory: {folder}
      location_name: dd_assets
"""
"""The checkout's workspace.yaml, which an installation does not have. `dagster dev -m` would do without a file, but the
code location would have another name by it: schedules that somebody turned on would be off."""


def ui_workspace(home: Path) -> Path:
    """The file in the Dagster home that tells `dagster dev` what to load, from where this package was imported."""
    path = home / "ui_workspace.yaml"
    with writing(f"{path} cannot be written", "set DAGSTER_HOME to a folder that can be written"):
        path.write_text(WORKSPACE.format(folder=json.dumps(str(Path(__file__).resolve().parents[2]))), encoding="utf-8")
    return path


@click.command()
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Where to serve it.")
def ui(port: int) -> None:
    """Open the Dagster UI on 127.0.0.1 with this project's instance."""
    home = dagster_home()
    with socket.socket() as tried:
        # As the server will ask, also right after another one ended there.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"port {port} cannot be served on: {reason}", f"dd-assets ui --port {port + 1}") from error
    workspace = ui_workspace(home)
    click.echo(f"http://127.0.0.1:{port}  (DAGSTER_HOME={home})")
    command = [str(Path(sys.executable).parent / "dagster"), "dev", "-h", "127.0.0.1", "-p", str(port)]
    # `dagster dev` says at every start that it is superseded; its successor wants a project of its own layout.
    ignored = "ignore:Function `dev_command` is superseded"
    warnings = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), ignored)))
    os.execve(command[0], [*command, "-w", str(workspace)], {**os.environ, "PYTHONWARNINGS": warnings})


COMMANDS = (methods, datasets, students, doctor, plan, explain, leaderboard, ui)
