"""The example scripts, run on a store that their page's own command filled, with a tiny setting in digits' place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import PROJECT
from tests.test_cli import run

SETTINGS = Path(__file__).with_name("examples.yaml")
WORDS = {
    "selection": "20 images of 10 classes",
    "optimisation": "the student that was trained",
    "generation": "class 9: 0.",
}


@pytest.mark.slow
def test_every_script_reads_a_store(tmp_path: Path) -> None:
    wanted = ("rded/score_convnet2_w64", "sre2l/score_convnet2_w64", "minimax/synthetic_images")
    select = " or ".join(f'key:"{asset}"' for asset in wanted)
    done = run(tmp_path, "sync", "--select", select, "--partition", "small|2", DD_DATASETS=str(SETTINGS))
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "DD_STORE": str(tmp_path / "store"), "DD_DATASETS": str(SETTINGS)}
    environment |= {"PYTHONPATH": str(PROJECT)}
    scripts = sorted((PROJECT / "examples").glob("*.py"))
    assert {path.stem for path in scripts} == set(WORDS)
    for path in scripts:
        text = path.read_text("utf-8").replace('"digits", 10', '"small", 2')
        shown = subprocess.run(
            [sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert shown.returncode == 0, shown.stderr
        assert WORDS[path.stem] in shown.stdout, shown.stdout
