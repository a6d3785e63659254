"""Generators in a user's settings file.

Belongs here: datasets/generator_settings.py through the file. Does not belong: other fields.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dd_assets.datasets import registry
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.setting import Setting
from dd_assets.datasets.user_settings import read_settings
from dd_assets.diffusion.building import build_transformer
from dd_assets.diffusion.recipes import FINE_TUNINGS, RECIPES
from dd_assets.diffusion.registry import Generators, latent_shape
from dd_assets.errors import DDError, InputError, UnknownNameError
from dd_assets.methods.contract import with_overrides
from dd_assets.planning import graph


def _read(tmp_path: Path, text: str, base: str = "cifar10") -> Setting:
    path = tmp_path / "settings.yaml"
    path.write_text(f"own: {{base: {base}, generators: {text}}}\n")
    return read_settings(path)[0]


def test_a_base_brings_its_generator_and_a_name_replaces_it(tmp_path: Path) -> None:
    own = Generators(small=RECIPES["cifar10"], text=RECIPES["cifar10_text"], minimax=FINE_TUNINGS["cifar10"])
    assert _read(tmp_path, "{}").generators == own
    assert _read(tmp_path, "{small: cifar10_cpu}").generators.small == RECIPES["cifar10_cpu"]
    assert _read(tmp_path, "{small: null, text: null, minimax: null}").generators == Generators()
    assert "CPU-sized" in RECIPES["cifar10_cpu"].cost
    assert "GPU-sized" in RECIPES["cifar10"].cost


def test_fields_are_laid_over_the_bases_recipe(tmp_path: Path) -> None:
    small = _read(tmp_path, "{small: {iterations: 7, kl_weight: 1e-7, autoencoder_channels: [8, 16]}}").generators.small
    assert small is not None
    # YAML 1.1 takes 1e-7 for text.
    assert small.kl_weight == 1e-7
    assert (small.iterations, small.autoencoder_channels, small.width) == (7, (8, 16), RECIPES["cifar10"].width)


def test_a_folder_and_another_settings_images_are_stated_by_name(tmp_path: Path) -> None:
    made = _read(tmp_path, "{pretrained: {folder: DiT, variant: fp16, precision: fp16}, foreign: mnist}", "imagenette")
    folder = made.generators.pretrained
    assert folder is not None
    assert (folder.folder, folder.variant, folder.precision, folder.classes) == ("DiT", "fp16", "fp16", "imagenet")
    assert made.generators.foreign == "mnist"
    assert made.generators.names() == ("pretrained", "foreign", "minimax")
    short = _read(tmp_path, "{pretrained: /data/sd}", "imagenette").generators.pretrained
    assert short is not None
    assert short.folder == "/data/sd"


def test_a_generator_of_the_hub_is_stated_with_its_commit(tmp_path: Path) -> None:
    made = _read(
        tmp_path, f"{{pretrained: {{folder: hub:facebook/DiT-XL-2-256, revision: '{'1' * 40}'}}}}", "imagenette"
    )
    folder = made.generators.pretrained
    assert folder is not None
    assert (folder.folder, folder.revision) == ("hub:facebook/DiT-XL-2-256", "1" * 40)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "{pretrained: hub:facebook/DiT-XL-2-256}",
            "settings.yaml: own: revision '' of hub:facebook/DiT-XL-2-256 is no",
        ),
        ("{pretrained: {folder: hub:facebook/DiT-XL-2-256, revision: main}}", "revision 'main' .* all 40 hexadecimal"),
        ("{pretrained: {folder: hub:DiT-XL-2-256, revision: main}}", "names no repository → write hub:owner/name"),
        ("{smal: cifar10}", "did you mean 'small'"),
        ("{small: cifar11}", "did you mean 'cifar10'"),
        ("{small: {iterations: many}}", "iterations='many' is not a int"),
        ("{small: {space: latent}}", "did you mean 'latents'"),
        ("{pretrained: {variant: fp16}}", "give folder: <path or hub:owner/name>"),
        ("{pretrained: {folder: x, classes: imagnet}}", "did you mean 'imagenet'"),
        ("{foreign: [mnist]}", "name a setting"),
        ("{minimax: ditt}", "did you mean 'dit'"),
        ("{minimax: [dit]}", "give a fine-tuning's name or fields"),
        ("{minimax: {base: smal}}", "did you mean 'small'"),
        ("[small]", "must be a mapping"),
        ("{small: {batch: 0}}", "own, generator small: generator recipe: batch=0 → give a whole number, 1 or more"),
        ("{small: {iterations: 0}}", "iterations=0 → give a whole number, 1 or more"),
        ("{small: {heads: 0}}", "heads=0 → give a whole number, 1 or more"),
        ("{small: {heads: 5}}", "width 384 is no multiple of 5 heads"),
        ("{text: {heads: 5}}", "width 192 is no multiple of 5 heads"),
        ("{small: {patch: 0}}", "patch=0 → give a whole number, 1 or more"),
        ("{small: {recognition_floor: 3.0}}", r"recognition_floor=3.0 → give a number in \[0, 1\]"),
        ("{small: {label_drop: -1.0}}", r"label_drop=-1.0 → give a number in \[0, 1\]"),
        ("{small: {ema: 1.0}}", r"ema=1.0 → give a number in \[0, 1\)"),
        ("{small: {learning_rate: 0.0}}", "learning_rate=0.0 → give a finite number above 0"),
        ('{small: {autoencoder_channels: ["8", 16]}}', r"autoencoder_channels=\['8', 16\] is no list of int"),
        ("{small: {autoencoder_channels: []}}", r"autoencoder_channels=\(\) → give one or more whole numbers"),
        ("{small: {autoencoder_channels: [8, 0]}}", r"autoencoder_channels=\(8, 0\) → give one or more whole numbers"),
        ("{minimax: {memory: 0}}", "own, generator minimax: fine-tuning: memory=0 → give a whole number, 1 or more"),
        ("{minimax: {batch: 0}}", "fine-tuning: batch=0 → give a whole number, 1 or more"),
        ("{minimax: {diversity: -1.0}}", "diversity=-1.0 → give a finite number, 0 or more"),
        ("{minimax: {trained: some}}", "unknown trained of a fine-tuning 'some' → known: all, difffit"),
    ],
)
def test_what_cannot_work_is_refused_by_field(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(DDError, match=named):
        _read(tmp_path, text)


@pytest.mark.parametrize(
    ("recipes", "named"),
    [
        ("{d4m: {generator: smal}}", "own: unknown generator of d4m 'smal' → did you mean 'small'"),
        ("{ddps: {generator: smal}}", "did you mean 'small'"),
        ("{mgd3: {search_levels: ['1e-1', 0.3]}}", r"search_levels=\['1e-1', 0.3\] is no list of float"),
        ("{mgd3: {search_scales: ['a']}}", r"search_scales=\['a'\] is no list of float"),
        ("{focusdd: {pool: [[vit_micro]]}}", r"pool=\[\['vit_micro'\]\] is no list of str"),
    ],
)
def test_parameters_that_cannot_work_are_refused_by_name(tmp_path: Path, recipes: str, named: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"own: {{base: digits, recipes: {recipes}}}\n")
    with pytest.raises(DDError, match=named):
        read_settings(path)


def test_a_misspelt_generator_leaves_the_graph_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No edge is made of it: the settings are refused, and without them all stages load."""
    (tmp_path / "settings.yaml").write_text("own: {base: digits, recipes: {d4m: {generator: smal}}}\n")
    monkeypatch.setenv("DD_DATASETS", str(tmp_path / "settings.yaml"))
    for cached in (registry.settings, graph.stages):
        cached.cache_clear()
    with pytest.raises(UnknownNameError, match="did you mean 'small'"):
        graph.stages()
    monkeypatch.delenv("DD_DATASETS")
    registry.settings.cache_clear()
    stages = graph.stages()
    assert all(name in stages for stage in stages.values() for name in stage.inputs)


def test_a_launch_is_held_to_what_settings_are() -> None:
    small, tuning = RECIPES["digits"], FINE_TUNINGS["digits"]
    with pytest.raises(UnknownNameError, match="unknown space of a generator recipe 'latent' → did you mean 'latents'"):
        with_overrides(small, {"space": "latent"}, "generator small of digits")
    with pytest.raises(InputError, match="iterations=0"):
        with_overrides(small, {"iterations": 0}, "generator small of digits")
    with pytest.raises(InputError, match="memory=0"):
        with_overrides(tuning, {"memory": 0}, "generator minimax of digits")


def test_every_small_setting_of_the_catalogue_has_a_recipe_that_says_what_it_costs() -> None:
    for name in ("digits", "mnist", "fashion_mnist", "cifar10"):
        recipe = CATALOGUE[name].generators.small
        assert recipe is not None
        assert recipe.source
        assert recipe.cost


@pytest.mark.parametrize("data", ["mnist", "fashion_mnist", "cifar10"])
def test_each_real_dataset_has_a_recipe_for_a_gpu_and_a_smaller_one_for_a_cpu(tmp_path: Path, data: str) -> None:
    """Both can be named, say what they are sized for, and fit the dataset's images."""
    large, small = (_read(tmp_path, f"{{small: {name}}}", data).generators.small for name in (data, f"{data}_cpu"))
    assert large == CATALOGUE[data].generators.small
    assert large is not None
    assert small is not None
    assert large.cost.startswith("GPU-sized: ")
    assert small.cost.startswith("CPU-sized: ")
    assert small.iterations * small.batch < large.iterations * large.batch / 2
    assert small.autoencoder_iterations < large.autoencoder_iterations
    chosen = CATALOGUE[data]
    for recipe in (large, small):
        assert 0 < recipe.recognition_floor < 1
        assert recipe.hflip == chosen.hflip
        shape = latent_shape(recipe, chosen.size, chosen.channels)
        with torch.device("meta"):
            assert build_transformer(recipe, shape, 10, 0).config.sample_size == shape[1]


def test_a_fine_tuning_is_a_name_or_fields_over_the_bases(tmp_path: Path) -> None:
    named = _read(tmp_path, "{minimax: dit}").generators.minimax
    assert named == FINE_TUNINGS["dit"]
    laid = _read(tmp_path, "{minimax: {iterations: 7, learning_rate: 1e-3}}").generators.minimax
    assert laid is not None
    assert (laid.iterations, laid.learning_rate, laid.base) == (7, 1e-3, FINE_TUNINGS["cifar10"].base)


def test_every_fine_tuning_has_the_originals_weights_and_says_where_it_comes_from() -> None:
    for name, entry in CATALOGUE.items():
        recipe = entry.generators.minimax
        assert recipe is not None, name
        assert recipe.source
        assert recipe.base == ("small" if entry.generators.small else "pretrained")
    dit = FINE_TUNINGS["dit"]
    assert (dit.representativeness, dit.diversity, dit.memory) == (0.002, 0.008, 64)
    assert (dit.trained, dit.iterations, dit.batch, dit.learning_rate, dit.ema) == ("difffit", 12_000, 8, 1e-3, 0.9999)
