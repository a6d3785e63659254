"""Pre-trained generators of the hub: what names one, the cache, fetching, and every way in which that fails.

Belongs here: hub.py over a cache on disk, layout.generator_patterns. Does not belong: the asset
(test_pretrained_stages.py), loading (test_folders.py).
"""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors
from huggingface_hub.utils import validate_repo_id

from dd_assets.diffusion.hub import HubSource, hub_source, ready, snapshot
from dd_assets.diffusion.layout import generator_files
from dd_assets.diffusion.registry import PretrainedFolder
from dd_assets.errors import InputError
from tests.diffusion.hub_cache import FOLDER, REPOSITORY, REVISION, Hub, hub
from tests.diffusion.tiny import dit_folder, half_folder, sd_folder

__all__ = ["hub"]

SOURCE = HubSource(REPOSITORY, REVISION)
REAL_DOWNLOAD = huggingface_hub.snapshot_download
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny repositories, with all that published ones have beside what is needed."""
    root = tmp_path_factory.mktemp("pipelines")
    dit_folder(root / "dit")
    sd_folder(root / "sd")
    for name in ("dit", "sd"):
        half_folder(root / name, root / f"{name}-half")
        shutil.copytree(root / f"{name}-half", root / name, dirs_exist_ok=True)
        shutil.rmtree(root / f"{name}-half")
        for extra in (
            "README.md",
            "v1-5-pruned.safetensors",
            "vae/diffusion_pytorch_model.bin",
            "vae/diffusion_pytorch_model.non_ema.safetensors",
            "safety_checker/model.safetensors",
            "safety_checker/config.json",
        ):
            (root / name / extra).parent.mkdir(exist_ok=True)
            (root / name / extra).write_bytes(b"x")
    (root / "sd" / "tokenizer" / "special_tokens_map.json").write_text("{}")
    return {name: root / name for name in ("dit", "sd")}


@pytest.fixture
def dit(hub: Hub, pipelines: dict[str, Path]) -> Hub:
    """The hub with a DiT."""
    hub.repository = pipelines["dit"]
    return hub


def test_a_folder_is_of_the_hub_by_its_scheme() -> None:
    assert hub_source(PretrainedFolder(folder="DiT-XL-2-256")) is None
    assert hub_source(PretrainedFolder(folder="/data/hub:x", revision="main")) is None
    stated = PretrainedFolder(folder=FOLDER, revision=REVISION, variant="fp16")
    assert hub_source(stated) == HubSource(REPOSITORY, REVISION, "fp16")


@pytest.mark.parametrize("revision", ["", "main", "v1.0", REVISION[:-1], REVISION + "0", REVISION.upper(), "g" * 40])
def test_a_revision_is_a_full_commit(revision: str) -> None:
    with pytest.raises(InputError, match=r"of hub:someone/tiny-generator is no commit → state all 40 hexadecimal"):
        hub_source(PretrainedFolder(folder=FOLDER, revision=revision))


@pytest.mark.parametrize(
    "name", ["", "gpt2", "a/b/c", "a/", "/b", "a--b/c", "a/b..c", "a/b.git", "a/-b", "../b", "a b/c", "a/" + "b" * 96]
)
def test_what_no_repository_can_be_called_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="names no repository → write hub:owner/name"):
        hub_source(PretrainedFolder(folder=f"hub:{name}", revision=REVISION))


@pytest.mark.parametrize(
    "name", ["facebook/DiT-XL-2-256", "stable-diffusion-v1-5/stable-diffusion-v1-5", "a/b", "A_1/b.c"]
)
def test_names_that_are_taken_are_the_librarys_too(name: str) -> None:
    assert hub_source(PretrainedFolder(folder=f"hub:{name}", revision=REVISION)) is not None
    validate_repo_id(name)


def test_what_the_cache_holds_is_taken_and_nothing_asked(dit: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dit.cached()
    for allowed in ("0", "1"):
        monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", allowed)
        assert ready(SOURCE)
        assert snapshot(SOURCE) == whole
    assert not dit.asked


def test_what_is_not_there_is_named_with_every_remedy(dit: Hub) -> None:
    for asked in (ready, snapshot):
        with pytest.raises(InputError) as refused:
            asked(SOURCE)
        said = str(refused.value)
        assert f"hub:{REPOSITORY} at revision {REVISION} is not in the cache of this machine → " in said
        assert f"hf download {REPOSITORY} --revision {REVISION}" in said
        assert "set DD_DOWNLOAD_WEIGHTS=1" in said
        assert "or give a local folder" in said
    assert not dit.asked


def test_another_revision_in_the_cache_is_not_this_one(dit: Hub) -> None:
    dit.cached()
    with pytest.raises(InputError, match="is not in the cache"):
        ready(HubSource(REPOSITORY, "f" * 40))


def test_a_partial_snapshot_says_what_it_lacks(dit: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [str(path.relative_to(dit.repository)) for path in generator_files(dit.repository)]
    dit.cached(*(name for name in whole if name != WEIGHTS))
    with pytest.raises(InputError, match=rf"incomplete in the cache: .* lacks {WEIGHTS} → put it into the cache"):
        snapshot(SOURCE)
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    assert not ready(SOURCE)
    assert not dit.asked
    assert generator_files(snapshot(SOURCE))


def test_another_pipeline_is_refused_before_its_weights_are_asked_for(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository.mkdir()
    (hub.repository / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    for asked in (snapshot, ready):
        with pytest.raises(InputError, match="names pipeline 'FluxPipeline' → supported: DiTPipeline"):
            asked(SOURCE)
    assert hub.asked == [["model_index.json"]]


@pytest.mark.parametrize("variant", ["", "fp16"])
@pytest.mark.parametrize("kind", ["dit", "sd"])
def test_exactly_what_a_generator_consists_of_is_fetched(
    hub: Hub, pipelines: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: str, variant: str
) -> None:
    hub.repository = pipelines[kind]
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    path = snapshot(HubSource(REPOSITORY, REVISION, variant))
    got = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    assert got == sorted(str(file.relative_to(hub.repository)) for file in generator_files(hub.repository, variant))
    assert not any(name.endswith((".bin", ".ckpt", ".pt", ".md")) for name in got)
    # Of the tokenizer all that changes what it gives, needed or not.
    assert ("tokenizer/special_tokens_map.json" in got) is (kind == "sd")
    assert hub.asked[0] == ["model_index.json"]


def test_shards_are_fetched_under_either_of_their_names(
    dit: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    for number, name in enumerate(
        (
            "diffusion_pytorch_model.fp16-0000{}-of-00002.safetensors",
            "diffusion_pytorch_model-0000{}-of-00002.fp16.safetensors",
        )
    ):
        copy = tmp_path / f"sharded{number}"
        shutil.copytree(dit.repository, copy)
        whole = copy / "transformer" / "diffusion_pytorch_model.fp16.safetensors"
        shards = [name.format(1), name.format(2)]
        for shard in shards:
            shutil.copy(whole, whole.with_name(shard))
        whole.unlink()
        index = whole.with_name("diffusion_pytorch_model.safetensors.index.fp16.json")
        index.write_text(json.dumps({"weight_map": dict(enumerate(shards))}))
        one = Hub(tmp_path / f"cache{number}", copy)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(one.cache))
        monkeypatch.setattr("huggingface_hub.snapshot_download", one.download)
        path = snapshot(HubSource(REPOSITORY, REVISION, "fp16"))
        assert {file.name for file in (path / "transformer").iterdir()} == {"config.json", index.name, *shards}


def test_a_repository_without_the_weights_as_safetensors_is_refused(
    dit: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    shutil.copytree(dit.repository, tmp_path / "pickled")
    dit.repository = tmp_path / "pickled"
    (dit.repository / WEIGHTS).rename((dit.repository / WEIGHTS).with_suffix(".bin"))
    with pytest.raises(InputError, match=rf"after fetching, is incomplete .* lacks {WEIGHTS} → only safetensors"):
        snapshot(SOURCE)
    assert not list(dit.snapshot.rglob("*.bin"))
    shutil.rmtree(dit.cache)
    (dit.repository / "model_index.json").unlink()
    with pytest.raises(InputError, match=r"has no model_index\.json → name a repository in diffusers' layout"):
        snapshot(SOURCE)


def _answer(kind: type[Exception], status: int) -> Exception:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind(f"{status} Client Error", response=response)


def _unreachable() -> Exception:
    return errors.LocalEntryNotFoundError("Got: ConnectError: no route to host\nplease check your connection")


def _forbidden_behind() -> Exception:
    """As snapshot_download tells of an answer that is neither of those it knows."""
    error = errors.LocalEntryNotFoundError("cannot find an appropriate cached snapshot folder")
    error.__cause__ = _answer(errors.HfHubHTTPError, 403)
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (_answer(errors.RepositoryNotFoundError, 401), "has no such repository, or it is private → correct the name"),
        (_answer(errors.RevisionNotFoundError, 404), "the repository has no such commit → copy the commit"),
        (_answer(errors.GatedRepoError, 403), "whoever was granted access → ask for access .*hf auth login"),
        (_answer(errors.GatedRepoError, 401), "whoever was granted access → ask for access .*hf auth login"),
        (_answer(errors.HfHubHTTPError, 403), "whoever was granted access → ask for access .*hf auth login"),
        (_forbidden_behind(), "whoever was granted access → ask for access .*hf auth login"),
        (_unreachable(), r"the hub cannot be reached \(Got: ConnectError: no route to host please check"),
        (errors.OfflineModeIsEnabled("offline mode is enabled"), r"the hub cannot be reached \(offline mode"),
        (_answer(errors.HfHubHTTPError, 500), "500 Client Error → put it into the cache"),
        (type("XetError", (Exception,), {})(), "XetError → put it into the cache"),
    ],
)
def test_each_failure_of_a_download_is_one_line(
    dit: Hub, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    dit.error = error
    with pytest.raises(InputError, match=f"^{SOURCE} cannot be fetched: .*{said}") as refused:
        snapshot(SOURCE)
    assert "\n" not in str(refused.value)


def test_a_full_disk_and_missing_memory_are_the_machines(dit: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    for error in (OSError(errno.ENOSPC, "No space left on device"), MemoryError()):
        dit.error = error
        with pytest.raises(type(error)):
            snapshot(SOURCE)


def test_the_librarys_own_offline_mode_is_one_line(dit: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_DOWNLOAD_WEIGHTS", "1")
    monkeypatch.setattr("huggingface_hub.snapshot_download", REAL_DOWNLOAD)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="cannot be fetched: the hub cannot be reached"):
        snapshot(SOURCE)
    # Half a snapshot does not become a whole one because nobody can be asked.
    dit.cached("model_index.json", "transformer/config.json")
    with pytest.raises(InputError, match=rf"after fetching, is incomplete in the cache: .*lacks {WEIGHTS}"):
        snapshot(SOURCE)
    dit.cached()
    assert snapshot(SOURCE) == dit.snapshot
