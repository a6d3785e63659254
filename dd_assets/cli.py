"""The `dd-assets` command.

Belongs here: options, tables, exit codes. Does not belong: anything a Dagster run or a library user would also need.
Heavy imports happen inside the commands, so that `--help` and listings stay quick.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dd_assets.errors import DDError, UnknownNameError

if TYPE_CHECKING:
    from dd_assets.planning.engine import Engine
    from dd_assets.planning.plan import Target
    from dd_assets.planning.sync import Outcome

DEMO_METHODS = ("noise", "random", "rded", "sre2l")
DEMO_IPC = (1, 10)
DEMO_STUDENT = "convnet2_w64"
REPORT = ".dd/report/leaderboard.html"
INSTANCE = """# Written by dd-assets for a single machine; deploy/dagster.yaml explains each line.
telemetry: {enabled: false}
concurrency: {runs: {max_concurrent_runs: 2}}
run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 30}
"""


class _Refusals(click.Group):
    """Prints a DDError as one line and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DDError as error:
            click.echo(f"dd-assets: {error}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=_Refusals, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Dataset distillation as data assets."""


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
select_option = click.option("--select", help="Assets in Dagster's selection syntax, such as 'group:sre2l'.")
partition_option = click.option(
    "--partition", "partitions", multiple=True, help="A partition such as 'digits|10'; 'digits' means all its cells."
)


def dagster_home() -> Path:
    """DAGSTER_HOME (default .dd/dagster), created with its dagster.yaml if new."""
    home = Path(os.environ.get("DAGSTER_HOME") or ".dd/dagster").absolute()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def _print(records: Sequence[dict[str, Any]], columns: Iterable[str], as_json: bool, title: str) -> None:
    if as_json:
        click.echo(json.dumps(list(records), indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    columns = list(columns)
    for column in columns:
        table.add_column(column)
    for record in records:
        value = (record[column] for column in columns)
        table.add_row(*(", ".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v) for v in value))
    # Cut-off columns are of no use in a pipe or a log: there the table takes the width it needs.
    Console(width=None if Console().is_terminal else 160).print(table)


@main.command()
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
    _print(rows, rows[0], as_json, "Methods")


@main.command()
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
    _print(rows, rows[0], as_json, "Datasets")


@main.command()
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
    _print(rows, rows[0], as_json, "Students")


@main.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """Check the store, the raw data, the device and the instance, without computing anything."""
    from dd_assets.doctor import examine

    rows = examine()
    _print(rows, ("check", "ok", "detail"), as_json, "Doctor")
    if not all(row["ok"] for row in rows):
        sys.exit(1)


def _targets(select: str | None, partitions: Sequence[str]) -> list[Target]:
    """The asset partitions a selection names; raises UnknownNameError for a selection or partition that names none."""
    from dd_assets.planning.graph import Cell
    from dd_assets.planning.plan import all_targets

    targets = all_targets()
    if select:
        chosen = _selected(select)
        targets = [target for target in targets if target[0] in chosen]
    if partitions:
        for partition in partitions:
            Cell.of(partition)
        targets = [t for t in targets if t[1] in partitions or t[1].split("|")[0] in partitions]
    if not targets:
        raise UnknownNameError(f"nothing matches --select {select!r} and --partition {list(partitions)}", "see `plan`")
    return targets


def _selected(select: str) -> set[str]:
    import warnings

    import dagster as dg

    from dd_assets.definitions import defs

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    try:
        keys = dg.AssetSelection.from_string(select).resolve(defs.resolve_asset_graph())
    except Exception as error:
        # Dagster's parser and its resolution raise several unrelated families for a bad selection.
        raise UnknownNameError(
            f"--select {select!r} is not usable: {error}".replace("\n", " "), "see `methods`"
        ) from error
    return {"/".join(key.path) for key in keys}


def _looking_engine() -> Engine:
    """An engine that computes nothing, over the store and data of the environment."""
    from dd_assets.planning.engine import Engine
    from dd_resources.injection import store_root
    from dd_resources.raw_data import RawData
    from dd_resources.store import ArtefactStore

    return Engine(ArtefactStore(store_root()).open(), RawData(os.environ.get("DD_DATA_ROOT", "")), look_only=True)


@main.command()
@select_option
@partition_option
@as_json_option
@click.option("--publish", "to_ui", is_flag=True, help="Also report an up_to_date check per partition to the UI.")
def plan(select: str | None, partitions: tuple[str, ...], as_json: bool, to_ui: bool) -> None:
    """What is fresh, missing, stale, pending or blocked, without computing anything."""
    from dataclasses import asdict

    from dd_assets.planning.plan import Planner
    from dd_resources.injection import NAMESPACE

    planner = Planner(_looking_engine(), NAMESPACE)
    found = [planner.visit(target) for target in _targets(select, partitions)]
    columns = ("asset", "partition", "status", "reason", "seconds_estimate", "bytes_estimate")
    _print([asdict(row) for row in found], columns, as_json, "Plan")
    if to_ui:
        dagster_home()
        import dagster as dg

        from dd_assets.planning.sync import publish

        with dg.DagsterInstance.get() as instance:
            publish(instance, found)


@main.command()
@click.argument("asset")
@click.argument("partition")
def explain(asset: str, partition: str) -> None:
    """Why an asset partition is, or is not, up to date, followed through its inputs."""
    from dd_assets.planning.graph import stage
    from dd_assets.planning.plan import Planner, with_upstream
    from dd_resources.injection import NAMESPACE

    planner = Planner(_looking_engine(), NAMESPACE)
    for target in with_upstream([(stage(asset).asset, partition)]):
        row = planner.visit(target)
        click.echo(f"{row.status:<8} {row.asset} [{row.partition}]{': ' if row.reason else ''}{row.reason}")


@main.command()
@select_option
@partition_option
@click.option("--force", is_flag=True, help="Compute the selected units again; report any that come out different.")
def sync(select: str | None, partitions: tuple[str, ...], force: bool) -> None:
    """Bring asset partitions, and all they read, up to date; what the store holds is not computed again."""
    targets = _targets(select, partitions)
    outcome = _sync(targets, strict=bool(partitions))
    _closing(outcome)
    if force and not _recompute(targets):
        sys.exit(1)


@main.command()
@select_option
@partition_option
def adopt(select: str | None, partitions: tuple[str, ...]) -> None:
    """Record in Dagster what the store already holds, without computing anything."""
    _closing(_sync(_targets(select, partitions), strict=False, adopt_only=True))


@main.command()
@click.argument("asset")
@click.argument("partition")
def verify(asset: str, partition: str) -> None:
    """Recompute every unit of an asset partition in a fresh process and compare; nothing is changed."""
    from dd_assets.planning.graph import Cell, stage

    Cell.of(partition)
    if not _recompute([(stage(asset).asset, partition)]):
        sys.exit(1)


def _recompute(targets: Sequence[Target]) -> bool:
    """Verify every unit of the targets' references; prints one line each, True if all came out the same."""
    from dd_assets.errors import InputError
    from dd_assets.planning.verify import verify as verify_unit
    from dd_resources.injection import NAMESPACE

    engine = _looking_engine()
    same = True
    for asset, partition in targets:
        reference = engine.store.read_reference(NAMESPACE, asset, partition)
        if reference is None:
            raise InputError(f"{asset} [{partition}] was never materialized", "dd-assets sync computes it")
        for key, digest in reference.units.items():
            manifest = engine.store.lookup(digest)
            if manifest is None:
                raise InputError(f"{asset} [{partition}]: {key} is not in the store", "dd-assets sync computes it")
            result = verify_unit(engine.store, engine.raw, manifest)
            same = same and result.same
            word = "same" if result.same else f"DIFFERENT ({'; '.join(result.differs)})"
            click.echo(f"{asset} [{partition}] {key}: {word}, {result.content_new[:12]}, {result.seconds:.1f} s")
    return same


@main.command()
@click.option("--delete", is_flag=True, help="Really remove; without it this is a dry run.")
@click.option("--younger-than", default=14.0, show_default=True, help="Days; anything younger stays.")
def gc(delete: bool, younger_than: float) -> None:
    """List (or remove) what no reference, pin, running computation or recent work needs."""
    from dd_assets.planning.gc import collect

    found = collect(_looking_engine().store, younger_than_days=younger_than, dry_run=not delete)
    for path, size, reason in found:
        click.echo(f"{path} {size} {reason}")
    word = "removed" if delete else "would be removed (--delete removes them)"
    click.echo(f"{len(found)} files, {sum(size for _, size, _ in found) / 1e6:.1f} MB {word}")


def _closing(outcome: Outcome) -> None:
    words = ", ".join(f"{outcome.count(word)} {word}" for word in ("computed", "reused", "adopted", "blocked"))
    words += f", {outcome.count('left')} left" if outcome.count("left") else ""
    click.echo(f"{words}; {outcome.heavy_calls} heavy calls")


def _sync(targets: Sequence[Target], strict: bool, adopt_only: bool = False) -> Outcome:
    dagster_home()
    import dagster as dg

    from dd_assets.assets.shell import present
    from dd_assets.definitions import defs
    from dd_assets.planning.sync import Sync
    from dd_assets.terminal import progress_bars
    from dd_resources.injection import NAMESPACE

    with dg.DagsterInstance.get() as instance, progress_bars() as say:
        job = Sync(_looking_engine(), NAMESPACE, instance, defs, present, say, adopt_only)
        outcome = job.run(targets, strict)
        if not adopt_only:
            job.report()
        return outcome


@main.command()
@click.option("--methods", "chosen", default=",".join(DEMO_METHODS), help="Comma-separated names, or 'all'.")
@click.option("--html", default=REPORT, show_default=True, help="Where the page is written.")
def demo(chosen: str, html: str) -> None:
    """The main job on real digits: distil, relabel, train, rank."""
    from dd_assets.methods.registry import METHODS, method

    names = list(METHODS()) if chosen == "all" else [method(name.strip()).name for name in chosen.split(",")]
    targets = [(f"{name}/score_{DEMO_STUDENT}", f"digits|{ipc}") for ipc in DEMO_IPC for name in names]
    outcome = _sync(targets, strict=True)
    _closing(outcome)
    origin = {target: word for target, word in outcome.lines.items() if target in targets}
    _show_leaderboard(html, False, origin)


@main.command()
@as_json_option
@click.option("--html", default=None, help="Also write the HTML page to this file.")
def leaderboard(as_json: bool, html: str | None) -> None:
    """Every score in the store, ranked."""
    _show_leaderboard(html, as_json, {})


def _show_leaderboard(html: str | None, as_json: bool, origin: dict[Target, str]) -> None:
    from dd_assets.report.leaderboard import leaderboard_rows
    from dd_assets.terminal import leaderboard_table
    from dd_assets.units.leaderboard import page
    from dd_resources.injection import NAMESPACE, store_root
    from dd_resources.store import ArtefactStore

    store = ArtefactStore(store_root()).open()
    rows = leaderboard_rows(store, NAMESPACE)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        leaderboard_table(rows, origin)
    if html:
        path = Path(html).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(store, NAMESPACE, rows), encoding="utf-8")
        click.echo(f"HTML page: {path}", err=as_json)


@main.command()
@click.argument("recipe")
def discard(recipe: str) -> None:
    """Forget one stored result by (the beginning of) its recipe digest, so that it is computed again."""
    from dd_resources.injection import store_root
    from dd_resources.store import ArtefactStore

    store = ArtefactStore(store_root()).open()
    found = [path.rsplit("/", 1)[-1][:-5] for path in store.list(f"manifests/{recipe[:2]}")]
    found = [digest for digest in found if digest.startswith(recipe)]
    if len(found) != 1:
        raise UnknownNameError(f"{len(found)} recipes begin with {recipe!r}", "give more digits of one digest")
    manifest = store.lookup(found[0])
    if manifest is not None:
        store.discard(manifest)
        click.echo(f"discarded {manifest.label or manifest.recipe['unit']} ({found[0][:12]})")


@main.command()
@click.option("--port", default=3000, show_default=True)
def ui(port: int) -> None:
    """Open the Dagster UI on 127.0.0.1 with this project's instance."""
    home = dagster_home()
    workspace = Path(__file__).resolve().parent.parent / "workspace.yaml"
    click.echo(f"http://127.0.0.1:{port}  (DAGSTER_HOME={home})")
    command = [str(Path(sys.executable).parent / "dagster"), "dev", "-h", "127.0.0.1", "-p", str(port)]
    os.execv(command[0], [*command, "-w", str(workspace)])
