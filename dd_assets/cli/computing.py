"""Commands that compute, or change what the store holds: sync, verify, the demo, discarding and collecting.

Belongs here: their options, closing lines and exit codes. Does not belong: listings and statuses (looking.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from dd_assets.cli.common import (
    dagster_instance,
    looking_engine,
    opened_store,
    partition_option,
    reference_of,
    require_executor,
    select_option,
    targets_of,
)
from dd_assets.cli.looking import check_page, show_leaderboard
from dd_assets.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dd_assets.planning.plan import Target
    from dd_assets.planning.sync import Outcome, Sync
    from dd_assets.planning.verify import VerifyResult
    from dd_resources.store import ArtefactStore

DEMO_METHODS = ("noise", "random", "rded", "sre2l")
DEMO_IPC = (1, 10)
DEMO_STUDENT = "convnet2_w64"
REPORT = ".dd/report/leaderboard.html"
WORDS = ("computed", "reused", "adopted", "blocked")
"""What the closing line of a sync always counts; `refused` and `left` only where there are such."""
BEGINNING = re.compile(r"[0-9a-f]{6,64}")
"""As much of a recipe digest as `discard` takes: of fewer digits a typing error could mean another result."""
SHOWN = 5
"""Recipes that `discard` lists of those that begin alike."""


@click.command()
@select_option
@partition_option
@click.option("--force", is_flag=True, help="Compute what was stored again; another result is kept beside the first.")
@click.option("--queue", "queued", is_flag=True, help="Leave the computing to the daemon of a running UI.")
def sync(select: str | None, partitions: tuple[str, ...], force: bool, queued: bool) -> None:
    """Bring asset partitions, and all they read, up to date; what the store holds is not computed again."""
    if force and queued:
        raise InputError("--force and --queue do not go together", "give one of them")
    targets = targets_of(select, partitions)
    if queued:
        _queue(targets, strict=bool(partitions))
        return
    stored = set(opened_store().list("manifests")) if force else set()
    outcome = _sync(targets, strict=bool(partitions))
    _closing(outcome)
    if force:
        _recompute([t for t in targets if outcome.lines.get(t) not in ("blocked", "refused")], stored, keep=True)
    outcome.require_all()


@click.command()
@select_option
@partition_option
def adopt(select: str | None, partitions: tuple[str, ...]) -> None:
    """Record in Dagster what the store already holds, without computing anything."""
    _closing(_sync(targets_of(select, partitions, with_studies=True), strict=False, adopt_only=True))


@click.command()
@click.argument("asset")
@click.argument("partition")
def verify(asset: str, partition: str) -> None:
    """Recompute every unit of an asset partition in a fresh process and compare; nothing is changed."""
    from dd_assets.planning.plan import target_of

    target = target_of(asset, partition)
    require_executor()
    _recompute([target], None, keep=False)


def _recompute(targets: Sequence[Target], only: set[str] | None, keep: bool) -> None:
    """Verify the units of the targets, each once, with one line each; with `keep` other results are stored too.

    only: paths of the manifests that count, None for all. Raises DifferentResultError at the end.
    """
    from dd_assets.planning.verify import DifferentResultError, own_recipes
    from dd_assets.planning.verify import verify as verify_unit
    from dd_resources.store import manifest_path

    engine = looking_engine()
    done: dict[str, VerifyResult] = {}
    for asset, partition in targets:
        for key, digest in own_recipes(engine.store, reference_of(engine.store, (asset, partition))).items():
            manifest = engine.store.lookup(digest)
            if manifest is None:
                raise InputError(f"{asset} [{partition}]: {key} is not in the store", "dd-assets sync computes it")
            if digest in done or (only is not None and manifest_path(digest) not in only):
                continue
            result = done[digest] = verify_unit(engine.store, engine.raw, manifest, keep=keep)
            click.echo(
                f"{asset} [{partition}] {key}: {_finding(result)}, {result.seconds:.1f} s (recipe {digest[:12]})"
            )
    different = [digest for digest, result in done.items() if not result.same]
    if different:
        kept = "both are kept, the first stays in use" if keep else "nothing was changed"
        raise DifferentResultError(
            f"{len(different)} of {len(done)} units gave another result; {kept}",
            f"`dd-assets discard {different[0][:12]}`, then sync, replaces the first",
        )


def _finding(result: VerifyResult) -> str:
    """What came of a recomputation, in one line."""
    if result.same:
        return f"same, {result.content_new[:12]}"
    causes = f" ({'; '.join(result.differs)})" if result.differs else ""
    return (
        f"DIFFERENT{causes}, stored {result.content_old[:12]} by {_where(result.then)},"
        f" now {result.content_new[:12]} by {_where(result.now)}"
    )


def _where(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or "an unknown environment"


@click.command()
@click.option("--delete", is_flag=True, help="Really remove; without it this is a dry run.")
@click.option(
    "--younger-than",
    default=14.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Days; anything younger stays.",
)
def gc(delete: bool, younger_than: float) -> None:
    """List (or remove) what no reference, running computation or recent work needs.

    What Python code has pinned (`dd_assets.planning.gc.pin`) stays as well.
    """
    from dd_assets.planning.gc import collect

    found = collect(opened_store(), younger_than_days=younger_than, dry_run=not delete)
    for path, size, reason in found:
        click.echo(f"{path} {size} {reason}")
    word = "removed" if delete else "would be removed (--delete removes them)"
    click.echo(f"{len(found)} files, {sum(size for _, size, _ in found) / 1e6:.1f} MB {word}")


@click.command()
@click.argument("recipes", nargs=-1, required=True)
def discard(recipes: tuple[str, ...]) -> None:
    """Forget stored results by (the beginning of) their recipe digests, so that they are computed again."""
    from dd_assets.planning.checkpoints import StoreCheckpoints, area_of

    store = opened_store()
    # All are found before the first goes.
    for digest in dict.fromkeys([_stored_recipe(store, recipe) for recipe in recipes]):
        manifest = store.lookup(digest)
        if manifest is not None:
            store.discard(manifest)
            StoreCheckpoints(store, area_of(manifest.recipe)).clear()
            click.echo(f"discarded {manifest.label or manifest.recipe['unit']} ({digest[:12]})")


def _stored_recipe(store: ArtefactStore, beginning: str) -> str:
    """The one recipe digest in the store that begins so; raises UnknownNameError."""
    if not BEGINNING.fullmatch(beginning):
        raise UnknownNameError(
            f"{beginning!r} is not the beginning of a recipe digest", "give 6 to 64 of its digits, 0 to 9 and a to f"
        )
    stored = (path.rsplit("/", 1)[-1].removesuffix(".json") for path in store.list(f"manifests/{beginning[:2]}"))
    found = [digest for digest in stored if digest.startswith(beginning)]
    if not found:
        raise UnknownNameError(
            f"no recipe in the store at {store.root} begins with {beginning!r}",
            "`dd-assets explain ASSET PARTITION` and `verify` show recipes",
        )
    if len(found) > 1:
        shown = ", ".join(digest[:16] for digest in found[:SHOWN])
        raise UnknownNameError(f"{len(found)} recipes begin with {beginning!r}: {shown}", "give more digits of one")
    return found[0]


@click.command()
@click.option(
    "--methods",
    "chosen",
    default=",".join(DEMO_METHODS),
    help="Comma-separated names; all; variants: all, and ablations.",
)
@click.option("--html", default=REPORT, show_default=True, help="Where the page is written.")
def demo(chosen: str, html: str) -> None:
    """The main job on real digits: distil, relabel, train, rank."""
    names = _demo_methods(chosen)
    check_page(html)
    targets = [(f"{name}/score_{DEMO_STUDENT}", f"digits|{ipc}") for ipc in DEMO_IPC for name in names]
    outcome = _sync(targets, strict=True)
    _closing(outcome)
    origin = {target: word for target, word in outcome.lines.items() if target in targets}
    show_leaderboard(html, False, origin)
    outcome.require_all()


def _demo_methods(chosen: str) -> list[str]:
    """Names of methods from `--methods`; raises UnknownNameError."""
    from dd_assets.methods.registry import METHODS, method

    if chosen in ("all", "variants"):
        return [name for name, entry in METHODS().items() if chosen == "variants" or not entry.is_ablation]
    return [method(name.strip()).name for name in chosen.split(",")]


@contextmanager
def syncing(adopt_only: bool = False, quiet: bool = False) -> Iterator[Sync]:
    """A sync over the environment's store and Dagster instance, with runs that died before marked as failed.

    quiet: standard output is JSON, so there are no bars, and lines go to standard error.
    """
    from dd_assets.assets.shell import present
    from dd_assets.definitions import defs
    from dd_assets.planning.engine import Engine
    from dd_assets.planning.runs import mark_dead_runs
    from dd_assets.planning.sync import Sync
    from dd_assets.terminal import progress_bars
    from dd_resources.injection import NAMESPACE, default_compute

    # The bars print lines of their own, too, for what takes long where there is no terminal.
    with dagster_instance() as instance, nullcontext(_to_standard_error) if quiet else progress_bars() as say:
        for run in mark_dead_runs(instance):
            say(f"run {run[:8]} had died; it is marked as failed")
        looking = looking_engine()
        together = Engine(looking.store, looking.raw, default_compute().get(), announce=_when_waiting(say))
        yield Sync(looking, NAMESPACE, instance, defs, present, say, adopt_only, together)


def _to_standard_error(line: str) -> None:
    click.echo(line, err=True)


def _when_waiting(say: Callable[[str], None]) -> Callable[[str], None]:
    """Of what an engine announces only waiting: the bars show how far units are, and each that is finished."""

    def announce(line: str) -> None:
        if line.startswith(("waiting for", "taking over")):
            say(line)

    return announce


def _sync(targets: Sequence[Target], strict: bool, adopt_only: bool = False) -> Outcome:
    with syncing(adopt_only) as job:
        outcome = job.run(targets, strict)
        if not adopt_only:
            job.report()
        return outcome


def _queue(targets: Sequence[Target], strict: bool) -> None:
    """Adopt what the store holds, and submit the rest but for what is refused, which ends it as it ends a sync."""
    from dd_assets.planning.runs import require_daemon, submit

    with syncing(adopt_only=True) as job:
        require_daemon(job.instance)
        outcome = job.run(targets, strict)
        left = [target for target, word in outcome.lines.items() if word == "left"]
        backfill = submit(job.instance, job.definitions, left) if left else "none"
    _closing(outcome)
    click.echo(f"{len(left)} queued, backfill {backfill}")
    outcome.require_all()


def _closing(outcome: Outcome) -> None:
    words = ", ".join(f"{outcome.count(word)} {word}" for word in WORDS)
    words += "".join(f", {outcome.count(word)} {word}" for word in ("refused", "left") if outcome.count(word))
    click.echo(f"{words}; {outcome.heavy_calls} heavy calls")


COMMANDS = (sync, adopt, verify, gc, discard, demo)
