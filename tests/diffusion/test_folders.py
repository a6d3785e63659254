"""Pre-trained folders: the real classes and layouts, tiny and random.

Belongs here: layout.py and folders.py. Does not belong: the asset (test_stages.py).
"""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dd_assets.diffusion.contract import Sampling
from dd_assets.diffusion.denoisers import Condition
from dd_assets.diffusion.folders import DTYPES, load_folder
from dd_assets.diffusion.generate import conditions, sample_rows, to_images
from dd_assets.diffusion.generator import Generator
from dd_assets.diffusion.layout import generator_files, reads_text
from dd_assets.diffusion.sampling import Start, Trace, noised, sample
from dd_assets.errors import InputError
from dd_assets.synthesis.batches import Batch
from tests.diffusion.tiny import dit_folder, half_folder, rows, sd_folder

NAMES = tuple("abcdefghij")


@pytest.fixture(scope="module")
def dit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dit") / "pipeline"
    dit_folder(folder)
    return folder


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd") / "pipeline"
    sd_folder(folder)
    return folder


@pytest.fixture(scope="module")
def halves(dit: Path, stable: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Each pipeline as it was saved, and again as variant fp16."""
    found = {}
    for name, whole in (("dit", dit), ("stable", stable)):
        place = tmp_path_factory.mktemp("half") / name
        half_folder(whole, place)
        found[name] = (whole, place)
    return found


def _load(folder: Path, size: int = 12, channels: int = 3, **further: str) -> Generator:
    return load_folder(folder, classes=NAMES, class_ids=tuple(range(10)), size=size, channels=channels, **further)


def test_a_dit_folder_gives_the_generator_that_was_saved(
    dit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    saved, loaded = dit_folder(tmp_path / "again"), _load(dit, size=16)
    how = Sampling(steps=3, guidance_scale=4.0)
    assert torch.equal(sample_rows(loaded, rows(4), how, 0), sample_rows(saved, rows(4), how, 0))
    assert loaded.denoiser.null == 10
    assert not reads_text(dit)


def test_no_argument_of_loading_is_a_deprecated_one(dit: Path, stable: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        for name, whole in (("dit", dit), ("stable", stable)):
            half_folder(whole, tmp_path / name)
            _load(tmp_path / name, size=16, variant="fp16", precision="fp16")


def test_a_learned_variance_is_cut_off(dit: Path) -> None:
    made = _load(dit, size=16)
    x, times, labels = torch.randn(2, *made.shape), torch.tensor([10, 700]), torch.tensor([1, 2])
    whole = made.denoiser.module(x, timestep=times, class_labels=labels).sample
    # As facebook/DiT's: 8 channels of 4 latent ones, the first half is ε.
    assert whole.shape == (2, 8, 8, 8)
    assert torch.equal(made.denoiser(x, times, Condition(classes=labels)), whole[:, :4])


def test_samples_are_those_of_diffusers_own_pipeline(tmp_path: Path) -> None:
    from diffusers import DiTPipeline

    # Its null class is always 1000.
    dit_folder(tmp_path / "dit", classes=1000)
    ids = (7, 3, 999)
    made = load_folder(tmp_path / "dit", classes=("a", "b", "c"), class_ids=ids, size=16, channels=3)
    pipeline = DiTPipeline.from_pretrained(tmp_path / "dit", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    drawn = torch.Generator().manual_seed(1)
    theirs = pipeline(list(ids), guidance_scale=4.0, generator=drawn, num_inference_steps=5, output_type="np").images
    noise = torch.randn((3, *made.shape), generator=torch.Generator().manual_seed(1))
    how, batch = Sampling(steps=5, guidance_scale=4.0), Batch(np.zeros(3, dtype=np.int64), np.arange(3))
    start = Start(latents=noise, level=made.schedule(5).level(0), noised=True)
    ours = made.decode(sample_rows(made, batch, how, 0, start=start)).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert ours.std() > 0.05
    assert np.abs(ours - theirs).max() < 1e-3


def _rescheduled(folder: Path, place: Path, **changes: object) -> Path:
    """A copy of a folder with other values in its scheduler's configuration."""
    shutil.copytree(folder, place)
    file = place / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return place


@pytest.mark.parametrize("predicted", ["epsilon", "v_prediction"])
def test_noised_latents_end_as_in_diffusers_own_image_to_image(stable: Path, tmp_path: Path, predicted: str) -> None:
    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    folder = _rescheduled(stable, tmp_path / "folder", prediction_type=predicted)
    absent = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(folder, local_files_only=True, **absent)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    made = _load(folder, size=16)
    clean = torch.randn((3, *made.shape), generator=torch.Generator().manual_seed(0))
    theirs = pipeline(
        list(NAMES[:3]),
        image=clean,
        strength=0.7,
        guidance_scale=8.0,
        negative_prompt=["cartoon"] * 3,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
    ).images
    level = made.schedule(50).level(15)
    x = noised(clean, torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)), level)
    how = Sampling(condition="text", prompt="{name}", guidance_scale=8.0, negative_prompt="cartoon")
    batch, trace = Batch(np.zeros(3, dtype=np.int64), np.arange(3)), Trace()
    ours = sample_rows(made, batch, how, 0, start=Start(latents=x, level=level, noised=True), trace=trace)
    assert trace.passes == 35
    assert theirs.std() > 0.05
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-4


def test_a_schedule_that_begins_without_any_signal_is_refused_by_name(stable: Path, tmp_path: Path) -> None:
    changed = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    folder = _rescheduled(stable, tmp_path / "zero", **changed, timestep_spacing="trailing")
    how = Sampling(steps=5, condition="text", guidance_scale=4.0)
    # x̂0 there is 0 / 0 of what the noise says, and ended as a guidance that is too strong.
    with pytest.raises(InputError, match="signal level 0 at t = 999"):
        sample_rows(_load(folder, size=16), rows(2), how, 0)
    other = _rescheduled(stable, tmp_path / "leading", **changed, timestep_spacing="leading")
    assert torch.isfinite(sample_rows(_load(other, size=16), rows(2), how, 0)).all()


def test_no_block_of_a_loaded_transformer_drops_labels_in_training(dit: Path) -> None:
    made = _load(dit, size=16)
    x, times = torch.randn(64, *made.shape), torch.full((64,), 10)
    condition = Condition(classes=torch.zeros(64, dtype=torch.long))
    with torch.no_grad():
        still = made.denoiser(x, times, condition)
        made.denoiser.module.train()
        # As diffusers loads it, each block would drop a tenth of them.
        assert torch.equal(made.denoiser(x, times, condition), still)
    nobody = Condition(classes=torch.full((64,), made.denoiser.null))
    assert not torch.allclose(made.denoiser(x, times, nobody), still, atol=1e-2)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", ["dit", "stable"])
def test_a_half_precision_folder_samples_as_the_whole_one(
    halves: dict[str, tuple[Path, Path]], kind: str, precision: str
) -> None:
    whole, half = halves[kind]
    full, made = _load(whole, size=16), _load(half, size=16, variant="fp16", precision=precision)
    networks = [made.denoiser.module, made.autoencoder, *([made.text.encoder] if kind == "stable" else [])]
    assert {value.dtype for network in networks for value in network.parameters()} == {DTYPES[precision]}
    how = Sampling(steps=3, condition="text" if kind == "stable" else "class", guidance_scale=4.0)
    wanted, drawn = (sample_rows(loaded, rows(4), how, 0) for loaded in (full, made))
    # The networks alone are in half precision, what lies between the steps is not.
    assert drawn.dtype == torch.float32
    assert made.noise(wanted, 500, conditions(made, rows(4), how)[0]).dtype == torch.float32
    images = to_images(made, wanted)
    for name, ours, theirs in (
        ("latents", drawn, wanted),
        ("decoded", made.decode(wanted), full.decode(wanted)),
        ("encoded", made.encode(images), full.encode(images)),
    ):
        assert ours.dtype == torch.float32, name
        assert 0 < float((ours - theirs).norm() / theirs.norm()) < 0.05, name


def test_files_of_a_variant_are_found_by_its_name_alone(halves: dict[str, tuple[Path, Path]]) -> None:
    for kind, count in (("dit", 2), ("stable", 3)):
        whole, half = halves[kind]
        weights = [file.name for file in generator_files(half, "fp16") if file.suffix == ".safetensors"]
        assert len(weights) == count
        assert all(name.endswith(".fp16.safetensors") for name in weights)
        for folder, variant in ((half, ""), (whole, "fp16")):
            with pytest.raises(InputError, match=r"lacks .*safetensors"):
                generator_files(folder, variant)


def test_samples_come_at_the_settings_size_and_depth(dit: Path) -> None:
    made = _load(dit, size=12, channels=1)
    images = to_images(made, sample_rows(made, rows(3), Sampling(steps=2), 0))
    assert images.shape == (3, 12, 12, 1)
    # Grey images of 12 px become the autoencoder's 16 px RGB on the way in.
    assert made.encode(images).shape == (3, *made.shape)


def test_a_class_beyond_the_transformers_is_refused(dit: Path) -> None:
    with pytest.raises(InputError, match="knows 10 classes, id 217 is asked for"):
        load_folder(dit, classes=("a", "b"), class_ids=(0, 217), size=16, channels=3)


def test_a_stable_diffusion_folder_follows_the_prompt(stable: Path) -> None:
    made = _load(stable, size=16)
    assert reads_text(stable)
    assert made.class_ids == ()
    how = Sampling(steps=3, condition="text", guidance_scale=8.0, prompt="{name}")
    drawn = sample_rows(made, rows(10), how, 0)
    assert drawn.shape == (10, 4, 8, 8)
    for changed in (replace(how, prompt="{name} x"), replace(how, negative_prompt="cartoon")):
        assert not torch.allclose(drawn, sample_rows(made, rows(10), changed, 0))
    with pytest.raises(InputError, match="set condition: text"):
        sample_rows(made, rows(2), replace(how, condition="class"), 0)
    same_words = replace(how, prompt="a thing")
    with pytest.raises(InputError, match="stands for 10 classes"):
        sample_rows(made, rows(2), same_words, 0)


def test_d4ms_level_means_thirty_five_of_fifty_steps_here(stable: Path) -> None:
    made, trace = _load(stable, size=16), Trace()
    how = Sampling(condition="text", start="centroid")
    condition, null = conditions(made, rows(2), how)
    start = Start(latents=torch.zeros(2, 4, 8, 8), level=how.start_level)
    sample(made, rows(2), how, 0, condition=condition, null=null, start=start, trace=trace)
    assert trace.passes == 35


def test_scaled_latents_survive_the_way_out_and_back(stable: Path) -> None:
    made = _load(stable, size=16)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    raw = made.autoencoder.encode(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mode()
    torch.testing.assert_close(made.encode(images), 0.18215 * raw, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("model_index.json", "has no model_index.json"),
        ("transformer/config.json", r"lacks transformer/config\.json"),
        ("transformer/diffusion_pytorch_model.safetensors", "lacks transformer/diffusion_pytorch_model.safetensors"),
        ("vae", r"lacks vae/config.json; vae/diffusion_pytorch_model.safetensors"),
        ("scheduler/scheduler_config.json", "lacks scheduler/scheduler_config.json"),
    ],
)
def test_what_a_folder_lacks_is_named(dit: Path, tmp_path: Path, lost: str, named: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dit, copy)
    gone = copy / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(InputError, match=named):
        generator_files(copy)


def test_half_a_download_and_a_pickle_are_named(dit: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dit, copy)
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"vae/diffusion_pytorch_model.safetensors \(incomplete download\)"):
        generator_files(copy)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(InputError, match=r"there is diffusion_pytorch_model.bin, a pickle, which is never read"):
        generator_files(copy)


def test_shards_that_an_index_names_must_all_be_there(dit: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dit, copy)
    part = copy / "transformer"
    whole = part / "diffusion_pytorch_model.safetensors"
    shard = "diffusion_pytorch_model-00001-of-00002.safetensors"
    whole.rename(part / shard)
    index = {"weight_map": {"a": shard, "b": shard.replace("00001-of", "00002-of")}}
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"lacks transformer/diffusion_pytorch_model-00002-of-00002.safetensors"):
        generator_files(copy)
    index = {"weight_map": {"a": shard, "b": f"../transformer/{shard}"}}
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"lacks transformer/\.\./transformer/diffusion"):
        generator_files(copy)


def test_a_missing_folder_and_another_pipeline_are_refused(dit: Path, tmp_path: Path) -> None:
    # Given to diffusers, a path that does not exist would be taken for a repository on the hub.
    with pytest.raises(InputError, match="nowhere does not exist → download it"):
        generator_files(tmp_path / "nowhere")
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(InputError, match="supported: DiTPipeline, StableDiffusionPipeline"):
        generator_files(tmp_path)
    assert dit / "model_index.json" in generator_files(dit)


def test_a_safety_checker_is_neither_needed_nor_read(stable: Path) -> None:
    assert not any("safety" in str(file.relative_to(stable)) for file in generator_files(stable))
