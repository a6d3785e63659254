"""kill -9 at any moment: the same command goes on, ends with the same digests, and repeats little, by count."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from tests.faults.killing import Command, contents, iterations, kind_of, kinds_of, results

COMMAND = Command(
    "kill.yaml", " or ".join(f'key:"{name}/score_convnet2_w64"' for name in ("sre2l", "rded")), "killed|8"
)
KILLS = 20
KINDS = 4
SAVED_EVERY = {
    # One epoch of 1,438 images in batches of 64.
    "teacher": 23,
    # CHECKPOINT_EVERY of synthesis/recover.py; a shard is 300 iterations.
    "images.sre2l": 100,
    # A tenth of 40 epochs, of two batches each: 80 images, at most 50 in a batch.
    "training": 8,
}
"""Iterations between two saved states; a unit of any other kind is done as a whole or not at all."""


@pytest.mark.slow
def test_twenty_kills_end_with_the_digests_of_an_undisturbed_run(tmp_path: Path) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild0"
    duration = COMMAND.whole(calm)
    total = iterations(calm)
    shard = {unit: SAVED_EVERY.get(kind_of(unit), total[unit]) for unit in total}

    chance, kills, runs = random.Random(20261121), 0, [wild]
    hits: dict[Path, Counter[str]] = {wild: Counter()}
    while kills < KILLS or (len(kinds_of(hits)) < KINDS and kills < 2 * KILLS):
        workers = 1 + kills % 2
        # Uniform over the work itself: starting Python and Dagster takes as long again and holds nothing to lose.
        at_work = COMMAND.attempt(wild, chance.uniform(0.0, duration / 10), workers)
        if at_work is None:
            # All was done before the kill: begin anew, keeping the count of kills.
            wild = tmp_path / f"wild{len(runs)}"
            runs.append(wild)
            hits[wild] = Counter()
            continue
        kills += 1
        assert len(at_work) <= workers, f"{workers} workers were at {at_work}"
        hits[wild].update(at_work)
    COMMAND.whole(wild)

    for root in runs:
        assert results(root) == results(calm)
        assert contents(root) == contents(calm)
        executed = iterations(root)
        assert executed.keys() == total.keys()
        for unit, count in executed.items():
            assert total[unit] <= count <= total[unit] + hits[root][unit] * shard[unit], (unit, count, hits[root][unit])
        assert not list((root / "store" / "work").rglob("*.safetensors"))
        with dg.DagsterInstance.from_config(str(root / "home")) as instance:
            assert not instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])), (
                "a dead run is unmarked"
            )
    repeated = sum(sum(iterations(root).values()) - sum(total.values()) for root in runs)
    kinds = kinds_of(hits)
    print(
        f"{kills} kills at {dict(kinds)}: {repeated} iterations repeated, {sum(total.values())} in an undisturbed run"
    )
    assert len(kinds) >= KINDS, kinds
