"""The two sides: definitions stay light, torch code stays free of Dagster, and importing both stays cheap.

Everything is measured in fresh interpreters, since this one has long imported it all.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "dd_assets"

HEAVY = ("torch", "torchvision", "pandas", "pyarrow", "diffusers", "timm", "sklearn", "s3fs")
"""What loading definitions may not bring: every run imports them again (torch alone: 2.4 s, 224 MB)."""
DAGSTER_SIDE = ("dagster", "pandas", "pyarrow")
"""What torch code may not bring: it runs on machines that have only torch, torchvision and numpy."""
CPU_ALLOWANCE = 0.7
"""CPU-seconds that definitions may cost on top of `import dagster`."""

needs_definitions = pytest.mark.skipif(
    not (PACKAGE / "definitions.py").exists(), reason="dd_assets/definitions.py is being written"
)

PROBE = """
import importlib, json, sys
forbidden, modules = json.loads(sys.argv[1]), json.loads(sys.argv[2])
culprits = {}
for module in modules:
    importlib.import_module(module)
    for name in forbidden:
        if name in sys.modules:
            culprits.setdefault(name, module)
exec(sys.argv[3])
for name in forbidden:
    if name in sys.modules:
        culprits.setdefault(name, sys.argv[3])
print(json.dumps(culprits))
"""


def environment() -> dict[str, str]:
    """This one's, with the project importable and one thread per library."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}


def brought_in(forbidden: tuple[str, ...], modules: list[str], then: str = "pass") -> dict[str, str]:
    """Forbidden package to the module (or statement) after which a fresh interpreter had it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(forbidden), json.dumps(modules), then],
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def modules_matching(*patterns: str) -> list[str]:
    """Dotted names of the package's files that match any of the patterns, sorted."""
    paths = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    return sorted(".".join(path.relative_to(PROJECT).with_suffix("").parts) for path in paths)


def torch_side() -> list[str]:
    """Every module that computes with torch."""
    return modules_matching(
        "methods/*/synthesis.py", "synthesis/**/*.py", "diffusion/**/*.py", "models/**/*.py", "evaluation/**/*.py"
    )


def light_files() -> list[str]:
    """Descriptions as data, on either side."""
    return modules_matching("**/recipe.py", "**/registry.py", "**/protocol.py", "**/contract.py")


def cpu_seconds(statement: str) -> float:
    """User and system seconds of a fresh interpreter that runs one statement."""
    process = subprocess.Popen([sys.executable, "-c", statement], cwd=PROJECT, env=environment())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, statement
    return usage.ru_utime + usage.ru_stime


def test_the_probe_names_what_brought_a_package_in():
    assert brought_in(("decimal", "fractions"), ["json", "statistics"]) == {
        "decimal": "statistics",
        "fractions": "statistics",
    }
    assert brought_in(("sqlite3",), ["json"], then="import sqlite3") == {"sqlite3": "import sqlite3"}


def test_the_patterns_find_both_sides():
    assert "dd_assets.models.registry" in torch_side()
    assert {"dd_assets.methods.contract", "dd_assets.evaluation.protocol"} <= set(light_files())
    recipes = [name for name in light_files() if name.endswith(".recipe")]
    syntheses = [name for name in torch_side() if name.endswith(".synthesis")]
    assert [name.rsplit(".", 1)[0] for name in recipes] == [name.rsplit(".", 1)[0] for name in syntheses]


def test_torch_code_brings_no_dagster_and_no_tables():
    assert brought_in(DAGSTER_SIDE, torch_side()) == {}


def test_descriptions_bring_nothing_heavy():
    assert brought_in((*HEAVY, "dagster"), light_files()) == {}


def test_planning_a_method_list_brings_nothing_heavy():
    assert brought_in(HEAVY, modules_matching("planning/*.py", "units/kinds.py", "report/published.py")) == {}


@needs_definitions
def test_definitions_bring_nothing_heavy():
    assert brought_in(HEAVY, ["dd_assets.definitions"]) == {}


@needs_definitions
def test_building_the_repository_brings_nothing_heavy():
    build = "from dd_assets.definitions import build_defs; build_defs().get_repository_def()"
    assert brought_in(HEAVY, [], then=build) == {}


@needs_definitions
def test_definitions_cost_little_more_than_dagster():
    # In turns, so that a busy minute of the machine falls on both; CPU-seconds, so that waiting does not count.
    pairs = [(cpu_seconds("import dagster"), cpu_seconds("import dd_assets.definitions")) for _ in range(3)]
    bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    # Two busy threads on one core stretch the CPU-seconds of both; a bare import takes .65 to .75 s undisturbed.
    stretched = max(1.0, bare / 0.75)
    assert ours - bare <= CPU_ALLOWANCE * stretched, f"import dagster {bare:.2f} CPU-s, definitions {ours:.2f}"
