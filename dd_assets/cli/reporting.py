"""Commands that judge stored results: compare, report.

Belongs here: their options and what is printed. Does not belong: the arithmetic and the pages (dd_assets/report).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dd_assets.cli.common import as_json_option, opened_store, require_executor, show
from dd_assets.errors import DDError, UnknownNameError

if TYPE_CHECKING:
    from dd_assets.report.comparison import Against, Comparison, Contest, Standing

COLUMNS = ("#", "ranks", "method", "accuracy %", "to the best", "over random", "draw", "seed", "images", "rest")


@click.command()
@click.option("--partition", required=True, help="Required. Such as 'digits|10'; 'digits' means all its cells.")
@click.option("--student", help="One student network; all that were scored by default.")
@click.option("--label", help="One label mode, such as soft or hard; all by default.")
@as_json_option
def compare(partition: str, student: str | None, label: str | None, as_json: bool) -> None:
    """Which method wins, by how much more than noise, and whether it beats random images with soft labels."""
    from dd_assets.planning.graph import Cell
    from dd_assets.report import comparison
    from dd_assets.report.scores import contests
    from dd_resources.injection import NAMESPACE

    Cell.of(partition)
    found = contests(opened_store(), NAMESPACE, partition)
    chosen = _chosen(_chosen(found, "student", student), "label", label)
    results = [comparison.compare(contest) for contest in chosen]
    if as_json:
        click.echo(json.dumps([result.to_json() for result in results], indent=1))
        return
    for result in results:
        _print(result)


def _chosen(found: list[Contest], field: str, value: str | None) -> list[Contest]:
    """The contests with that student or label; raises UnknownNameError naming those there are."""
    if value is None:
        return found
    kept = [contest for contest in found if getattr(contest, field) == value]
    if not kept:
        raise UnknownNameError.of(f"{field} with scores here", value, {getattr(contest, field) for contest in found})
    return kept


def _print(result: Comparison) -> None:
    from dd_assets.report.statistics import MIN_PAIRS

    click.echo(f"\n{result.contest.title}")
    for sentence in result.words:
        click.echo(sentence)
    show([_record(entry) for entry in result.standings], COLUMNS, False, "")
    click.echo(
        "Points of accuracy. In brackets: 95 % interval, then Holm's adjusted p; *: beyond noise, with\n"
        f"{MIN_PAIRS} runs or more. Draw, seed, images, rest: standard deviation of one run's accuracy due to\n"
        "each; with one seed per draw, seed holds both."
    )


def _record(entry: Standing) -> dict[str, Any]:
    spread = "" if entry.deviation is None else f" ± {100 * entry.deviation:.1f}"
    parts = entry.split.deviations()
    return {
        "#": entry.rank,
        "ranks": f"{entry.ranks[0]}-{entry.ranks[1]}" if entry.ranked else "–",
        "method": entry.method,
        "accuracy %": f"{100 * entry.accuracy:.1f}{spread}",
        "to the best": _gap(entry.against_best, -1),
        "over random": _gap(entry.against_random, 1),
        **{name: _points(parts[key]) for name, key in zip(COLUMNS[6:], parts, strict=True)},
    }


def _gap(against: Against | None, sign: int) -> str:
    """A difference in points; sign -1 turns it round."""
    if against is None:
        return "–"
    contrast = against.contrast
    text = f"{100 * sign * contrast.difference:+z.1f}"
    if contrast.low is None or contrast.high is None:
        return text
    ends = sorted(100 * sign * end for end in (contrast.low, contrast.high))
    mark = " *" if against.separable else ""
    return f"{text} ({ends[0]:+z.1f} to {ends[1]:+z.1f}, p {against.adjusted:.2g}){mark}"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--embedding/--no-embedding", default=True, help="Bring the t-SNE of all image sets up to date first.")
def report(folder: Path, embedding: bool) -> None:
    """Write the whole report, HTML, Markdown and CSV, to a folder; index.html opens from disk, without a network."""
    from dd_assets.report.leaderboard import score_references
    from dd_assets.report.site import check_writable, write_site
    from dd_resources.injection import NAMESPACE

    if embedding:
        require_executor()
    check_writable(folder)
    if embedding:
        _embed()
    store = opened_store()
    written = write_site(store, NAMESPACE, folder)
    if next(score_references(store, NAMESPACE), None) is None:
        click.echo(f"no score in store {store.root}, so its tables are empty → run `dd-assets sync`, or check DD_STORE")
    click.echo(f"{len(written)} files, {sum(path.stat().st_size for path in written) / 1e6:.1f} MB")
    click.echo(f"HTML page: {(folder / 'index.html').absolute()}")


def _embed() -> None:
    """Compute embeddings that are missing; where that cannot be (no raw data here) the report does without."""
    from dd_assets.planning.engine import Engine
    from dd_assets.units.embedding import refresh
    from dd_resources.injection import NAMESPACE, default_compute
    from dd_resources.raw_data import RawData

    try:
        raw = RawData(os.environ.get("DD_DATA_ROOT", ""))
        refresh(Engine(opened_store(), raw, default_compute().get()), NAMESPACE)
    except DDError as error:
        click.echo(f"no new embedding: {error}", err=True)


COMMANDS = (compare, report)
