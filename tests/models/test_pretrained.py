"""Published weights: the head cut down by WordNet id, and what is refused. The libraries' files are fabricated.

Belongs here: models/pretrained.py and models/foreign.py. Does not belong: weights from the user's own files, but for
ImageNet-1K's thousand outputs (test_checkpoint.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.names import class_folders, class_names
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.models import pretrained
from dd_assets.models.checkpoint import import_weights, load_classifier
from dd_assets.models.foreign import imagenet_rows, present_names
from dd_assets.models.pretrained import import_published
from tests.models.published import in_hub, in_hugging_face, network

IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALF = Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3)
V1 = "torchvision:ResNet18_Weights.IMAGENET1K_V1"
VIT = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
NETTE = class_names("imagenette")


@pytest.fixture
def resnet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> nn.Module:
    """A 1000-way ResNet-18 that stands for torchvision's published one."""
    whole = network("resnet18")
    in_hub(monkeypatch, tmp_path, torchvision.models.ResNet18_Weights.IMAGENET1K_V1, whole.state_dict())
    return whole


def _imported(weights: str = V1, **changes: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    given = {
        "architecture": "resnet18",
        "classes": NETTE,
        "data": "imagenette",
        "channels": 3,
        "size": 72,
        "normalisation": IMAGENET,
    } | changes
    return import_published(weights, **given)


def _answers(state: dict[str, torch.Tensor], whole: nn.Module, architecture: str = "resnet18", size: int = 72) -> None:
    """Assert that the imported network answers what the whole one answers at the ten outputs of ImageNette."""
    part = load_classifier(state, {"architecture": architecture, "classes": NETTE, "channels": 3, "size": size})
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    # tench n01440764, English springer n02102040, cassette player, chain saw, church, French horn, garbage truck, gas
    # pump, golf ball, parachute: their places among the thousand ids in ascending order, as fastai publishes them.
    rows = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
    with torch.no_grad():
        torch.testing.assert_close(part(images), whole(images)[:, rows], atol=1e-6, rtol=0)


def test_the_head_keeps_the_outputs_of_the_classes(resnet: nn.Module) -> None:
    state, metadata = _imported()
    _answers(state, resnet)
    assert metadata["source"] == f"{V1}, 10 of 1000 rows"


def test_rows_follow_the_settings_own_order_and_names(resnet: nn.Module) -> None:
    forwards, _ = _imported()
    backwards, _ = _imported(classes=tuple(reversed(NETTE)))
    # Rows sorted by WordNet id would be the same for both.
    assert torch.equal(backwards["fc.weight"], forwards["fc.weight"].flip(0))
    assert imagenet_rows(("n02102040", "tench"), "own") == [217, 0]
    assert imagenet_rows(("a fish", "a dog"), "own", {"a fish": "n01440764", "a dog": "n02102040"}) == [0, 217]
    assert imagenet_rows(class_names("imagenet1k"), "imagenet1k") == list(range(1000))
    with pytest.raises(InputError, match="class 'apple' is not one of ImageNet-1K's"):
        imagenet_rows(("apple",), "cifar100")


def test_every_registered_networks_published_keys_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # torchvision's DenseNet file still names its layers norm.1 and conv.2; taken as it is, no dense layer fits.
    whole = network("densenet121")
    old = {}
    for name, value in whole.state_dict().items():
        parts = name.split(".")
        if len(parts) > 3 and parts[2].startswith("denselayer"):
            parts[3] = f"{parts[3][:-1]}.{parts[3][-1]}"
        old[".".join(parts)] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert present_names(old).keys() == whole.state_dict().keys()
    in_hub(monkeypatch, tmp_path, torchvision.models.DenseNet121_Weights.IMAGENET1K_V1, old)
    state, _ = _imported("torchvision:DenseNet121_Weights.IMAGENET1K_V1", architecture="densenet121")
    _answers(state, whole, "densenet121")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 64}, "trained on large colour images; these have 64 px"),
        ({"channels": 1}, "1 channels"),
        ({"architecture": "resnet50"}, "is not for resnet50"),
        ({"architecture": "convnet3_w128"}, "is not for convnet3_w128"),
        ({"classes": ("tench", "unicorn")}, "class 'unicorn' is not one of ImageNet-1K's"),
        ({"normalisation": HALF}, r"was trained with mean \(0\.485, .*; the setting has \(0\.5, "),
    ],
)
def test_refusals(resnet: nn.Module, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _imported(**changes)


@pytest.mark.parametrize("name", ["ResNet18_Weights.V9", "ResNet18_Weight.IMAGENET1K_V1", "resnet18", "open"])
def test_unknown_weights_of_torchvision_are_named(name: str) -> None:
    with pytest.raises(UnknownNameError, match=f"torchvision has no weights '{name}'"):
        _imported(f"torchvision:{name}")


@pytest.mark.parametrize("name", ["resnet18a", "resnet18.nonsense"])
def test_unknown_weights_of_timm_are_named(name: str) -> None:
    with pytest.raises(UnknownNameError, match=f"timm has no weights '{name}'"):
        _imported(f"timm:{name}")


def test_absent_files_are_not_fetched_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetch(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.delenv(pretrained.DOWNLOADS, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    remedies = {V1: rf"put resnet18-f37072fd\.pth into {tmp_path}/checkpoints", "timm:resnet18.a1_in1k": "hf download"}
    for allowed, problem in (("0", "is not on this machine"), ("1", r"cannot be fetched \(no route to host\)")):
        monkeypatch.setenv(pretrained.DOWNLOADS, allowed)
        for weights, remedy in remedies.items():
            with pytest.raises(InputError, match=f"{problem} → .*{remedy}") as refused:
                _imported(weights)
            assert "\n" not in str(refused.value)


def test_damaged_files_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    file = in_hub(monkeypatch, tmp_path, weights, {"path": Path("code would run here")})
    with pytest.raises(InputError, match="cannot be read"):
        _imported()
    # torch.hub itself compares hashes only while it downloads.
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not what its name states"):
        _imported()


def test_timm_weights_of_a_transformer_fit_at_their_own_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = network("vit_tiny_patch16_224")
    in_hugging_face(monkeypatch, tmp_path, VIT, whole.state_dict())
    given = {"architecture": "vit_tiny_patch16_224", "normalisation": HALF, "size": 224}
    state, _ = _imported(f"timm:{VIT}", **given)
    _answers(state, whole, "vit_tiny_patch16_224", 224)
    with pytest.raises(InputError, match=r"takes images of 224 px, the setting has 128 → set `size: 224`"):
        _imported(f"timm:{VIT}", **given | {"size": 128})
    with pytest.raises(InputError, match=r"was trained with mean \(0\.5, 0\.5, 0\.5\)"):
        _imported(f"timm:{VIT}", **given | {"normalisation": IMAGENET})
    with pytest.raises(InputError, match="does not fit vit_small_patch16_224: other shapes"):
        _imported(f"timm:{VIT}", **given | {"architecture": "vit_small_patch16_224"})


def test_timm_weights_in_torchvisions_layout_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = timm.create_model("resnet18", pretrained=False).eval()
    in_hugging_face(monkeypatch, tmp_path, "resnet18.a1_in1k", whole.state_dict())
    _answers(_imported("timm:resnet18.a1_in1k")[0], whole)


def test_heads_of_other_outputs_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = network("vit_tiny_patch16_224").state_dict()
    state |= {"head.weight": torch.zeros(21_843, 192), "head.bias": torch.zeros(21_843)}
    in_hugging_face(monkeypatch, tmp_path, "vit_tiny_patch16_224.augreg_in21k", state)
    with pytest.raises(InputError, match="has 21843 outputs, not ImageNet-1K's 1000"):
        _imported(
            "timm:vit_tiny_patch16_224.augreg_in21k",
            architecture="vit_tiny_patch16_224",
            normalisation=HALF,
            size=224,
        )


def test_a_local_file_with_a_thousand_outputs_says_whose_they_are(tmp_path: Path) -> None:
    path, whole = tmp_path / "resnet18.safetensors", network("resnet18")
    safetensors.torch.save_file(whole.state_dict(), path)
    given = {"architecture": "resnet18", "classes": NETTE, "channels": 3, "size": 72, "data": "imagenette"}
    with pytest.raises(InputError, match=r'has 1000 outputs, the setting has 10 .*"imagenet1k"} to resnet18\.json'):
        import_weights(path, normalisation=IMAGENET, **given)
    facts = {"classes": "imagenet1k", "mean": IMAGENET.mean, "std": IMAGENET.std}
    path.with_suffix(".json").write_text(json.dumps(facts))
    state, metadata = import_weights(path, normalisation=IMAGENET, **given)
    _answers(state, whole)
    assert metadata["classes"] == list(NETTE)


def test_the_smaller_tables_agree_with_the_thousand() -> None:
    thousand = class_folders("imagenet1k")
    assert list(thousand.values()) == sorted(thousand.values())
    for table in ("imagenette", "imagewoof", "imageidc", "tiny_imagenet"):
        assert class_folders(table).items() <= thousand.items()
