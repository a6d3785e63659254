"""Results taken elsewhere: read back by others' tools, and enough to train a student again."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dd_assets
from dd_assets.datasets import registry
from dd_assets.errors import InputError, StoreError, UnknownNameError
from dd_assets.models.architectures import build_model
from dd_assets.planning import graph
from dd_assets.sharing.export import export
from dd_assets.sharing.library import Library, SoftLabels, Training
from dd_assets.sharing.students import student_code
from tests.test_cli import run

SETTINGS = Path(__file__).with_name("shared.yaml")
STUDENT = "convnet2_w64"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A store that the command line filled with one scored cell of real digits, 150 short epochs."""
    folder = tmp_path_factory.mktemp("shared")
    options = ("--select", f'key:"rded/score_{STUDENT}"', "--partition", "shared|2")
    done = run(folder, "sync", *options, DD_DATASETS=str(SETTINGS))
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DD_DATASETS", str(SETTINGS))
        for cache in (registry.settings, graph.stages):
            cache.cache_clear()
        yield dd_assets.open(str(folder / "store"))
    for cache in (registry.settings, graph.stages):
        cache.cache_clear()


@pytest.fixture(scope="module")
def training(library: Library) -> Training:
    return library.training("rded", "shared", 2, STUDENT, seed=1)


@pytest.fixture(scope="module")
def exported(library: Library, training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dd_resources.raw_data import RawData

    folder = tmp_path_factory.mktemp("exports") / "rded"
    _, test = RawData("").load("shared", training.dataset.content)
    export(library, training, folder, test=test)
    return folder


def test_an_image_set_is_a_torch_dataset(library: Library) -> None:
    images = library.image_set("rded", "shared", 2, draw=1)
    assert (len(images), images.classes) == (20, tuple("0123456789"))
    assert images.labels.tolist() == list(range(10)) * 2
    inputs, labels = next(iter(torch.utils.data.DataLoader(images, batch_size=20)))
    assert inputs.shape == (20, 1, 8, 8)
    assert labels.tolist() == images.labels.tolist()
    np.testing.assert_array_equal((inputs * 255).round().byte().permute(0, 2, 3, 1).numpy(), images.images)
    with pytest.raises(IndexError):
        images[20]


def test_soft_labels_are_the_teachers_answers_on_the_views_they_give(library: Library, training: Training) -> None:
    from dd_assets.models.checkpoint import read

    soft = library.read_soft_labels(training)
    assert isinstance(soft, SoftLabels)
    batches = list(torch.utils.data.DataLoader(soft, batch_size=None))
    assert len(batches) == 150  # epochs, each one batch of all twenty images
    assert training.labels is not None
    teacher = library.store.lookup(training.labels.sources["teacher"])
    assert teacher is not None
    weights = library.store.read(teacher, "teacher.safetensors")
    network = build_model(STUDENT, classes=10, channels=1, size=8, seed=0)
    network.load_state_dict(read(weights)[0])
    network.eval()
    for batch in batches:
        with torch.no_grad():
            answers = network(batch.inputs)
        # fp16 has 11 bits: relative 2**-11, for logits below 32 at most .016.
        torch.testing.assert_close(batch.logits, answers, rtol=0, atol=0.02)
        assert 0 <= batch.lam <= 1
        assert batch.base.shape == batch.pasted.shape == (20,)


def test_what_is_not_there_is_named(library: Library) -> None:
    with pytest.raises(UnknownNameError, match=r"sre2l/synthetic_images \[shared\|2\] is not in .* sync --select"):
        library.image_set("sre2l", "shared", 2)
    with pytest.raises(UnknownNameError, match="did you mean 'rded'"):
        library.image_set("rdde", "shared", 2)
    with pytest.raises(InputError, match="has no draw 9"):
        library.image_set("rded", "shared", 2, draw=9)
    with pytest.raises(InputError, match="no training with hard labels and seed 8"):
        library.training("rded", "shared", 2, STUDENT, label="hard", seed=8)
    hard = library.training("rded", "shared", 2, STUDENT, label="hard")
    with pytest.raises(InputError, match="was trained with hard labels"):
        library.read_soft_labels(hard)


def test_hugging_face_datasets_reads_an_export(exported: Path, library: Library, training: Training) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "parquet", data_files=str(exported / "data/train.parquet"), split="train", cache_dir=str(exported.parent / "hf")
    )
    images = library.read_images(training.images)
    assert loaded.features["label"].names == list("0123456789")
    assert loaded["label"] == images.labels.tolist()
    np.testing.assert_array_equal(np.stack([np.asarray(item) for item in loaded["image"]]), images.images[..., 0])


def test_the_stores_own_file_is_read_as_it_is(library: Library, training: Training, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / "images.parquet").write_bytes(library.store.read(training.images, "images.parquet"))
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "images.parquet"), split="train", cache_dir=str(tmp_path / "hf")
    )
    assert len(loaded) == 20
    assert loaded[3]["image"].size == (8, 8)


def test_the_card_and_the_provenance_say_what_it_is(exported: Path, training: Training) -> None:
    card = (exported / "README.md").read_text()
    assert card.startswith("---\nconfigs:")
    assert f"{100 * training.accuracy:.2f} %" in card
    assert training.images.content in card
    assert "commit unknown" not in card
    assert f"torch {torch.__version__}, python " in card
    assert "begins from another\ninitialisation" in card
    found = json.loads((exported / "provenance.json").read_text())
    kinds = {unit["recipe"]["unit"] for unit in found["units"].values()}
    assert kinds == {"training", "labels", "image_set", "images/rded", "teacher", "dataset"}
    assert found["units"][found["training"]]["content"] == training.manifest.content


def test_the_example_trains_the_scored_student_again(exported: Path, training: Training) -> None:
    """Same images, views, labels and steps from another initialisation: the accuracies are near.

    Labels in another order, or views that do not belong to their logits, would leave it near chance (.1).
    """
    done = subprocess.run(
        [sys.executable, "train.py", "test.parquet"], cwd=exported, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    accuracy = float(done.stdout.split()[-1])
    assert accuracy > 0.5
    assert abs(accuracy - training.accuracy) < 0.1
    assert (exported / "student.pt").exists()
    assert "dd_assets" not in (exported / "train.py").read_text()


def test_an_image_folder_counts_its_classes_in_label_order(
    library: Library, training: Training, tmp_path: Path
) -> None:
    from torchvision.datasets import ImageFolder

    export(library, training, tmp_path / "folder", layout="imagefolder")
    read = ImageFolder(str(tmp_path / "folder" / "train"))
    images = library.read_images(training.images)
    assert sorted(label for _, label in read.samples) == sorted(images.labels.tolist())
    for path, label in read.samples:
        with Image.open(io.BytesIO(Path(path).read_bytes())) as picture:
            row = int(Path(path).stem) * 10 + label
            np.testing.assert_array_equal(np.asarray(picture), images.images[row, ..., 0])


def test_nothing_is_written_over_and_no_half_folder_stays(library: Library, training: Training, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not an empty folder"):
        export(library, training, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        export(library, training, tmp_path / "file" / "below")
    with pytest.raises(UnknownNameError, match="unknown format 'zip'"):
        export(library, training, tmp_path / "new", layout="zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("export", "rded", "digit", "10", "new"), "did you mean 'digits'"),
        (("export", "rdde", "digits", "10", "new"), "did you mean 'rded'"),
        (("export", "rded", "digits", "10", "."), "is not an empty folder"),
        (("export", "rded", "digits", "10", "new", "--format", "zip"), "unknown format 'zip'"),
        (("new-method", "Bad Name", "new"), "cannot name a method"),
        (("new-method", "mine", "."), "is not an empty folder"),
    ],
)
def test_refusals_come_before_anything_slow_is_imported(command: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    script = (
        "import sys\nfrom dd_assets.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    print([m for m in ('torch', 'dagster', 'pyarrow') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "DD_STORE": str(tmp_path / "store")}
    done = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert words in done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("architecture", "size", "channels"),
    [("convnet2_w64", 8, 1), ("convnet3_w128", 32, 3), ("resnet20_cifar", 32, 3), ("resnet18", 32, 3)],
)
def test_the_examples_networks_are_the_projects(architecture: str, size: int, channels: int) -> None:
    """Equal shapes of parameters in equal order; the option-A shortcuts have none, so outputs are compared too."""
    name, body = student_code(architecture, 10, channels, size)
    assert name == architecture
    scope: dict = {"nn": torch.nn, "F": torch.nn.functional}
    exec(compile(ast.parse("def student():\n" + body), "student", "exec"), scope)
    small = scope["student"]().eval()
    ours = build_model(architecture, classes=10, channels=channels, size=size, seed=3).eval()
    state = ours.state_dict()
    assert [tuple(v.shape) for v in small.state_dict().values()] == [tuple(v.shape) for v in state.values()]
    small.load_state_dict(dict(zip(small.state_dict(), state.values(), strict=True)))
    inputs = torch.linspace(-1, 1, 2 * channels * size**2).view(2, channels, size, size).sin()
    with torch.no_grad():
        torch.testing.assert_close(small(inputs), ours(inputs), rtol=1e-4, atol=1e-4)


def test_an_architecture_without_a_short_form_says_which_network_it_teaches_instead() -> None:
    name, body = student_code("wrn16_2", 10, 3, 32)
    assert re.search(r"resnet18 \(the score is wrn16_2's\)", name)
    assert "maxpool = nn.Identity()" in body


def test_the_package_offers_its_api_by_name() -> None:
    assert dd_assets.Library is Library
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dd_assets.nothing


def test_a_cell_moves_to_another_store_and_is_reused_there(library: Library, tmp_path: Path) -> None:
    asset = f"rded/score_{STUDENT}"
    options = ("--select", f'key:"{asset}"', "--partition", "shared|2")
    settings = {"DD_DATASETS": str(SETTINGS)}
    moved = run(tmp_path, "transfer", str(tmp_path / "store"), *options, "--from", library.store.root, **settings)
    assert moved.returncode == 0, moved.stderr
    assert "5 asset partitions: " in moved.stdout
    synced = run(tmp_path, "sync", *options, **settings)
    assert f"adopted   {asset} [shared|2]" in synced.stdout
    assert "0 computed, 0 reused, 5 adopted, 0 blocked; 0 heavy calls" in synced.stdout
    same = run(tmp_path, "transfer", str(tmp_path / "store"), *options, **settings)
    assert same.returncode == 3
    assert "is the store to copy from" in same.stderr
