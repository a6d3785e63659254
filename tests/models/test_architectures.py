"""Networks: shapes, reproducible initialisation, refusals, published keys.

Belongs here: architectures.py. Does not belong: training and weights from disk.
"""

from __future__ import annotations

import hashlib
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
    for size, channels in ((8, 1), (28, 1), (32, 3), (64, 3), (128, 3)):
        if size >= entry.min_size:
            model = build_model(name, classes=7, channels=channels, size=size, seed=0).eval()
            images = torch.ones(1, channels, size, size)
            with torch.no_grad():
                logits = model(images)
                assert logits.shape == (1, 7)
                # Dropout and stochastic depth are silent in evaluation.
                assert size > 32 or torch.equal(model(images), logits)
            assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == entry.batch_norm
        else:
            with pytest.raises(InputError, match=f"at least {entry.min_size} px"):
                build_model(name, classes=7, channels=channels, size=size, seed=0)


def _digest(name: str, size: int, seed: int) -> str:
    hashed = hashlib.sha256()
    for key, value in build_model(name, classes=2, channels=1, size=size, seed=seed).state_dict().items():
        hashed.update(key.encode() + value.numpy().tobytes())
    return hashed.hexdigest()


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_initialisation_depends_on_the_seed_alone(name: str) -> None:
    size = max(8, ARCHITECTURES[name].min_size)
    torch.manual_seed(1)
    first = _digest(name, size, 0)
    torch.manual_seed(2)
    # A replaced first convolution that drew from the global generator would differ here.
    assert _digest(name, size, 0) == first
    assert _digest(name, size, 1) != first


@pytest.mark.parametrize(
    ("name", "size", "classes", "parameters"),
    [
        # torchvision's documentation states these for 1,000 classes.
        ("resnet18", 224, 1000, 11_689_512),
        ("resnet50", 224, 1000, 25_557_032),
        ("resnet101", 224, 1000, 44_549_160),
        ("swin_v2_t", 224, 1000, 28_351_570),
        ("vit_b_16", 224, 1000, 86_567_656),
        # Instance norm with its own scale and shift has as many parameters as batch norm.
        ("resnet18_in", 224, 1000, 11_689_512),
        ("mobilenet_v2", 224, 1000, 3_504_872),
        ("shufflenet_v2_x0_5", 224, 1000, 1_366_792),
        ("densenet121", 224, 1000, 7_978_856),
        ("efficientnet_b0", 224, 1000, 5_288_548),
        ("alexnet", 224, 1000, 61_100_840),
        # RepDistiller's mobile_half for CIFAR-100, 0.81 M in the tables of knowledge distillation; and counted by hand:
        # stem 16·27 + 32, blocks (in·h + 13 h + h·out + 2 out each, h the expanded channels), 160·1280 + 2560, 128,100.
        ("mobilenet_v2_half", 32, 100, 812_836),
        # torchvision's 0.5x with a stem of 24·3 in place of 24·27 weights, ten classes in place of 1,000.
        ("shufflenet_v2_half", 32, 10, 1_366_792 - 24 * 24 - 990 * 1025),
        # Zagoruyko and Komodakis 2016, table 4: 0.7 M.
        ("wrn16_2", 32, 10, 691_674),
        # He et al. 2016, table 6: 0.27, 0.46 and 0.85 M.
        ("resnet20_cifar", 32, 10, 269_722),
        ("resnet32_cifar", 32, 10, 464_154),
        ("resnet56_cifar", 32, 10, 853_018),
        # Three times (3·3·128·128 + 2·128), the first from 3 channels; 128·4·4·10 + 10.
        ("convnet3_w128", 32, 10, 319_626),
        # The published ViT-Ti/16, ViT-S/16 and ViT-B/16: 5.7 M, 22.1 M and 86.6 M (Steiner et al. 2021, table 2).
        ("vit_tiny_patch16_224", 224, 1000, 5_717_416),
        ("vit_small_patch16_224", 224, 1000, 22_050_664),
        ("vit_base_patch16_224", 224, 1000, 86_567_656),
        # resnet_ap.py of snu-mllab/Efficient-Dataset-Condensation: conv1 7·7·3·64, convolutions of the four blocks
        # 73,728 + 221,184 + 884,736 + 3,538,944, shortcuts 8,192 + 32,768 + 131,072, two per channel of each of its
        # twelve norms (64·3 + 128·3 + 256·3 + 512·3), 512·10 + 10.
        ("resnetap10_in", 224, 10, 9_408 + 4_718_592 + 172_032 + 2 * 2_880 + 5_130),
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


def test_the_halved_networks_have_their_own_stems_and_halvings() -> None:
    """mobile_half halves four times (16, 8, 4, 2 px), that collection's ShuffleNetV2 three times, at every size."""
    for name, kernel, sides in (("mobilenet_v2_half", (3, 3), (2, 4)), ("shufflenet_v2_half", (1, 1), (4, 8))):
        for size, side in zip((32, 64), sides, strict=True):
            seen: list[tuple[int, ...]] = []
            model = build_model(name, classes=10, channels=3, size=size, seed=0).eval()
            convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
            convolutions[-1].register_forward_hook(lambda m, i, output, seen=seen: seen.append(tuple(output.shape[2:])))
            model(torch.zeros(1, 3, size, size))
            assert convolutions[0].kernel_size == kernel
            assert seen == [(side, side)]
            assert not any(isinstance(module, nn.MaxPool2d) for module in model.modules())


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


def test_pooled_resnet_shrinks_by_averaging_alone() -> None:
    # IDC's code: no pooling in the stem up to 64 px, by 2 up to 128 px, by 4 above; then three halvings.
    for size, side in ((32, 4), (64, 8), (128, 8), (224, 7)):
        model = build_model("resnetap10_in", classes=10, channels=3, size=size, seed=0)
        assert all(module.stride == (1, 1) for module in model.modules() if isinstance(module, nn.Conv2d))
        with torch.no_grad():
            assert model.stages(model.stem(torch.zeros(1, 3, size, size))).shape[2:] == (side, side)


def test_wide_resnet_projects_what_it_has_activated() -> None:
    # Zagoruyko and Komodakis 2016, figure 1: where the width changes, the shortcut leaves after batch norm and ReLU.
    # With the residual's last weights at zero the block is the shortcut; taken before ReLU it would answer -1, not 0.
    block = build_model("wrn16_2", classes=2, channels=1, size=8, seed=0).stages[0][0].eval()
    with torch.no_grad():
        block.conv2.weight.zero_()
        block.project.weight.fill_(1 / 16)
        answered = block(torch.full((1, 16, 4, 4), -1.0))
    assert torch.equal(answered, torch.zeros(1, 32, 4, 4))


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
    # 64 px is Tiny-ImageNet's, for which every paper has the small one.
    for size in (32, 64):
        small = build_model("resnet18", classes=10, channels=1, size=size, seed=0)
        assert small.conv1.weight.shape == (64, 1, 3, 3)
        assert isinstance(small.maxpool, nn.Identity)
    large = build_model("resnet18", classes=10, channels=3, size=65, seed=0)
    assert large.conv1.weight.shape == (64, 3, 7, 7)
    assert isinstance(large.maxpool, nn.MaxPool2d)


def test_refusals() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        build_model("resnet19", classes=2, channels=3, size=32, seed=0)
    with pytest.raises(InputError, match="at least 16 px, these have 8"):
        build_model("convnet4_w128", classes=2, channels=3, size=8, seed=0)
    # timm would leave the last two rows and columns out without a word.
    with pytest.raises(InputError, match=r"patches of 4 px, these have 30 px.*use 28 px"):
        build_model("vit_micro", classes=2, channels=3, size=30, seed=0)
    with pytest.raises(InputError, match=r"vit_b_16 cuts images into patches of 16 px, these have 100 px.*use 96 px"):
        build_model("vit_b_16", classes=2, channels=3, size=100, seed=0)


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
