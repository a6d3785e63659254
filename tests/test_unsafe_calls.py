"""No call in the two packages can run code out of a file, and the UI listens on loopback."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for package in ("dd_assets", "dd_resources") for path in (PROJECT / package).rglob("*.py"))
FORBIDDEN = {
    *(
        f"{module}.{name}"
        for module in ("pickle", "cPickle", "dill", "joblib", "marshal")
        for name in ("load", "loads")
    ),
    "pickle.Unpickler",
    "shelve.open",
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pd.read_pickle",
    "pandas.read_pickle",
    "tarfile.open",
}


def unsafe(source: str) -> list[str]:
    """Calls in a source text that may run code from what they read, as 'line: call'."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        stated = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        loader = stated.get("Loader", ast.unparse(node.args[1]) if len(node.args) > 1 else "")
        bad = (
            name in FORBIDDEN
            or (name == "torch.load" and stated.get("weights_only") != "True")
            or (name == "yaml.load" and not (loader == "Loader" or "SafeLoader" in loader))
            or stated.get("allow_pickle") == "True"
            or stated.get("shell") == "True"
            or stated.get("trust_remote_code") == "True"
        )
        if bad:
            found.append(f"{node.lineno}: {ast.unparse(node)[:80]}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "yaml.load(t, yaml.Loader)",
        "yaml.load(t)",
        "np.load(f, allow_pickle=True)",
        "pickle.loads(b)",
        "subprocess.run(c, shell=True)",
    ],
)
def test_the_search_finds_unsafe_calls(source: str) -> None:
    assert unsafe(source)


def test_no_source_has_one() -> None:
    assert len(SOURCES) > 150
    found = {str(path.relative_to(PROJECT)): unsafe(path.read_text("utf-8")) for path in SOURCES}
    assert {path: calls for path, calls in found.items() if calls} == {}


def test_the_loader_of_settings_and_recipes_is_a_safe_one() -> None:
    text = (PROJECT / "dd_assets/yaml_files.py").read_text("utf-8")
    assert "class Loader(yaml.SafeLoader)" in text


def test_the_ui_listens_on_loopback_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dd_assets.cli import main

    called: list[list[str]] = []
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr(os, "execve", lambda program, command, _: called.append(command))
    assert CliRunner().invoke(main, ["ui", "--port", "3456"]).exit_code == 0
    (command,) = called
    assert command[command.index("-h") + 1] == "127.0.0.1"
    assert command.count("-h") == 1
