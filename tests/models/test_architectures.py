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
def test_every_architecture_gives_logits_at_every_size_it_allows(name: str) -> None:
    entry = ARCHITECTURES[name]
    for size, channels in ((8, 1), (28, 1), (32, 3), (64, 3)):
        if size >= entry.min_size:
            model = build_model(name, classes=7, channels=channels, size=size, seed=0).eval()
            assert model(torch.zeros(2, channels, size, size)).shape == (2, 7)
            assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == entry.batch_norm
        else:
            with pytest.raises(InputError, match=f"at least {entry.min_size} px"):
                build_model(name, classes=7, channels=channels, size=size, seed=0)


@pytest.mark.parametrize(
    ("name", "size", "classes", "parameters"),
    [
        # torchvision's documentation states these for 1,000 classes.
        ("resnet18", 224, 1000, 11_689_512),
        ("resnet50", 224, 1000, 25_557_032),
        ("mobilenet_v2", 224, 1000, 3_504_872),
        ("shufflenet_v2_x0_5", 224, 1000, 1_366_792),
        ("densenet121", 224, 1000, 7_978_856),
        ("efficientnet_b0", 224, 1000, 5_288_548),
        ("alexnet", 224, 1000, 61_100_840),
        # Zagoruyko and Komodakis 2016, table 4: 0.7 M.
        ("wrn16_2", 32, 10, 691_674),
        # He et al. 2016, table 6: 0.27, 0.46 and 0.85 M.
        ("resnet20_cifar", 32, 10, 269_722),
        ("resnet32_cifar", 32, 10, 464_154),
        ("resnet56_cifar", 32, 10, 853_018),
        # Three times (3·3·128·128 + 2·128), the first from 3 channels; 128·4·4·10 + 10.
        ("convnet3_w128", 32, 10, 319_626),
    ],
)
def test_numbers_of_parameters_are_the_published_ones(name: str, size: int, classes: int, parameters: int) -> None:
    model = build_model(name, classes=classes, channels=3, size=size, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2_x0_5", "densenet121", "efficientnet_b0", "resnet50"])
def test_small_forms_keep_a_map_of_4_px_before_pooling(name: str) -> None:
    seen: list[tuple[int, ...]] = []
    model = build_model(name, classes=10, channels=3, size=32, seed=0).eval()
    last = [module for module in model.modules() if isinstance(module, nn.Conv2d)][-1]
    last.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[2:])))
    model(torch.zeros(1, 3, 32, 32))
    # torchvision's own form would leave a single pixel.
    assert seen == [(4, 4)]


def _kept(name: str, size: int) -> float:
    """Floats that autograd keeps per image and pixel, as registry.ACTIVATIONS says it was measured."""
    model = build_model(name, classes=10, channels=3, size=size, seed=0).eval().requires_grad_(False)
    own = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
    kept: dict[int, int] = {}

    def pack(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        output = model(torch.zeros(2, 3, size, size, requires_grad=True))
    assert output.requires_grad
    return sum(kept.values()) / 4 / (2 * size**2)


@pytest.mark.parametrize(("name", "size"), [("convnet2_w64", 32), ("resnet20_cifar", 32), ("resnet18", 128)])
def test_the_stated_activations_are_what_autograd_keeps(name: str, size: int) -> None:
    assert ARCHITECTURES[name].activation_floats(size) == pytest.approx(_kept(name, size), rel=0.2)


def test_layers_that_draw_are_the_same_in_every_run_and_silent_in_evaluation() -> None:
    model = build_model("alexnet", classes=10, channels=1, size=8, seed=0)
    inputs = torch.ones(4, 1, 8, 8)
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


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
