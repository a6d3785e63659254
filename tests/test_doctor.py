"""What the doctor examines beside datasets: the folders that a setting takes generators from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dd_assets.datasets import registry
from dd_assets.doctor import examine, examine_folder
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.methods.registry import METHODS
from dd_assets.planning.cells import Cell
from tests.diffusion.hub_cache import FOLDER, REVISION, Hub, hub
from tests.diffusion.tiny import dit_folder

__all__ = ["hub"]


@pytest.fixture
def examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Examines with settings over digits that have these generators, below an own data root."""

    def examine_with(generators: str) -> dict[str, tuple[bool, str]]:
        (tmp_path / "settings.yaml").write_text(f"own: {{base: digits, generators: {generators}}}\n")
        monkeypatch.setenv("DD_DATASETS", str(tmp_path / "settings.yaml"))
        monkeypatch.setenv("DD_DATA_ROOT", str(tmp_path))
        monkeypatch.setenv("DD_STORE", str(tmp_path / "store"))
        registry.settings.cache_clear()
        return {row["check"]: (row["ok"], row["detail"]) for row in examine()}

    yield examine_with
    registry.settings.cache_clear()


@pytest.mark.parametrize(
    ("generators", "field"),
    [
        ("{pretrained: gone/dit}", "pretrained"),
        ("{language_model: gone/dit}", "language_model"),
        ("{text: {iterations: 5, text_encoder: gone/dit}}", "text: text_encoder"),
    ],
)
def test_a_generators_folder_that_does_not_exist_is_named(
    examined, tmp_path: Path, generators: str, field: str
) -> None:
    ok, detail = examined(generators)["generators of own"]
    assert not ok
    assert detail.startswith(f"generators, {field}: folder {tmp_path}/gone/dit does not exist → correct the setting")


def test_a_generators_folder_that_lacks_files_says_which(examined, tmp_path: Path) -> None:
    (tmp_path / "dit").mkdir()
    (tmp_path / "dit/model_index.json").write_text(json.dumps({"_class_name": "DiTPipeline"}))
    ok, detail = examined("{pretrained: dit}")["generators of own"]
    assert not ok
    assert "lacks transformer/config.json" in detail


def test_a_generator_of_the_hub_is_looked_for_and_never_fetched(
    examined, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dit_folder(tmp_path / "dit")
    hub.repository = tmp_path / "dit"
    stated = f"{{pretrained: {{folder: {FOLDER!r}, revision: {REVISION!r}, classes: same}}}}"
    ok, detail = examined(stated)["generators of own"]
    assert not ok
    assert detail.startswith(f"{FOLDER} at revision {REVISION} is not in the cache of this machine → put it into")
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    named = f"pretrained {FOLDER} at {REVISION[:12]}"
    assert examined(stated)["generators of own"] == (True, f"{named}, fetched when it is first used")
    hub.cached()
    assert examined(stated)["generators of own"] == (True, f"{named}, in the cache")
    assert not hub.asked


def test_settings_without_folders_from_elsewhere_have_no_such_row(examined) -> None:
    rows = examined("{}")
    assert rows["dataset own"][0]
    assert not [check for check in rows if check.startswith("generators")]


def test_the_instances_folder_is_tried_and_not_made(examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    ok, detail = examined("{}")["dagster instance"]
    assert not ok
    assert detail.startswith(f"{home} cannot be written: Not a directory → set DAGSTER_HOME to a folder that")
    home = tmp_path / "new" / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    assert examined("{}")["dagster instance"] == (True, f"{home}, made when it is first needed")
    assert not home.parent.exists()
    home.mkdir(parents=True)
    assert examined("{}")["dagster instance"] == (True, str(home))
    assert not list(home.iterdir())


def test_a_settings_file_that_cannot_be_written_is_refused_before_the_survey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dd_assets.datasets.survey.survey", lambda *_: pytest.fail("the survey had begun"))
    target = tmp_path / "missing" / "settings.yaml"
    with pytest.raises(InputError, match=f"^{target.parent} is no folder that can be written to → name a file in one"):
        examine_folder("numbers", str(target))


@pytest.mark.parametrize(
    ("variables", "check", "named"),
    [
        ({"DD_EXCLUSIVE_THREADS": "abc"}, "device", "DD_EXCLUSIVE_THREADS='abc'"),
        ({"DD_EXECUTOR": "ray", "DD_STORE_SHARED": "1", "DD_STEP_CPUS": "x"}, "executor", "DD_STEP_CPUS='x'"),
        ({"DD_EXECUTOR": "k8s", "DD_STORE_SHARED": "1", "DD_K8S_POD": "gone.yaml"}, "executor", "DD_K8S_POD=gone.yaml"),
        ({"DD_RECIPES": "gone"}, "methods", "DD_RECIPES=gone is not a folder"),
    ],
)
def test_a_variable_that_every_computing_command_refuses_is_named(
    examined, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], check: str, named: str
) -> None:
    METHODS.cache_clear()
    rows = examined("{}")
    assert rows[check][0], rows[check]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    METHODS.cache_clear()
    rows = examined("{}")
    METHODS.cache_clear()
    assert not rows[check][0]
    assert named in rows[check][1]
    assert [name for name, (ok, _) in rows.items() if not ok] == [check]


def test_a_setting_that_no_command_finds_by_its_partition_is_named(
    examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.yaml").write_text("digits-10: {base: digits}\n")
    monkeypatch.setenv("DD_DATASETS", str(tmp_path / "settings.yaml"))

    def row() -> tuple[bool, str]:
        registry.settings.cache_clear()
        return {row["check"]: (row["ok"], row["detail"]) for row in examine()}["dataset digits-10"]

    assert row()[0]

    def refuse(partition: str) -> Cell:
        raise UnknownNameError(f"unknown partition {partition!r}")

    monkeypatch.setattr(Cell, "of", refuse)
    assert row() == (False, "unknown partition 'digits-10'")
