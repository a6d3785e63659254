"""Networks: shapes, reproducible initialisation, refusals, published keys.

Belongs here: architectures.py. Does not belong: training and weights from disk.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dd_assets.errors import InputError, UnknownNameError
from dd_assets.models import checkpoint
from dd_assets.models.architectures import build_model
from dd_assets.models.registry import ARCHITECTURES

PUBLISHED = Path(__file__).resolve().parents[3] / "shared/data/weights/cifar10_resnet20.safetensors"


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_gives_logits_and_has_batch_norm(name: str) -> None:
    size = max(16, ARCHITECTURES[name].min_size)
    model = build_model(name, classes=7, channels=3, size=size, seed=0).eval()
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 7)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_initialisation_depends_on_the_seed_alone_and_leaves_the_global_generator() -> None:
    def weights(seed: int) -> torch.Tensor:
        model = build_model("convnet2_w64", classes=10, channels=1, size=8, seed=seed)
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = weights(0)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(weights(0), first)
    assert not torch.equal(weights(1), first)


def test_resnet18_stem_follows_size_and_channels() -> None:
    small = build_model("resnet18", classes=10, channels=1, size=32, seed=0)
    assert small.conv1.weight.shape == (64, 1, 3, 3)
    assert isinstance(small.maxpool, nn.Identity)
    large = build_model("resnet18", classes=10, channels=3, size=128, seed=0)
    assert large.conv1.weight.shape == (64, 3, 7, 7)
    assert isinstance(large.maxpool, nn.MaxPool2d)


def test_option_a_shortcut_has_no_parameters() -> None:
    model = build_model("resnet20_cifar", classes=10, channels=3, size=32, seed=0)
    # 0.27 M in He et al. 2016, table 6; option B's projections would add 2,752 weights and batch norms.
    assert sum(parameter.numel() for parameter in model.parameters()) == 269_722


def test_refusals() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        build_model("resnet19", classes=2, channels=3, size=32, seed=0)
    with pytest.raises(InputError, match="at least 16 px, these have 8"):
        build_model("convnet4_w128", classes=2, channels=3, size=8, seed=0)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published CIFAR weights are not on this machine")
def test_published_cifar_weights_fit() -> None:
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    state, metadata = checkpoint.import_weights(
        PUBLISHED, architecture="resnet20_cifar", classes=classes, channels=3, size=32
    )
    assert metadata["mean"] == [0.485, 0.456, 0.406]
    model = checkpoint.load_classifier(state, metadata)
    assert torch.equal(model.layer3[2].conv2.weight, state["layer3.2.conv2.weight"])
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
