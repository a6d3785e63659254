"""Results taken elsewhere: read back by others' tools, and enough to train a student again."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dd_assets
from dd_assets.datasets import registry
from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError, StoreError, UnknownNameError
from dd_assets.evaluation.accuracy import prepare_test
from dd_assets.evaluation.label_codecs import epoch_sources
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS, Views
from dd_assets.evaluation.views import span_geometry
from dd_assets.models.architectures import build_model
from dd_assets.planning import graph
from dd_assets.sharing.export import _TAKEN, _TAKEN_VIEWS, _example, export, unexpressed
from dd_assets.sharing.library import Library, SoftLabels, Training
from dd_assets.sharing.students import student_code
from tests.test_cli import run

PROJECT = Path(__file__).resolve().parents[2]
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
    assert "8 × 8 px, grey)" in card
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


REFUSED: dict[str, Mapping[str, Any]] = {
    "loss='mse_gt', gamma=0.1": {"loss": "mse_gt", "gamma": 0.1},
    "loss='dkd', kd_target='base', kd_ce=1.0, dkd_alpha=2.0, dkd_beta=8.0, dkd_warmup=20": {
        "loss": "dkd",
        "kd_target": "base",
        "kd_ce": 1.0,
        "dkd_alpha": 2.0,
        "dkd_beta": 8.0,
        "dkd_warmup": 20,
    },
    "loss='nkd', nkd_gamma=1.0": {"loss": "nkd", "nkd_gamma": 1.0},
    "loss='lskd', lskd_weight=1.0": {"loss": "lskd", "lskd_weight": 1.0},
    "loss='crld', crld_within=1.0, crld_cross=1.0, crld_weak_confidence=0.5, crld_strong_confidence=0.5": {
        "loss": "crld",
        "label_storage": "online",
        "crld_within": 1.0,
        "crld_cross": 1.0,
        "crld_weak_confidence": 0.5,
        "crld_strong_confidence": 0.5,
    },
    "optimiser='sgd', momentum=0.5": {"optimiser": "sgd", "momentum": 0.5},
    "schedule='cos2'": {"schedule": "cos2"},
    "schedule='multistep', milestones=(0.5,), milestone_rule='down', decay=0.1": {
        "milestone_rule": "down",
        "schedule": "multistep",
        "milestones": (0.5,),
        "decay": 0.1,
    },
    "ema=0.99": {"ema": 0.99},
    "batch_norm_updates=2": {"batch_norm_updates": 2},
    "sample_weights='column'": {"sample_weights": "column"},
    "label_micro_batch=8": {"label_batch_norm": "batch", "label_micro_batch": 8},
    "label_codec='int8'": {"label_codec": "int8"},
    "label_top_k=3": {"label_top_k": 3},
    "label_epochs=5": {"label_epochs": 5},
}
REFUSED_VIEWS: dict[str, Mapping[str, Any]] = {
    "views.mixup_alpha=0.8": {"mixup_alpha": 0.8, "cutmix_alpha": 0.0},
    "views.rand_operations=2, views.rand_magnitude=9": {"rand_operations": 2, "rand_magnitude": 9},
    "views.jitter=0.4": {"jitter": 0.4},
}


def protocol_with(changes: Mapping[str, Any], views: Mapping[str, Any]) -> Protocol:
    return Protocol(views=replace(VIEW_PRESETS["rd3"], **views), **changes)


@pytest.mark.parametrize(
    ("words", "protocol"),
    [
        *((words, protocol_with(changes, {})) for words, changes in REFUSED.items()),
        *((words, protocol_with({}, changes)) for words, changes in REFUSED_VIEWS.items()),
    ],
)
def test_what_the_example_cannot_do_is_named(words: str, protocol: Protocol) -> None:
    assert ", ".join(unexpressed(protocol)) == words


def test_every_field_of_the_protocol_is_either_taken_or_refused() -> None:
    """A field that the protocol gains is refused until somebody has looked at the example."""
    refused = {name for changes in REFUSED.values() for name in changes} - _TAKEN
    assert refused | _TAKEN == {item.name for item in fields(Protocol)}
    refused = {name for changes in REFUSED_VIEWS.values() for name in changes} - _TAKEN_VIEWS
    assert refused | _TAKEN_VIEWS == {item.name for item in fields(Views)}


def test_what_the_example_takes_is_not_refused() -> None:
    taken = {"epochs": 7, "batch": 3, "zeta": 2.0, "learning_rate": 0.1, "temperature": 4.0, "precision": "bf16"}
    committee = {"labeller": "committee", "label_mix": "priors", "label_batch_norm": "batch", "label_dropout": True}
    views = {"shuffle_factor": 1, "crop_scale_min": 0.08, "hflip": 0.0, "cutmix_alpha": 0.0, "preset": "own"}
    assert unexpressed(protocol_with({**taken, **committee}, views)) == []


def stated_otherwise(training: Training, **changes: Any) -> Training:
    recipe = dict(training.manifest.recipe)
    recipe["parameters"] = {**recipe["parameters"], "protocol": {**training.protocol, **changes}}
    return replace(training, manifest=replace(training.manifest, recipe=recipe))


def test_a_training_that_the_example_would_not_repeat_is_refused_before_anything_is_written(
    library: Library, training: Training, tmp_path: Path
) -> None:
    odd = stated_otherwise(training, optimiser="sgd", ema=0.9)
    with pytest.raises(InputError, match=r"rded.* cannot follow .*optimiser='sgd', ema=0.9 → .*--label hard"):
        export(library, odd, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_images_whose_labels_are_not_exported_need_no_example(library: Library, tmp_path: Path) -> None:
    hard = library.training("rded", "shared", 2, STUDENT, label="hard")
    names = export(library, stated_otherwise(hard, optimiser="sgd"), tmp_path / "hard")
    assert "train.py" not in names
    assert "data/train.parquet" in names


def test_the_example_trains_in_mixed_precision_where_the_score_did(
    library: Library, training: Training, tmp_path: Path
) -> None:
    export(library, stated_otherwise(training, precision="bf16"), tmp_path / "bf16")
    text = (tmp_path / "bf16/train.py").read_text()
    assert 'torch.autocast("cpu", torch.bfloat16, enabled=True)' in text
    ast.parse(text)


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


@pytest.mark.parametrize("architecture", ["convnet2_w64", "resnet20_cifar", "resnet18", "wrn16_2"])
@pytest.mark.parametrize("size", [32, 64])
def test_the_example_is_as_long_as_the_page_says(architecture: str, size: int) -> None:
    template = PROJECT / "dd_assets/sharing/templates/train.py.j2"
    _, body = student_code(architecture, 10, 3, size)
    text = template.read_text("utf-8").replace("{{ student }}", body)
    lines = sum(not line.startswith("{%") for line in text.splitlines())
    least, most = re.findall(r"(\d+) to (\d+) lines", (PROJECT / "docs/sharing.md").read_text("utf-8"))[0]
    assert int(least) <= lines <= int(most)


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


@pytest.mark.parametrize("size", [32, 64, 224])
def test_the_example_tests_on_the_images_that_the_score_was_measured_on(size: int) -> None:
    given = {"normalisation": {"mean": [0.5], "std": [0.5]}}
    protocol = {"epochs": 1, "learning_rate": 1, "weight_decay": 0, "temperature": 1, "zeta": 1, "precision": "fp32"}
    told: Any = SimpleNamespace(
        manifest=SimpleNamespace(recipe={"parameters": given}),
        protocol={**protocol, "views": {"shuffle_factor": 1}},
        student="resnet18",
    )
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    text = _example(told, SimpleNamespace(images=pixels, classes=("a", "b")))  # type: ignore[arg-type]
    (block,) = re.findall(r"    pictures, truth = read\(sys\.argv\[1\]\)\n(.*?)    with torch", text, re.DOTALL)
    scope = {"F": torch.nn.functional, "pictures": torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255}
    exec(textwrap.dedent(block), scope)
    seen = (scope["pictures"] * 255).round().permute(0, 2, 3, 1)
    # The library's own arithmetic on whole numbers rounds some halves the other way.
    assert (seen - prepare_test(pixels).float()).abs().max() <= 1
    assert bool(block) == (size > 32)


def test_a_batch_knows_its_epoch_and_whose_labels_it_has() -> None:
    """Two of six epochs' labels: a rate that followed the labels' epochs would never fall."""
    protocol = Protocol(views=VIEW_PRESETS["rded_factor"], epochs=6, batch=2, label_epochs=2)
    schedule = span_geometry(protocol.views, 3, 8, protocol.batch, 0, epoch_sources(protocol, 0).tolist())
    soft = SoftLabels(
        SimpleNamespace(images=np.zeros((3, 8, 8, 1), np.uint8), labels=np.arange(3)),  # type: ignore[arg-type]
        schedule,
        np.zeros((len(schedule.image_id), 3), np.float16),
        Normalisation(mean=(0.5,), std=(0.5,)),
    )
    batches = [soft[index] for index in range(len(soft))]
    assert [batch.epoch for batch in batches] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert {batch.labelled_epoch for batch in batches} == {0, 1}
