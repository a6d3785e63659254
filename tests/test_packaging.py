"""What an installed copy holds besides modules, as far as can be seen without building one."""

from __future__ import annotations

import importlib.resources
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("dd_assets", "dd_resources")


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_of_other_projects_read_the_annotations(package: str) -> None:
    """PEP 561: without this file a checker takes every name of an installed package for Any."""
    assert importlib.resources.files(package).joinpath("py.typed").is_file()


def test_the_wheel_holds_every_file_of_both_packages() -> None:
    """Hatchling takes a package's folder whole, but for what git ignores or these tables leave out."""
    stated = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    assert stated == {"targets": {"wheel": {"packages": list(PACKAGES)}}}
    ignored = (PROJECT / ".gitignore").read_text("utf-8").split()
    assert not [line for line in ignored if "typed" in line or line.startswith("dd_")]


def test_an_older_python_is_named_before_anything_is_made(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    older = tmp_path / "older"
    older.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    older.chmod(0o755)
    done = subprocess.run(
        ["make", f"PYTHON={older}", "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert f"{older} is not Python 3.11.4 or newer: name one, as in make PYTHON=python3.12 demo" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_oldest_python_is_one_whose_tar_files_can_be_checked() -> None:
    """3.11.4 brought PEP 706's hook, on which `archives.checked_tars` relies."""
    stated = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    assert stated == ">=3.11.4"
    assert "sys.version_info < (3, 11, 4)" in (PROJECT / "Makefile").read_text("utf-8")
    assert "Python 3.11.4 or newer" in (PROJECT / "README.md").read_text("utf-8")
