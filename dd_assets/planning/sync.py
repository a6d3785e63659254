"""Bringing asset partitions up to date in this process, as real Dagster runs.

Belongs here: deciding what to run, adopting what the store already holds, reporting. Does not belong: statuses
(plan.py), the order of partitions (turns.py), reading the events of a failed run (run_failures.py), computations.

What is complete in the store needs no run: if Dagster's log knows it, it is reused; if not (a fresh instance), it is
adopted by a runless materialization with the metadata that a run would have shown. The rest runs through the job of its
partition space, one run per job and partition.

A refusal (errors.REFUSALS) is wrong with one asset partition alone: what does not read it goes on. Any other error ends
the pass at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG

from dd_assets.errors import REFUSALS, DDError, InputError
from dd_assets.planning.ahead import compute_ahead, worthwhile
from dd_assets.planning.engine import Engine
from dd_assets.planning.graph import Cell, stages
from dd_assets.planning.plan import Planner, Row, Target, input_target, with_upstream
from dd_assets.planning.run_failures import failures, is_refusal
from dd_assets.planning.runless import CheckReports
from dd_assets.planning.runs import process_tags
from dd_assets.planning.turns import PHASES, groups, job_name, phase_of
from dd_assets.planning.unit import Reference
from dd_assets.units.kinds import kind_of

_LOGGER = logging.getLogger(__name__)
Say = Callable[[str], None]
Present = Callable[[Cell, Engine, Reference], dg.MaterializeResult]
UP_TO_DATE = "up_to_date"
"""The check that every asset carries and `plan --publish` reports."""

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's event lines stay out of the terminal; the instance keeps them all."""


MOST_NAMED = 8
"""Asset partitions that the closing error lists of each kind."""


class LeftOutError(DDError):
    """Part of what a sync was asked for was refused, or reads what was; the rest is done."""


@dataclass
class Outcome:
    """What a sync did, or what it would have had to compute."""

    asked: Sequence[Target] = ()
    """The targets, without what they read."""
    lines: dict[Target, str] = field(default_factory=dict)
    """Target to computed, reused, adopted, blocked, refused, or left (to be computed, when only adopting)."""
    heavy_calls: int = 0
    """Units computed."""
    left_out: LeftOutError | None = None
    """What of `asked` was refused, or reads what was; None where nothing is."""

    def require_all(self) -> None:
        """Raise what `left_out` says, if anything."""
        if self.left_out is not None:
            raise self.left_out

    def count(self, word: str) -> int:
        """How many asset partitions ended that way."""
        return sum(value == word for value in self.lines.values())


@dataclass
class Sync:
    """One pass over targets against a store, a Dagster instance and a set of definitions."""

    engine: Engine
    namespace: str
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    present: Present
    """Metadata and checks of a resolved partition, as its asset would show them (assets/shell.py)."""
    say: Say = print
    adopt_only: bool = False
    """Adopt what the store holds and compute nothing."""
    together: Engine | None = None
    """Computes what several assets want side by side, before their runs (ahead.py); None leaves it to the runs."""
    _versions: dict[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    """Asset to partition to the tags of its latest materialization, read once per asset: one by one costs 4 ms each."""
    _checks: CheckReports = field(init=False)

    def __post_init__(self) -> None:
        self._checks = CheckReports(self.instance)

    def run(self, targets: Sequence[Target], strict: bool = False) -> Outcome:
        """Bring targets and all they read up to date; blocked ones are skipped.

        strict: raise InputError where that leaves nothing of what was asked for, and for any blocked partition where
        all are of one asset, which somebody named.

        Goes on after a refusal with what does not read the refused partition, and names both in `left_out`. Raises
        the refusal itself where everything asked for reads it, and at once what else ends a run (RunFailedError).
        """
        planner = Planner(self.engine, self.namespace)
        outcome = Outcome(targets)
        self._versions.clear()
        ordered = with_upstream(targets)
        for number in range(len(PHASES) + 1):
            # Datasets first: with the class counts known, a cell that cannot apply is refused before a teacher trains.
            if number == 1:
                self._refuse_blocked(planner, targets, outcome, strict)
            turns = groups([t for t in ordered if phase_of(t) == number and t not in outcome.lines])
            for start in range(0, len(turns), self._breadth()):
                some = turns[start : start + self._breadth()]
                unmade = self._compute_ahead(planner, [target for group in some for target in group])
                for group in some:
                    self._run_group(planner, group, outcome, unmade)
        rest = "adopted, or left to be computed" if self.adopt_only else "done"
        outcome.left_out = _left_out(planner, outcome, rest)
        return outcome

    def _breadth(self) -> int:
        """Groups whose units are computed side by side before the first of them runs: enough to keep workers busy."""
        return 2 * self.together.compute.resolved_workers() if self.together and worthwhile(self.together) else 1

    def _compute_ahead(self, planner: Planner, targets: Sequence[Target]) -> set[Target]:
        """Compute what these targets lack, as far as that goes; the targets that lacked something."""
        if self.together is None or self.adopt_only or not worthwhile(self.together):
            return set()
        unmade: set[Target] = set()
        try:
            for target in targets:
                planner.visit(target)
            unmade = {target for target in targets if target not in planner.found and target not in planner.refusals}
            if len(unmade) > 1:
                compute_ahead(planner, self.together, [target for target in targets if target in unmade])
        except Exception:
            # The run of the asset that it belongs to meets it again, and has it in its log.
            _LOGGER.debug("computing ahead ended", exc_info=True)
        planner.forget(unmade)
        return unmade

    def report(self) -> None:
        """Materialize the leaderboard if its inputs changed."""
        from dd_assets.units import leaderboard

        unit = leaderboard.plan(self.engine.store, self.namespace)
        known = self.engine.store.lookup(unit.digest)
        if known is not None and recorded_version(self.instance, "leaderboard", "") == known.content:
            return
        result = self.definitions.resolve_job_def("report_job").execute_in_process(
            instance=self.instance, raise_on_error=False, run_config=QUIET, tags=process_tags()
        )
        if not result.success:
            raise next(iter(failures(result).values()))

    def _refuse_blocked(self, planner: Planner, targets: Sequence[Target], outcome: Outcome, strict: bool) -> None:
        needed = with_upstream(targets)
        reasons = planner.blocked_reasons(needed)
        blocked = [target for target in targets if reasons[target]]
        # A group or a whole partition holds what its setting has no use for, such as the students of other settings.
        one_asset = len({asset for asset, _ in targets}) == 1
        if strict and blocked and (one_asset or len(blocked) == len(targets)):
            (asset, partition), more = blocked[0], len(blocked) - 1
            raise InputError(
                f"{asset} [{partition}] is blocked: {reasons[blocked[0]]}{f' (and {more} more)' if more else ''}",
                "choose another IPC, method or student",
            )
        for target, reason in reasons.items():
            if not reason:
                self._examine(planner, target, outcome)
                continue
            outcome.lines[target] = "blocked"
            self.say(f"blocked   {target[0]} [{target[1]}]: {reason}")

    def _examine(self, planner: Planner, target: Target, outcome: Outcome) -> None:
        """Refuse a target whose files from elsewhere are not there."""
        try:
            stages()[target[0]].examine(Cell.of(target[1]), self.engine.raw)
        except REFUSALS as error:
            planner.refuse(target, error)
            self._refuse(planner, target, outcome)

    def _run_group(self, planner: Planner, group: Sequence[Target], outcome: Outcome, unmade: set[Target]) -> None:
        for target in group:
            planner.visit(target)
        # What was computed ahead has its run all the same: there its checks and its lineage are recorded.
        unresolved = [target for target in group if target in unmade or target not in planner.found]
        for target in group:
            if target not in unresolved:
                self._adopt_or_reuse(target, planner.found[target], outcome)
                self._refuse(planner, target, outcome)
        if self.adopt_only:
            for target in unresolved:
                if not self._refuse(planner, target, outcome):
                    # Counted, not said: there may be thousands.
                    outcome.lines[target] = "left"
            return
        # What was stored with a failed verdict while it was computed ahead has its run, which logs it.
        begun = [t for t in unresolved if t in planner.found or not self._refuse(planner, t, outcome)]
        if not begun:
            return
        refused = self._execute(begun, outcome)
        planner.forget(begun)
        for target, error in refused.items():
            planner.refuse(target, error)
        for target in begun:
            planner.visit(target)
            if not self._refuse(planner, target, outcome):
                self._line(outcome, target, self._origin(target))

    def _refuse(self, planner: Planner, target: Target, outcome: Outcome) -> bool:
        """Whether a target is refused; if so that is its line, said with the reason unless something it reads is.

        Raises the refusal where all that was asked for reads the target, as there is nothing to go on with.
        """
        if target not in planner.refusals:
            return False
        outcome.lines[target] = "refused"
        if _reads_refused(planner, target):
            # Counted, not said: there may be thousands.
            return True
        if not self.adopt_only and all(target in with_upstream([asked]) for asked in outcome.asked):
            raise planner.refusals[target]
        self.say(f"refused   {target[0]} [{target[1]}]: {planner.rows[target].reason}")
        return True

    def _origin(self, target: Target) -> str:
        """How the run that just ended came by a partition, as it recorded itself: computed or reused."""
        entry = _latest(self.instance, *target)
        value = entry.metadata.get("origin") if entry is not None else None
        return str(value.value) if value is not None else "computed"

    def _line(self, outcome: Outcome, target: Target, word: str) -> None:
        outcome.lines[target] = word
        self.say(f"{word:<9} {target[0]} [{target[1]}]")

    def _adopt_or_reuse(self, target: Target, reference: Reference, outcome: Outcome) -> None:
        if self._recorded(target) == reference.content:
            self.engine.store.write_reference(self.namespace, reference)
            self._line(outcome, target, "reused")
            return
        self._adopt(reference)
        self._line(outcome, target, "adopted")

    def _recorded(self, target: Target) -> str | None:
        """The data version that Dagster's log held when its asset was first asked for in this pass."""
        asset, partition = target
        if asset not in self._versions:
            self._versions[asset] = self.instance.event_log_storage.get_latest_tags_by_partition(
                dg.AssetKey(asset.split("/")), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
            )
        return self._versions[asset].get(partition, {}).get(DATA_VERSION_TAG)

    def _adopt(self, reference: Reference) -> None:
        """Record a complete partition in Dagster's log without a run, with its metadata and check results."""
        result = self.present(Cell.of(reference.partition), self.engine, reference)
        self.engine.store.write_reference(self.namespace, reference)
        key = dg.AssetKey(reference.asset.split("/"))
        version = str(kind_of(stages()[reference.asset].unit_kind).version)
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=key,
                partition=reference.partition,
                metadata={**(result.metadata or {}), "origin": "adopted"},
                tags={DATA_VERSION_TAG: reference.content, CODE_VERSION_TAG: version, "dd/origin": "adopted"},
            )
        )
        for check in result.check_results or ():
            self._checks.report(
                dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=check.check_name or "",
                    passed=check.passed,
                    metadata=check.metadata,
                    severity=check.severity,
                    description=check.description,
                    partition=reference.partition,
                )
            )

    def _execute(self, targets: Sequence[Target], outcome: Outcome) -> dict[Target, DDError]:
        """Run these targets; those that were refused, with why. Raises at once what else failed."""
        partition = targets[0][1]
        job = self.definitions.resolve_job_def(job_name(targets[0]))
        result = job.execute_in_process(
            partition_key=partition,
            asset_selection=[dg.AssetKey(asset.split("/")) for asset, _ in targets],
            instance=self.instance,
            raise_on_error=False,
            run_config=QUIET,
            tags=process_tags(),
        )
        for event in result.get_asset_materialization_events():
            value = event.materialization.metadata.get("units_computed")
            outcome.heavy_calls += int(value.value) if value is not None else 0  # type: ignore[arg-type]
        found = {} if result.success else failures(result)
        for asset, error in found.items():
            if not asset or not is_refusal(error):
                raise error
        return {(asset, partition): error for asset, error in found.items()}


def _reads_refused(planner: Planner, target: Target) -> bool:
    cell = Cell.of(target[1])
    return any(input_target(name, cell) in planner.refusals for name in stages()[target[0]].reads(cell))


def _left_out(planner: Planner, outcome: Outcome, rest: str) -> LeftOutError | None:
    """The error that names what was refused, and what of the asked for was left out because of it.

    rest: what all else is now.
    """
    refused = [target for target, word in outcome.lines.items() if word == "refused"]
    causes = [target for target in refused if not _reads_refused(planner, target)]
    left = [target for target in outcome.asked if target in refused and target not in causes]
    if not causes:
        return None
    because = f"; left out because of it: {_some(left)}" if left else ""
    return LeftOutError(
        f"refused: {_some(causes)}{because}", f"the lines that begin with `refused` say why; everything else is {rest}"
    )


def _some(targets: Sequence[Target]) -> str:
    names = ", ".join(f"{asset} [{partition}]" for asset, partition in targets[:MOST_NAMED])
    return names + (f" and {len(targets) - MOST_NAMED} more" if len(targets) > MOST_NAMED else "")


def _latest(instance: dg.DagsterInstance, asset: str, partition: str) -> dg.AssetMaterialization | None:
    key = dg.AssetKey(asset.split("/"))
    chosen = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None)
    records = instance.fetch_materializations(chosen, limit=1).records
    return records[0].asset_materialization if records else None


def recorded_version(instance: dg.DagsterInstance, asset: str, partition: str) -> str | None:
    """The data version in Dagster's log for an asset partition, or None."""
    entry = _latest(instance, asset, partition)
    return None if entry is None else (entry.tags or {}).get(DATA_VERSION_TAG)


def publish(instance: dg.DagsterInstance, rows: Sequence[Row]) -> None:
    """Report an `up_to_date` check per asset partition, with the plan's reason, so that the UI shows what is stale."""
    reports = CheckReports(instance)
    for row in rows:
        reports.report(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(row.asset.split("/")),
                check_name=UP_TO_DATE,
                passed=row.status == "fresh",
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{row.status}: {row.reason}" if row.reason else row.status,
                partition=row.partition,
            )
        )
