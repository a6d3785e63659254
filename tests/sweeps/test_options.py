"""What `sweep` refuses before it computes anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from dd_assets.cli import main


@pytest.mark.parametrize(
    ("target", "text"),
    [("best.yaml", "best.yaml exists → name a new file"), ("none/best.yaml", "none is no folder that can be written")],
)
def test_a_file_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, text: str
) -> None:
    """It used to be found out after the whole sweep."""
    (tmp_path / "best.yaml").write_text("kept")
    monkeypatch.setattr("dd_assets.cli.sweeping._engine", lambda: pytest.fail("the sweep had begun"))
    done = CliRunner().invoke(main, ["sweep", "digits", "1", "--write", str(tmp_path / target)])
    assert done.exit_code == 3, done.output
    assert text in done.output
    assert (tmp_path / "best.yaml").read_text() == "kept"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--minutes", "nan"), "--minutes nan → give a positive number"),
        (("--minutes", "inf"), "--minutes inf → give a positive number"),
        (("--minutes", "0"), "--minutes 0.0 → give a positive number"),
        (("--proposals", "0"), "--proposals 0 → give a whole number from 1"),
        (("--methods", ""), "nothing to tune → name methods with --methods, or recipe files with --recipe"),
        (("--methods", " , "), "nothing to tune → name methods with --methods, or recipe files with --recipe"),
    ],
)
def test_a_sweep_of_nothing_or_without_end_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], text: str
) -> None:
    """A budget that is no number is never spent: every attempt was made."""
    monkeypatch.setenv("DD_STORE", str(tmp_path / "store"))
    done = CliRunner().invoke(main, ["sweep", "digits", "1", *options])
    assert done.exit_code == 3, done.output
    assert text in done.output
    assert not (tmp_path / "store").exists()
