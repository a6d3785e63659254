"""Commands for those who take results elsewhere or bring something of their own.

Belongs here: their options. Does not belong: what an export or a new package holds (dd_assets/sharing).
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from dd_assets.cli.common import as_json_option, partition_option, select_option, show, targets_of
from dd_assets.errors import InputError
from dd_assets.yaml_files import parsed

SHOWN = 5
"""Asset partitions that `transfer` names of those it kept."""


@click.command()
@click.argument("method")
@click.argument("dataset")
@click.argument("ipc", type=int)
@click.argument("folder")
@click.option("--student", help="Whose training gives labels and accuracy; the setting's first by default.")
@click.option(
    "--label", type=click.Choice(["soft", "hard"]), default="soft", show_default=True, help="Of the scored training."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the training; seed n uses draw n, if drawn.")
@click.option("--format", "layout", default="parquet", show_default=True, help="parquet or imagefolder.")
@click.option("--test", "with_test", is_flag=True, help="Add the real test split as test.parquet.")
def export(
    method: str,
    dataset: str,
    ipc: int,
    folder: str,
    student: str | None,
    label: str,
    seed: int,
    layout: str,
    with_test: bool,
) -> None:
    """Write a distilled set as plain files: images, soft labels, a dataset card, an example that trains from them."""
    from dd_assets.methods.registry import method as known_method
    from dd_assets.planning.cells import Cell
    from dd_assets.sharing.export import export as write
    from dd_assets.sharing.export import require_writable

    known_method(method)
    chosen = Cell.of(f"{dataset}|{ipc}").setting
    require_writable(folder, layout)
    # Only now: these take seconds to import.
    from dd_assets.sharing.library import Library
    from dd_resources.raw_data import RawData

    library = Library()
    training = library.training(method, dataset, ipc, student or chosen.students[0], label=label, seed=seed)
    test = None
    if with_test:
        _, test = RawData(os.environ.get("DD_DATA_ROOT", "")).load(dataset, training.dataset.content)
    names = write(library, training, folder, layout, test)
    click.echo(f"{folder}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}")


@click.command()
@click.argument("destination")
@select_option
@partition_option
@click.option("--from", "origin", help="The store to copy from; DD_STORE's by default.")
@click.option(
    "--replace", is_flag=True, help="Also where the destination has results of other recipes, which gc may then remove."
)
def transfer(
    destination: str, select: str | None, partitions: tuple[str, ...], origin: str | None, replace: bool
) -> None:
    """Copy results, with all they were made from, into another store (a folder or an s3:// URL).

    An asset partition that has results of another recipe there keeps them.
    """
    from dd_assets.planning.transfer import references_behind
    from dd_assets.planning.transfer import transfer as copy
    from dd_resources.injection import NAMESPACE, store_root
    from dd_resources.store import ArtefactStore

    source, target = ArtefactStore(origin or store_root()).open(create=False), ArtefactStore(destination)
    if source.root == target.root:
        raise InputError(f"{destination} is the store to copy from", "name another one")
    references = references_behind(source, NAMESPACE, targets_of(select, partitions, with_studies=True))
    if not references:
        raise InputError(f"store {source.root} holds none of the selected asset partitions", "see `dd-assets plan`")
    done = copy(source, target.open(), references, NAMESPACE, lambda line: click.echo(f"copied  {line}"), replace)
    click.echo(
        f"{done.references} asset partitions: {done.units} units copied ({done.bytes / 1e6:.1f} MB),"
        f" {done.already} were there"
    )
    if done.kept:
        named = ", ".join(f"{asset} [{partition}]" for asset, partition in done.kept[:SHOWN])
        more = f" and {len(done.kept) - SHOWN} more" if len(done.kept) > SHOWN else ""
        click.echo(
            f"{len(done.kept)} kept as they are there, of other recipes: {named}{more} → --replace takes the source's"
        )


@click.command("new-method")
@click.argument("name")
@click.argument("folder")
def new_method(name: str, folder: str) -> None:
    """Write a package with a small working method to start from."""
    from dd_assets.sharing.scaffold import new_method as write

    click.echo(f"{folder}: {', '.join(write(name, folder))}")
    click.echo(f"next: pip install -e {folder} && dd-assets check-method {name}")


@click.command("check-method")
@click.argument("name")
@click.option(
    "--set", "overrides", multiple=True, help="A parameter for this check, such as iterations=5. May be repeated."
)
@as_json_option
def check_method(name: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Whether a method keeps the contract: shapes, order, seeds, shards, resume. Exits 1 if it does not."""
    import dataclasses

    from dd_assets.methods.checking import check_method as check
    from dd_assets.methods.registry import method

    found = check(method(name), dict(_assignment(text) for text in overrides))
    rows = [dataclasses.asdict(finding) for finding in found]
    show(rows, rows[0], as_json, f"Contract of {name}")
    if not all(finding.passed for finding in found):
        sys.exit(1)


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text} assigns nothing", "write it as name=value")
    return name, parsed(value, f"--set {text} is not valid YAML", "write a number, a word or [a, list]")


COMMANDS = (export, transfer, new_method, check_method)
