"""What the scores of one partition say: who wins, by how much more than noise, and against random images.

Belongs here: which comparisons are made, and their words. Does not belong: the arithmetic (statistics.py,
variance.py), reading bits (scores.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dd_assets.report.statistics import (
    MIN_PAIRS,
    REPLICATES,
    Bootstrap,
    Contrast,
    Runs,
    holm,
    rank_interval,
    separable,
)
from dd_assets.report.variance import Split, split

CONTROL = "random"
"""The method that every other must beat to be worth its seconds."""
CONTROL_SOFT = "random + soft labels"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Methods that were scored alike: same dataset, IPC, student, label mode and protocol."""

    dataset: str
    ipc: int
    student: str
    label: str
    runs: Mapping[str, Runs]
    soft_control: Runs | None = None
    """Random images with soft labels, where this contest is about other labels."""

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.dataset}|{self.ipc} · {self.student} · {self.label} labels"


@dataclass(frozen=True, kw_only=True)
class Against:
    """One method compared with a fixed other one."""

    contrast: Contrast
    adjusted: float
    """The p-value after Holm's correction over the methods so compared."""

    @property
    def separable(self) -> bool:
        """Whether the difference is beyond noise."""
        return separable(self.contrast, self.adjusted)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One method's place."""

    method: str
    accuracy: float
    deviation: float | None
    """Standard deviation over runs."""
    runs: int
    draws: int
    rank: int
    ranks: tuple[int, int]
    """Ranks that 95 % of such intervals hold."""
    ranked: bool
    """Whether `ranks` says anything: runs enough to compare it with another method, or no other method."""
    split: Split
    against_best: Against | None
    """How much the winner is better; None for the winner."""
    against_random: Against | None
    """How much it is better than random images under the same labels; None for those."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All standings of a contest, best first, and the verdict."""

    contest: Contest
    standings: tuple[Standing, ...]
    against_soft_random: Against | None
    """The winner against random images with soft labels; None where that is one of the contest's own methods."""
    words: tuple[str, ...]
    """The verdict as sentences."""

    def to_json(self) -> dict[str, Any]:
        """Every figure, without the bits."""
        keys = {name: getattr(self.contest, name) for name in ("dataset", "ipc", "student", "label")}
        rows = [
            {
                **asdict(entry),
                "ranks": entry.ranks if entry.ranked else None,
                "deviations": entry.split.deviations(),
                "shares": entry.split.shares(),
            }
            for entry in self.standings
        ]
        soft = None if self.against_soft_random is None else asdict(self.against_soft_random)
        return {**keys, "verdict": list(self.words), "standings": rows, "against_soft_random": soft}


def compare(contest: Contest, replicates: int = REPLICATES) -> Comparison:
    """Compare every method with the winner and with random images, each with Holm's correction over the methods."""
    order = sorted(contest.runs, key=lambda name: (-contest.runs[name].accuracy, name))
    best = order[0]
    taking_part = {**contest.runs, **({CONTROL_SOFT: contest.soft_control} if contest.soft_control else {})}
    bootstrap = Bootstrap(taking_part, replicates)
    pairs = _contrasts(bootstrap, order)
    of_best = _against({name: pairs[best, name] for name in order[1:]})
    of_random = _against({n: pairs[n, CONTROL] for n in order if n != CONTROL}) if CONTROL in order else {}
    soft = None
    if contest.soft_control is not None:
        found = bootstrap.contrast(best, CONTROL_SOFT)
        soft = Against(contrast=found, adjusted=found.p)
    standings = tuple(
        Standing(
            method=name,
            accuracy=contest.runs[name].accuracy,
            deviation=_deviation(contest.runs[name]),
            runs=len(contest.runs[name].seeds),
            draws=len(set(contest.runs[name].draws)),
            rank=1 + sum(contest.runs[other].accuracy > contest.runs[name].accuracy for other in order),
            ranks=rank_interval(name, {other: pairs[name, other] for other in order if other != name}),
            ranked=len(order) == 1 or any(pairs[name, other].enough for other in order if other != name),
            split=split(contest.runs[name]),
            against_best=of_best.get(name),
            against_random=of_random.get(name),
        )
        for name in order
    )
    return Comparison(
        contest=contest, standings=standings, against_soft_random=soft, words=_words(contest, standings, soft)
    )


def _contrasts(bootstrap: Bootstrap, order: Sequence[str]) -> dict[tuple[str, str], Contrast]:
    """Every ordered pair; the second of two is the first, turned round."""
    found = {}
    for place, one in enumerate(order):
        for two in order[place + 1 :]:
            forward = found[one, two] = bootstrap.contrast(one, two)
            found[two, one] = _turned(forward)
    return found


def _turned(found: Contrast) -> Contrast:
    return Contrast(
        first=found.second,
        second=found.first,
        difference=-found.difference,
        low=None if found.high is None else -found.high,
        high=None if found.low is None else -found.low,
        p=found.p,
        pairs=found.pairs,
        clusters=found.clusters,
    )


def _against(contrasts: Mapping[str, Contrast]) -> dict[str, Against]:
    adjusted = holm([contrast.p for contrast in contrasts.values()])
    return {
        name: Against(contrast=contrast, adjusted=value)
        for (name, contrast), value in zip(contrasts.items(), adjusted, strict=True)
    }


def _deviation(runs: Runs) -> float | None:
    accuracies = runs.bits.mean(axis=1).tolist()
    return statistics.stdev(accuracies) if len(accuracies) > 1 else None


def _words(contest: Contest, standings: Sequence[Standing], soft: Against | None) -> tuple[str, ...]:
    if len(standings) > 1 and not any(e.against_best.contrast.enough for e in standings if e.against_best):
        best = standings[0]
        fullest = max((e.against_best for e in standings if e.against_best), key=lambda own: own.contrast.pairs)
        return (
            f"No verdict yet: {_shortage(fullest)}. So far {best.method} has the highest mean, "
            f"{100 * best.accuracy:.1f} %.",
        )
    sentences = [_of_winner(standings), *_of_random(contest, standings)]
    if soft is not None:
        sentences.append(f"Against random images with soft labels, {_beats(soft)}.")
    once = [entry for entry in standings if entry.draws == 1 and entry.runs > 1]
    if once:
        noun = "image set" if len(once) == 1 else "image sets"
        sentences.append(f"{_names(once)}: one draw each, so this holds for the {noun} scored, not for another draw.")
    if contest.label == "soft" and CONTROL not in contest.runs:
        sentences.append("Random images with soft labels have not been scored here, so nothing is said about them.")
    return tuple(sentences)


def _of_winner(standings: Sequence[Standing]) -> str:
    best, others = standings[0], standings[1:]
    head = f"{best.method} has the highest mean, {100 * best.accuracy:.1f} %"
    if not others:
        return f"{head}; no other method has been scored here."
    few = [entry for entry in others if entry.against_best is not None and not entry.against_best.contrast.enough]
    unsure = [e for e in others if e not in few and (e.against_best is None or not e.against_best.separable)]
    if not unsure and not few:
        nearest = others[0].against_best
        assert nearest is not None
        beaten = "the other" if len(others) == 1 else f"each of the {len(others)} others"
        return (
            f"{best.method} wins with {100 * best.accuracy:.1f} %: better than {beaten} by more than noise, "
            f"than {others[0].method}, the next, by {_amount(nearest.contrast)}."
        )
    found = [head]
    if unsure:
        found.append(f"but is not separable from {_listed(unsure)}")
    if few and few[0].against_best is not None:
        found.append(f"and there is no verdict yet on {_listed(few)} ({_shortage(few[0].against_best)})")
    return f"{', '.join(found)}."


def _listed(entries: Sequence[Standing]) -> str:
    return ", ".join(entry.method for entry in entries[:6]) + (
        f" and {len(entries) - 6} more" if len(entries) > 6 else ""
    )


def _of_random(contest: Contest, standings: Sequence[Standing]) -> list[str]:
    compared = [entry for entry in standings if entry.against_random is not None]
    if not compared:
        return []
    control = f"random images with {contest.label} labels"
    better, worse = ([entry for entry in compared if _ahead(entry, sign)] for sign in (1, -1))
    found = []
    if better:
        first = better[0].against_random
        assert first is not None
        verb = "beats" if len(better) == 1 else "beat"
        found.append(f"{_names(better)} {verb} {control}, {better[0].method} by {_amount(first.contrast)}.")
    else:
        against = [entry.against_random for entry in compared if entry.against_random is not None]
        short = [own for own in against if not own.contrast.enough]
        reason = f": {_shortage(short[0])}" if short else ""
        unknown = len(short) == len(against)
        found.append(f"{'No verdict yet against' if unknown else 'No method is shown to beat'} {control}{reason}.")
    if worse:
        found.append(f"{_names(worse)} {'does' if len(worse) == 1 else 'do'} worse than {control}.")
    return found


def _ahead(entry: Standing, sign: int) -> bool:
    against = entry.against_random
    return against is not None and against.separable and against.contrast.difference * sign > 0


def _names(entries: Sequence[Standing]) -> str:
    names = [entry.method for entry in entries[:4]]
    if len(entries) > 4:
        return f"{', '.join(names)} and {len(entries) - 4} more methods"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _amount(contrast: Contrast) -> str:
    """A difference in points, with its interval and what it rests on."""
    text = f"{100 * contrast.difference:+.1f} points".replace("+", "")
    if contrast.low is None or contrast.high is None:
        return f"{text} ({contrast.pairs} pairs)"
    return f"{text} (95 % interval {100 * contrast.low:.1f} to {100 * contrast.high:.1f}, {contrast.pairs} pairs)"


def _shortage(against: Against) -> str:
    """What a verdict lacks, and what to do."""
    if against.contrast.pairs < MIN_PAIRS:
        have = f"{against.contrast.pairs} of the {MIN_PAIRS} runs that one takes"
        return f"{have} → write `trainings: {MIN_PAIRS}` in the setting, then sync"
    return "all runs share one draw, so its spread is unknown"


def _beats(against: Against) -> str:
    contrast = against.contrast
    if against.separable:
        word = "is better" if contrast.difference > 0 else "is worse"
        return f"{contrast.first} {word} by {_amount(contrast if contrast.difference > 0 else _turned(contrast))}"
    return f"{contrast.first} is not separable" if contrast.enough else f"no verdict yet: {_shortage(against)}"
