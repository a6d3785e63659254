"""Cells that can never work are told apart while nothing but the dataset is in the store.

Belongs here: what a generator or committee cannot give a method, and what reads a blocked input. Does not belong:
settings that are refused when they are read (tests/diffusion/test_settings.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dd_assets.datasets import registry
from dd_assets.errors import InputError
from dd_assets.methods.registry import method
from dd_assets.planning import graph
from dd_assets.planning.cells import Cell, declared_parameters
from dd_assets.planning.engine import Engine
from dd_assets.planning.generation import misfit
from dd_assets.planning.image_sets import resolve_images
from dd_assets.planning.plan import Planner, Row, with_upstream
from dd_resources.compute import Compute
from dd_resources.raw_data import RawData
from dd_resources.store import ArtefactStore
from tests.diffusion.tiny import dit_folder, sd_folder

OWN = """
own:
  base: digits
  ipc: [10, 200]
  recipes: {{{recipes}}}
  generators: {{{generators}}}
"""
BY_CLASS = "generator small knows class ids and reads no prompts: set condition: class"
BY_TEXT = "generator text reads prompts and knows no class ids: set condition: text"
ONE_PROMPT = "prompts: 'a photo' stands for 10 classes: write {name} into the prompt"
NOISE = "start: noise, search_scales: [], search_levels: []"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    """One store for the file, which holds the dataset alone."""
    return ArtefactStore(str(tmp_path_factory.mktemp("misfits") / "store")).open()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DiT of 10 classes and a tiny Stable Diffusion, as folders."""
    root = tmp_path_factory.mktemp("folders")
    dit_folder(root / "dit")
    sd_folder(root / "sd")
    return root


@pytest.fixture
def planner(shared: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Planner]]:
    """A planner of the setting `own`, digits with these recipes and generators, whose dataset is known."""

    def of(recipes: str = "", generators: str = "") -> Planner:
        (tmp_path / "settings.yaml").write_text(OWN.format(recipes=recipes, generators=generators))
        monkeypatch.setenv("DD_DATASETS", str(tmp_path / "settings.yaml"))
        _forget()
        engine, cell = Engine(shared, RawData(str(tmp_path)), Compute(device="cpu", workers=1)), Cell.of("own")
        shared.write_reference("main", graph.stages()["dataset"].resolve(cell, {}, engine))
        return Planner(Engine(shared, RawData(str(tmp_path)), look_only=True), "main")

    yield of
    _forget()


def _forget() -> None:
    registry.settings.cache_clear()
    graph.stages.cache_clear()


def _row(planner: Planner, name: str, ipc: int = 10, noun: str = "synthetic_images") -> Row:
    return planner.visit((f"{name}/{noun}", f"own|{ipc}"))


@pytest.mark.parametrize(
    ("name", "values", "named"),
    [
        ("mgd3", "generator: text, condition: text", "there are no class centroids of generator text, only of small"),
        ("d3hr", "generator: text, condition: text", "there are no class gaussians of generator text, only of small"),
        ("dap", "generator: text, condition: text", "there are no reference latents of generator text, only of small"),
        ("d4m", "condition: text", BY_CLASS),
        ("cao2", "generator: text", BY_TEXT),
        ("prism_dfkd", "generator: small", BY_CLASS),
        ("ddps", "condition: text", BY_CLASS),
        ("minimax", "condition: text", BY_CLASS.replace("small", "minimax")),
        (
            "dap",
            "references: kmeans, start: random",
            "start random reads real latents of whole classes",
        ),
        ("bo_repulsion", f"generator: text, condition: text, prompt: a photo, {NOISE}", ONE_PROMPT),
        ("ddps", "generator: text, condition: text, prompt: a photo", ONE_PROMPT),
        ("focusdd", "pool: [convnet2_w64]", "convnet2_w64 is no vision transformer, whose attention is read"),
    ],
)
def test_a_cell_that_never_works_is_blocked_before_anything_trains(
    planner: Callable[..., Planner], name: str, values: str, named: str
) -> None:
    made = planner(f"{name}: {{{values}}}")
    row = _row(made, name)
    assert (row.status, named in row.reason) == ("blocked", True), row
    assert _row(made, name, noun="soft_labels").status == "blocked"


def test_the_settings_own_recipes_of_every_method_are_no_misfits(planner: Callable[..., Planner]) -> None:
    made = planner()
    for name in ("mgd3", "d3hr", "d4m", "cao2", "prism_dfkd", "ddps", "dap", "bo_repulsion", "focusdd", "minimax"):
        assert _row(made, name).status == "missing", name


@pytest.mark.parametrize(
    ("generators", "name", "named"),
    [
        ("small: {patch: 3}", "small", "autoencoder factor 1, patch 3: the sides do not divide"),
        (
            "text: {patch: 1, space: latents, autoencoder_channels: [8, 8, 8, 8]}",
            "text",
            "a UNet halves them once more",
        ),
        ("pretrained: {folder: FOLDERS/dit}", "pretrained", "own names no WordNet ids for its classes"),
        (
            "pretrained: {folder: FOLDERS/sd}, minimax: {base: pretrained}",
            "minimax",
            "own's pretrained generator reads prompts, and Minimax diffusion goes on with class ids",
        ),
        ("small: {reads: text}", "minimax", "own's small generator reads prompts"),
    ],
)
def test_a_generator_that_never_works_is_refused_before_a_teacher_trains(
    planner: Callable[..., Planner], folders: Path, generators: str, name: str, named: str
) -> None:
    made = planner("d4m: {start: noise}", generators.replace("FOLDERS", str(folders)))
    row = made.visit((f"generator_{name}", "own"))
    assert (row.status, named in row.reason) == ("refused", True), row
    below = {"small": "d4m", "text": "prism_dfkd", "minimax": "minimax"}.get(name)
    if below:
        assert _row(made, below).status == "refused"


def test_what_a_folder_reads_is_looked_up_in_it(planner: Callable[..., Planner], folders: Path) -> None:
    """D4M's published values ask by prompt, which a DiT folder cannot answer; Stable Diffusion's can."""
    asked = "d4m: {generator: pretrained, condition: text}, cao2: {generator: pretrained}"
    made = planner(asked, f"pretrained: {{folder: {folders}/dit, classes: same}}")
    assert _row(made, "d4m").reason == BY_CLASS.replace("small", "pretrained")
    assert _row(made, "cao2").status == "missing"
    made = planner(asked, f"pretrained: {{folder: {folders}/sd, classes: same}}")
    assert _row(made, "d4m").status == "missing"
    assert _row(made, "cao2").reason == BY_TEXT.replace("text reads", "pretrained reads")


def test_a_folder_that_is_not_there_is_no_misfit(planner: Callable[..., Planner]) -> None:
    made = planner("d4m: {generator: pretrained}", "pretrained: nowhere")
    chosen = registry.settings()["own"]
    assert misfit(method("d4m"), declared_parameters(method("d4m"), chosen), chosen, made.engine.raw) == ""
    assert _row(made, "d4m").status == "refused"


@pytest.mark.parametrize(
    ("name", "recipes", "waits_for"),
    [
        ("cao2", "cao2: {start: random}", "reference_latents"),
        ("cao2", "cao2: {start: nearest}", "class_centroids"),
    ],
)
def test_what_reads_a_blocked_input_is_blocked(
    planner: Callable[..., Planner], name: str, recipes: str, waits_for: str
) -> None:
    made = planner(recipes)
    reason = f"reads {waits_for}: its smallest class has 139 training images, IPC is 200"
    row = _row(made, name, 200)
    assert (row.status, row.reason) == ("blocked", reason)
    assert (_row(made, name, 200, "soft_labels").status, _row(made, name).status) == ("blocked", "missing")
    # As sync asks, which has visited nothing yet.
    target = (f"{name}/score_convnet2_w64", "own|200")
    fresh = Planner(made.engine, "main")
    fresh.visit(("dataset", "own"))
    assert fresh.blocked_reasons(with_upstream([target]))[target] == reason


def test_a_launch_that_cannot_work_is_refused_with_what_helps(planner: Callable[..., Planner]) -> None:
    made = planner()
    made.visit(("dataset", "own"))
    found = {"dataset": made.found[("dataset", "own")]}
    with pytest.raises(InputError, match="reads no prompts: set condition: class"):
        resolve_images(method("d4m"), Cell.of("own|10", {"condition": "text"}), found, made.engine)
