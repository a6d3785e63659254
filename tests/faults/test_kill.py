"""kill -9 at any moment: the same command goes on, ends with the same digests, and repeats little."""

from __future__ import annotations

import contextlib
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
METHODS = ("sre2l", "rded", "random")
SELECTION = ("--select", " or ".join(f'key:"{name}/score_convnet2_w64"' for name in METHODS))
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
    path = root / "starts"
    return path.read_text().splitlines() if path.exists() else []


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
        process, before = start(wild), len(starts(wild))
        # Uniform over the work itself: starting Python and Dagster takes as long again and holds nothing to lose.
        while process.poll() is None and len(starts(wild)) == before:
            time.sleep(0.05)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.0, max(4.0, 0.3 * duration)))
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
        done = {path.stem for path in (wild / "store" / "manifests").rglob("*.json")}
        begun = starts(wild)
        hit |= {line.split()[0] for line in begun if line.split()[1] not in done}
        assert len(begun) - len(set(begun)) <= WORKERS * kills
    finish(wild)

    assert results(wild) == results(calm)
    # Label tables of six epochs take a blink and are rarely hit; the kinds that take time are.
    assert len(hit) >= 3, hit
    assert not list((wild / "store" / "work").rglob("*.safetensors"))
