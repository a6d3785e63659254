"""kill -9 among generators and the shards of every generation method: finished ones stay, the others end the same."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.killing import Command, contents, iterations, kind_of, kinds_of, results

METHODS = ("d4m", "minimax", "mgd3", "igd", "dap", "prism_dfkd", "ddps")
COMMAND = Command(
    "kill_generation.yaml", " or ".join(f'key:"{name}/synthetic_images"' for name in METHODS), "generated|3"
)
KILLS = 14
AMONG_IMAGES = 5


@pytest.mark.slow
def test_killed_generations_end_with_the_images_of_an_undisturbed_run(tmp_path: Path) -> None:
    """Kills come uniformly over the work: generators, their samples, centroids, surrogates and image shards."""
    calm = tmp_path / "calm"
    # As the killed ones: a second worker's start would count as work.
    duration = COMMAND.whole(calm, workers=1)
    total = iterations(calm)
    made = {kind_of(unit) for unit in total if kind_of(unit).startswith("images.")}
    assert made == {f"images.{name}" for name in METHODS}

    chance, kills, runs = random.Random(20261122), 0, [tmp_path / "wild0"]
    hits: dict[Path, Counter[str]] = {runs[0]: Counter()}
    while kills < KILLS or (among_images(hits) < AMONG_IMAGES and kills < 2 * KILLS):
        # Long enough, often, for a unit that is made as a whole: the generators' own samples.
        at_work = COMMAND.attempt(runs[-1], chance.uniform(0.0, duration / 3), workers=1)
        if at_work is None:
            runs.append(tmp_path / f"wild{len(runs)}")
            hits[runs[-1]] = Counter()
            continue
        kills += 1
        hits[runs[-1]].update(at_work)
    COMMAND.whole(runs[-1])

    for root in runs:
        assert results(root) == results(calm)
        assert contents(root) == contents(calm)
        executed = iterations(root)
        assert executed.keys() == total.keys()
        for unit, count in executed.items():
            # A unit that no kill struck ran once; a struck one at most once more per kill.
            assert total[unit] <= count <= total[unit] * (1 + hits[root][unit]), (unit, count, hits[root][unit])
        assert not list((root / "store" / "work").rglob("*.safetensors"))
    print(f"{kills} kills at {dict(kinds_of(hits))}")
    assert among_images(hits) >= AMONG_IMAGES, kinds_of(hits)


def among_images(hits: dict[Path, Counter[str]]) -> int:
    """Kills that struck a shard of images."""
    return sum(count for kind, count in kinds_of(hits).items() if kind.startswith("images."))
