"""The fault-injection campaign: `python -m tests.faults.campaign --trials 300 --seed 1 --out FILE.json`.

Belongs here: how many trials of which kind, their order, the file of results, the table over stages and kinds.
Does not belong: a trial itself (trials.py, cancelling.py).

The file is written after every trial, so that a campaign that was ended keeps what it did; `--out` on a file that is
there goes on from it. `--table FILE.json` prints the table for the documentation.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.cancelling import cancel, deployment
from tests.faults.kinds import FAULTS, Fault
from tests.faults.trials import Trial, World, as_json, attempt, world

CANCEL = "cancel from the UI"
SHARES = {
    "kill -9": 0.56,
    "SIGTERM": 0.10,
    "disk full": 0.10,
    "memory exhausted": 0.08,
    "bytes corrupted": 0.08,
    "network dropped": 0.06,
    CANCEL: 0.02,
}
"""Of all trials; the first kind takes what rounding leaves."""
DRAWS = 6
"""Times that a trial is drawn anew when its command was over before the fault came."""


def counts(trials: int) -> dict[str, int]:
    """Trials of each kind; every kind at least once where there are enough trials."""
    shares = {kind: max(1, round(trials * share)) for kind, share in SHARES.items()}
    first = next(iter(shares))
    shares[first] += trials - sum(shares.values())
    return shares


def order(trials: int, seed: int, kinds: Sequence[str]) -> list[str]:
    """The kind of each trial: mixed at random, those that need a server of their own last."""
    late = ("network dropped", CANCEL)
    wanted = [kind for kind, count in counts(trials).items() for _ in range(count) if kind in kinds]
    early = [kind for kind in wanted if kind not in late]
    random.Random(seed).shuffle(early)
    return early + sorted(kind for kind in wanted if kind in late)[::-1]


def campaign(
    trials: int, seed: int, out: Path, root: Path | None = None, kinds: Sequence[str] = tuple(SHARES)
) -> dict[str, Any]:
    """Run it; returns what the file holds. root: an empty folder for everything that is made."""
    done = json.loads(out.read_text("utf-8")) if out.is_file() else {"seed": seed, "missed": 0, "trials": []}
    place = root or Path(tempfile.mkdtemp(prefix="dd-faults-"))
    kind_of: dict[str, type[Fault]] = {fault.name: fault for fault in FAULTS}
    with contextlib.ExitStack() as stack:
        todo = list(enumerate(order(trials, seed, kinds)))[len(done["trials"]) :]
        commands = world(place, with_s3=any(kind_of[kind].remote for _, kind in todo if kind in kind_of))
        made: World | None = stack.enter_context(commands) if any(kind != CANCEL for _, kind in todo) else None
        service = None
        for number, kind in todo:
            if kind == CANCEL and service is None:
                service = stack.enter_context(deployment(place / "service"))
            for draw in range(DRAWS):
                chance = random.Random(f"{seed} {number} {draw}")
                if kind == CANCEL:
                    assert service is not None
                    trial = cancel(service, number, chance)
                else:
                    assert made is not None
                    trial = attempt(made, number, kind_of[kind](), chance)
                if trial.hit:
                    break
                done["missed"] += 1
            record(done, trial, out)
    shutil.rmtree(place, ignore_errors=True)
    return done


def record(done: dict[str, Any], trial: Trial, out: Path) -> None:
    """Add a trial to the file, and say so."""
    done["trials"].append(as_json(trial))
    done["per stage and kind"] = tally(done["trials"])
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    temporary.write_text(json.dumps(done, indent=1), "utf-8")
    temporary.replace(out)
    found = "; ".join(trial.defects) or "sound"
    print(f"{trial.number} {trial.kind} at {trial.stage}: {found} ({trial.seconds} s)", flush=True)


def tally(trials: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Stage to kind to the number of trials that struck there."""
    found: dict[str, Counter[str]] = {}
    for trial in trials:
        if trial["hit"]:
            found.setdefault(trial["stage"], Counter())[trial["kind"]] += 1
    return {stage: dict(found[stage]) for stage in sorted(found)}


def table(done: dict[str, Any]) -> str:
    """Trials per stage and kind as a Markdown table, with sums and the trials that found a defect."""
    cells = tally(done["trials"])
    kinds = [kind for kind in SHARES if any(kind in row for row in cells.values())]
    lines = [f"| stage struck | {' | '.join(kinds)} | all |", "|---" * (len(kinds) + 2) + "|"]
    for stage, row in cells.items():
        lines.append(f"| {stage} | {' | '.join(str(row.get(kind, 0)) for kind in kinds)} | {sum(row.values())} |")
    sums = [sum(row.get(kind, 0) for row in cells.values()) for kind in kinds]
    lines.append(f"| all | {' | '.join(map(str, sums))} | {sum(sums)} |")
    broken = Counter(trial["kind"] for trial in done["trials"] if trial["defects"])
    lines.append(f"| with a defect | {' | '.join(str(broken[kind]) for kind in kinds)} | {broken.total()} |")
    return "\n".join(lines)


def main() -> int:
    """The command; exit status 1 if a trial found a defect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("faults.json"))
    parser.add_argument("--root", type=Path, help="an empty folder on a fast disk; a temporary one by default")
    parser.add_argument("--kinds", nargs="+", default=list(SHARES), choices=list(SHARES))
    parser.add_argument("--table", type=Path, help="print the table of a file and do nothing else")
    given = parser.parse_args()
    if given.table:
        print(table(json.loads(given.table.read_text("utf-8"))))
        return 0
    done = campaign(given.trials, given.seed, given.out, given.root, given.kinds)
    print(table(done))
    return int(any(trial["defects"] for trial in done["trials"]))


if __name__ == "__main__":
    sys.exit(main())
