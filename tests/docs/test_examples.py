"""The example scripts and the commands of method pages, with a tiny setting in digits' place."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import PROJECT, runnable
from tests.test_cli import run

SETTINGS = Path(__file__).with_name("examples.yaml")
WORDS = {
    "baseline": "hard labels: ",
    "committee": "committee/convnet1_w128: ",
    "selection": "20 images of 10 classes",
    "optimisation": "the student that was trained",
    "generation": "class 9: 0.",
}
OF_FAMILIES = ("random", "rded", "sre2l", "gvbsm", "minimax")
"""A method of each family: baseline, selection, one teacher, a committee, generation."""


def sync_as_shown(page: str, folder: Path, but: str = "") -> str:
    """What the page's `dd-assets sync` prints with the tiny setting's cell, without the asset `but` in its selection.

    Raises AssertionError where it fails.
    """
    words = shlex.split(next(block for block in runnable(page) if block.first.startswith("dd-assets sync")).text)
    assert words[0] == "dd-assets"
    assert "digits|10" in words
    arguments = ["small|2" if word == "digits|10" else word for word in words[1:]]
    if but:
        arguments[arguments.index("--select") + 1] += f' and not key:"{but}"'
    done = run(folder, *arguments, DD_DATASETS=str(SETTINGS))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_script_reads_a_store_that_its_pages_command_filled(tmp_path: Path) -> None:
    sync_as_shown("examples/README.md", tmp_path)
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


@pytest.mark.slow
def test_the_command_of_a_method_page_of_each_family_scores_the_method(tmp_path: Path) -> None:
    for name in OF_FAMILIES:
        # Digits' second student takes most of the time.
        printed = sync_as_shown(f"docs/methods/{name}.md", tmp_path, but=f"{name}/score_resnet18")
        assert f"computed  {name}/synthetic_images [small|2]" in printed, printed
        assert f"computed  {name}/score_convnet2_w64 [small|2]" in printed, printed
