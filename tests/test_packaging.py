"""What an installed copy holds besides modules, as far as can be seen without building one."""

from __future__ import annotations

import importlib.resources
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
