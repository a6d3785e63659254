"""The command line: contracts that scripts rely on, and one clear line for what cannot be."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from dd_assets.cli import main
from dd_assets.cli.common import show
from dd_assets.cli.looking import ui_workspace
from dd_assets.terminal import fitting

PROGRAM = [sys.executable, "-m", "dd_assets"]


def run(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    env = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
    env |= {"DD_STORE": str(tmp_path / "store"), "DAGSTER_HOME": str(tmp_path / "home"), **environment}
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, env=env, timeout=400)


def test_methods_json_contract(tmp_path: Path) -> None:
    rows = json.loads(run(tmp_path, "methods", "--json").stdout)
    assert {"noise", "random", "rded", "sre2l"} <= {row["name"] for row in rows}
    assert all({"name", "family", "paper", "fidelity", "needs"} == row.keys() for row in rows)
    assert {row["fidelity"] for row in rows} <= {"code", "text"}


def test_all_methods_have_their_initial_images_as_rows_but_not_their_ablations() -> None:
    from dd_assets.cli.computing import _demo_methods
    from dd_assets.methods.registry import METHODS

    chosen, everything = set(_demo_methods("all")), set(_demo_methods("variants"))
    assert everything == METHODS().keys()
    assert {"prism", "prism_init", "edc_init", "noise"} <= chosen
    assert {"prism_redrawn", "sre2l_random"} == {"prism_redrawn", "sre2l_random"} - chosen
    assert _demo_methods("rded, noise") == ["rded", "noise"]


def test_datasets_and_students_json(tmp_path: Path) -> None:
    rows = json.loads(run(tmp_path, "datasets", "--json").stdout)
    assert [row["name"] for row in rows] == ["digits"]
    students = json.loads(run(tmp_path, "students", "--json").stdout)
    assert {"convnet2_w64", "resnet18"} <= {row["name"] for row in students}


def test_studies_json_states_the_cells_of_each_dataset(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in json.loads(run(tmp_path, "studies", "--json").stdout)}
    assert rows["rd3_table_6"]["cells"] == {"digits": 8}
    assert rows["rd3_table_6"]["variants"] == ["KL", "MSE-GT"]
    planned = json.loads(run(tmp_path, "study", "rd3_table_6", "--plan", "--json").stdout)
    assert len(planned) == 8
    assert {(row["status"], row["draws"], row["z"]) for row in planned} == {("waiting", 0, None)}


def test_an_empty_store_has_an_empty_leaderboard_and_a_plan_of_missing_assets(tmp_path: Path) -> None:
    assert json.loads(run(tmp_path, "leaderboard", "--json").stdout) == []
    rows = json.loads(run(tmp_path, "plan", "--partition", "digits", "--json").stdout)
    assert {row["status"] for row in rows} <= {"missing", "blocked"}
    chain = ("dataset", "teacher", "sre2l/synthetic_images", "sre2l/soft_labels", "sre2l/score_convnet2_w64")
    assert {row["status"] for row in rows if row["asset"] in chain} == {"missing"}
    assert {"asset", "partition", "status", "reason"} <= rows[0].keys()


def test_a_table_keeps_partitions_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    """Read as markup, "[digits|10]" would vanish, as it did from every plan's reasons."""
    show([{"reason": "waits for teacher [digits|10]", "seconds": None}], ("reason", "seconds"), False, "Plan")
    printed = capsys.readouterr().out
    assert "waits for teacher [digits|10]" in printed
    assert "None" not in printed


def test_values_that_hold_commas_are_told_apart_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"variants": ["T=4, soft", "hard"], "ipc": [1, 10]}], ("variants", "ipc"), False, "Studies")
    printed = capsys.readouterr().out
    assert "T=4, soft; hard" in printed
    assert "1, 10" in printed


def test_a_narrow_table_drops_what_it_can_spare_and_says_once_what_is_always_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    records = [{"dataset": "digits", "method": name, "reason": "waits for its teacher"} for name in ("rded", "sre2l")]
    show(records, ("dataset", "method", "reason"), False, "Plan")
    printed = capsys.readouterr().out
    # 6, 6 and 21 characters with three of frame each are 43 with the last bar: all there.
    assert "dataset digits" not in printed
    monkeypatch.setenv("COLUMNS", "42")
    show(records, ("dataset", "method", "reason"), False, "Plan")
    printed = capsys.readouterr().out
    assert "Plan (dataset digits)" in printed
    assert "waits for its teacher" in printed
    assert "…" not in printed


def test_columns_that_a_width_cannot_hold_go_in_the_order_stated() -> None:
    columns, rows = ["method", "best", "labels"], [["sre2l", "97.9", "115 kB"]]
    # 6, 4 and 6 with three each and a last bar: 26.
    assert fitting(columns, rows, ("labels", "best"), 26) == columns
    assert fitting(columns, rows, ("labels", "best"), 25) == ["method", "best"]
    assert fitting(columns, rows, ("labels", "best"), 12) == ["method"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("demo", "--methods", "sre2"), 2, "unknown method 'sre2' → did you mean 'sre2l'?"),
        (("demo", "--html", "/"), 3, "the page cannot be written to /: Is a directory → name a file in a folder"),
        (("leaderboard", "--html", "/proc/x/y"), 3, "the page cannot be written to /proc/x/y: "),
        (("sync", "--partition", "digit"), 2, "unknown dataset 'digit' → did you mean 'digits'?"),
        (("sync", "--partition", "digits|7"), 3, "digits has no IPC '7'"),
        (("sync", "--partition", "digits:10"), 2, "unknown partition 'digits:10' → write it as 'digits|10', in quotes"),
        (("plan", "--select", "teacher", "--partition", "digits|1"), 2, "→ teacher has partitions like 'digits'"),
        (("plan", "--select", "leaderboard"), 2, "names no asset with partitions (leaderboard)"),
        (("sync", "--select", "sre2l/score_resnet9000", "--partition", "digits|1"), 2, "score_resnet9000"),
        (("plan", "--select", "group:nonsense"), 2, "nonsense"),
        (("discard", "012345"), 2, "begins with '012345' → `dd-assets explain ASSET PARTITION`"),
        (("study", "rd3_table_66"), 2, "unknown study 'rd3_table_66' → did you mean 'rd3_table_6'?"),
        (("study", "fidelity"), 2, "; `dd-assets studies` lists them"),
        (("study", "rd3_table_3", "--ipc", "50"), 3, "rd3_table_3 has no cell for digits at IPC 50"),
        (("sync", "--force", "--queue", "--partition", "digits|1"), 3, "--force and --queue do not go together"),
        (("sync", "--queue", "--partition", "digits|1"), 1, "has been seen lately"),
    ],
)
def test_typos_end_in_one_line(tmp_path: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("dd-assets: ")]
    assert len(lines) == 1
    assert text in lines[0]
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named_before_dagster_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "ui", "--port", str(port))
    assert done.returncode == 3
    assert f"port {port} cannot be served on: Address already in use → dd-assets ui --port" in done.stderr


def test_the_ui_loads_what_a_checkouts_workspace_names_from_wherever_the_package_is(tmp_path: Path) -> None:
    project = Path(__file__).resolve().parents[1]
    (stated,) = yaml.safe_load((project / "workspace.yaml").read_text("utf-8"))["load_from"]
    (made,) = yaml.safe_load(ui_workspace(tmp_path).read_text("utf-8"))["load_from"]
    assert made == {"python_module": stated["python_module"] | {"working_directory": str(project)}}


def test_doctor_finds_an_unusable_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path, "doctor", "--json", DD_STORE=str(tmp_path / "file" / "store"))
    assert done.returncode == 1
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert not rows["store"]["ok"]
    assert "DD_STORE" in rows["store"]["detail"]
    assert rows["dataset digits"]["ok"]


def test_an_instance_that_cannot_be_created_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path, "sync", "--partition", "digits|1", DAGSTER_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 3
    assert f"the Dagster instance at {tmp_path / 'file' / 'home'} cannot be written: Not a directory → " in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_written_in_an_instance_that_is_there_is_one_line_too(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    (home / "history").write_text("no folder")
    done = run(tmp_path, "adopt", "--partition", "digits|1")
    assert done.returncode == 3
    assert f"the Dagster instance at {home} cannot be written: File exists → set DAGSTER_HOME" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ["concurrency: [1", "no_such_key: 1"])
def test_a_spoiled_instance_is_named_in_one_line(tmp_path: Path, content: str) -> None:
    place = tmp_path / "home" / "dagster.yaml"
    place.parent.mkdir()
    place.write_text(content)
    done = run(tmp_path, "adopt", "--partition", "digits|1")
    assert done.returncode == 3
    assert f"{place} cannot be used: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_settings_file_names_the_field(tmp_path: Path) -> None:
    bad = tmp_path / "mine.yaml"
    bad.write_text("mine: {reader: folder, classes: [a, b], sise: 32, teacher: {architecture: resnet18}}")
    done = run(tmp_path, "datasets", DD_DATASETS=str(bad))
    assert done.returncode == 2
    assert "sise" in done.stderr
    assert "did you mean 'size'?" in done.stderr


def test_the_installed_command_and_the_module_are_the_same_program() -> None:
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="console_scripts", name="dd-assets")
    assert entry.value == "dd_assets.cli:main"
    assert {
        "sync",
        "verify",
        "adopt",
        "gc",
        "discard",
        "demo",
        "plan",
        "explain",
        "leaderboard",
    } <= main.commands.keys()


def test_every_option_has_a_help_text_that_says_whether_it_is_required_or_may_be_repeated() -> None:
    options = [
        (f"{command.name} {option.opts[-1]}", option)
        for command in main.commands.values()
        for option in command.params
        if isinstance(option, click.Option)
    ]
    assert [name for name, option in options if not option.help] == []
    assert [name for name, option in options if option.multiple != ("May be repeated" in str(option.help))] == []
    assert [name for name, option in options if option.required != ("Required" in str(option.help))] == []


@pytest.mark.slow
def test_forcing_keeps_both_results_names_both_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    selection = ("--select", 'key:"dataset"', "--partition", "digits")
    first = run(tmp_path, "sync", *selection, "--force")
    # Nothing was stored before, so nothing is computed twice.
    assert (first.returncode, first.stdout.splitlines()[-1].split(";")[1]) == (0, " 1 heavy calls")
    again = run(tmp_path, "sync", *selection, "--force")
    assert again.returncode == 0, again.stderr
    assert re.search(r"dataset \[digits\] dataset: same, [0-9a-f]{12}, ", again.stdout)

    stored = {path: json.loads(path.read_text()) for path in (tmp_path / "store" / "manifests").rglob("*.json")}
    ((path, manifest),) = [(path, made) for path, made in stored.items() if made["recipe"]["unit"] == "dataset"]
    ours = manifest["content"]
    # As if the stored result were another machine's.
    manifest |= {"content": "f" * 64, "measurements": {**manifest["measurements"], "torch": "1.0"}}
    path.write_text(json.dumps(manifest))
    forced = run(tmp_path, "sync", *selection, "--force")
    assert forced.returncode == 7, forced.stdout + forced.stderr
    (line,) = [text for text in forced.stdout.splitlines() if "DIFFERENT" in text]
    assert line.startswith("dataset [digits] dataset: DIFFERENT (torch was 1.0, is ")
    assert re.search(rf"stored {'f' * 12} by .*torch 1\.0.*, now {ours[:12]} by .*torch", line)
    assert "1 of 1 units gave another result; both are kept, the first stays in use" in forced.stderr
    assert json.loads(path.read_text())["content"] == "f" * 64
    (kept,) = (tmp_path / "store" / "alternatives").rglob("*.json")
    assert json.loads(kept.read_text())["content"] == ours

    told = run(tmp_path, "explain", "dataset", "digits").stdout
    assert re.search(rf"has another result {ours[:12]} \(.*\) beside {'f' * 12}", told)
    checked = run(tmp_path, "verify", "dataset", "digits")
    assert checked.returncode == 7
    assert "nothing was changed" in checked.stderr


@pytest.mark.slow
def test_a_study_computes_what_is_missing_once_and_a_score_finds_its_trainings(tmp_path: Path) -> None:
    first = run(tmp_path, "study", "rd3_table_7", "--ipc", "1")
    assert "computed  studies/rd3_table_7 [digits|1]" in first.stdout, first.stderr
    rows = json.loads(run(tmp_path, "study", "rd3_table_7", "--ipc", "1", "--json").stdout)
    assert [(row["status"], row["draws"], row["seeds"]) for row in rows] == [("done", 3, 3)] * 2
    assert rows[1]["accuracy_mean"] > rows[0]["accuracy_mean"] + 0.2
    score = ("--select", 'key:"random/soft_labels" or key:"random/score_convnet2_w64"', "--partition", "digits|1")
    done = run(tmp_path, "sync", *score)
    assert done.stdout.splitlines()[-1].endswith("0 heavy calls"), done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["plan", "--select", "teachr"], "unknown asset in --select 'teachr' → did you mean 'teacher'?"),
        (["plan", "--select", "group:sre2"], "unknown group in --select 'sre2' → did you mean 'sre2l'?"),
        (["plan", "--select", 'key:"a"+key:"b"'], "joined by `and`, `or`, `not`"),
        (
            ["verify", "random/score_convnet2_w64", "digits"],
            "no partition 'digits' → its partitions are like 'digits|1'",
        ),
        (["verify", "teacher", "digits|10"], "no partition 'digits|10' → its partitions are like 'digits'"),
    ],
)
def test_a_mistyped_selection_or_partition_gets_a_short_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode != 0
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()[-1]) < 1200
