"""kill -9 at any moment: the same command goes on, ends with the same digests, and repeats little."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
QUICK = HERE.parent / "dagster_side" / "quick.yaml"
SELECTION = ("--select", "sre2l/score_convnet2_w64 or rded/score_convnet2_w64 or random/score_convnet2_w64")
KILLS = 20
WORKERS = 2


def start(root: Path) -> subprocess.Popen[bytes]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
    env |= {
        "DD_STORE": str(root / "store"),
        "DAGSTER_HOME": str(root / "home"),
        "DD_DATASETS": str(QUICK),
        "DD_TEST_STARTS": str(root / "starts"),
    }
    command = [sys.executable, str(HERE / "counted_sync.py"), "sync", *SELECTION, "--partition", "quick|2"]
    log = (root / "log").open("ab")
    return subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)


def finish(root: Path) -> float:
    begun = time.monotonic()
    process = start(root)
    assert process.wait(300) == 0, (root / "log").read_text()[-2000:]
    return time.monotonic() - begun


def results(root: Path) -> dict[str, object]:
    """Asset partition to content digest and units, as the store's references name them."""
    found = {}
    for path in sorted((root / "store" / "references").rglob("*.json")):
        reference = json.loads(path.read_text())
        found[f"{reference['asset']} {reference['partition']}"] = (reference["content"], reference["units"])
    return found


def starts(root: Path) -> list[str]:
    return (root / "starts").read_text().splitlines()


@pytest.mark.slow
def test_twenty_kills_end_with_the_digests_of_an_undisturbed_run(tmp_path: Path) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    calm.mkdir()
    wild.mkdir()
    duration = finish(calm)
    units = starts(calm)
    assert len(units) == len(set(units))

    chance, kills, hit = random.Random(20261121), 0, set()
    while kills < KILLS:
        process = start(wild)
        # An attempt that gets further starts later in the work, so the kinds of unit that are hit spread out.
        time.sleep(chance.uniform(2.0, max(6.0, 0.8 * duration)))
        if process.poll() is not None:
            # Everything was done before the kill: begin anew, keeping the count of kills.
            assert process.returncode == 0, (wild / "log").read_text()[-2000:]
            assert results(wild) == results(calm)
            wild = tmp_path / f"wild{kills}"
            wild.mkdir()
            continue
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        if (wild / "starts").exists():
            done = {p.stem for p in (wild / "store" / "manifests").rglob("*.json")}
            hit |= {line.split()[0] for line in starts(wild) if line.split()[1] not in done}
            begun = starts(wild)
            assert len(begun) - len(set(begun)) <= WORKERS * kills
    finish(wild)

    assert results(wild) == results(calm)
    assert {kind.split("/")[0] for kind in hit} >= {"teacher", "images", "labels", "training"} or len(hit) >= 4
    assert not list((wild / "store" / "work").rglob("*.safetensors"))
