"""The networks behind the names of registry.py.

Belongs here: layers and their reproducible initialisation. Does not belong: which names exist (registry.py), weights
on disk (checkpoint.py), training (training.py). Every network takes normalised NCHW float32 and returns logits.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets import randomness
from dd_assets.errors import InputError
from dd_assets.models.registry import Architecture, architecture


class ConvNet(nn.Module):
    """Blocks of conv3x3, batch norm, ReLU and average pool 2, then a linear head.

    The ConvNet-D of dataset condensation (Gidaris and Komodakis 2018; Zhao and Bilen 2021) with batch norm, which the
    decoupled methods need. Input (N, channels, size, size), output (N, classes).
    """

    def __init__(self, *, width: int, depth: int, classes: int, channels: int, size: int) -> None:
        super().__init__()
        widths = [channels] + [width] * depth
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(widths[index], width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                    nn.AvgPool2d(2),
                )
                for index in range(depth)
            )
        )
        side = size >> depth
        self.head = nn.Linear(width * side * side, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(images).flatten(1))


class CifarBlock(nn.Module):
    """Two conv3x3 with batch norm; where the shape changes, the shortcut sub-samples and pads channels with zeros."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride = stride
        self.extra = outside - inside

    def forward(self, features: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        shortcut = features[:, :, :: self.stride, :: self.stride]
        if self.extra:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return F.relu(residual + shortcut)


class CifarResNet(nn.Module):
    """ResNet-6n+2 with 16, 32 and 64 channels and option-A shortcuts (He et al. 2016, section 4.2).

    Parameter names follow the public CIFAR checkpoints (`layer1.0.conv1`, `linear`). Output (N, classes).
    """

    def __init__(self, *, depth: int, classes: int, channels: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, stride=1)
        self.layer2 = self._stage(16, 32, blocks, stride=2)
        self.layer3 = self._stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(inside: int, outside: int, blocks: int, stride: int) -> nn.Sequential:
        first = CifarBlock(inside, outside, stride)
        return nn.Sequential(first, *(CifarBlock(outside, outside, 1) for _ in range(blocks - 1)))

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.linear(features.mean(dim=(2, 3)))


def _convnet(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    matched = re.fullmatch(r"convnet(\d+)_w(\d+)", entry.name)
    if matched is None:
        raise ValueError(f"{entry.name} is not named convnet<depth>_w<width>")
    depth, width = map(int, matched.groups())
    return ConvNet(width=width, depth=depth, classes=classes, channels=channels, size=size)


def _cifar_resnet(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    depth = int(entry.name.removeprefix("resnet").removesuffix("_cifar"))
    return CifarResNet(depth=depth, classes=classes, channels=channels)


def _torchvision(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    # Half a second of import that ConvNet runs need not pay.
    import torchvision

    model = torchvision.models.get_model(entry.name, weights=None, num_classes=classes)
    small = size < 64
    if small or channels != 3:
        kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
        model.conv1 = nn.Conv2d(channels, 64, kernel, stride=stride, padding=padding, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    if small:
        model.maxpool = nn.Identity()
    return model


_BUILDERS = {"convnet": _convnet, "cifar_resnet": _cifar_resnet, "torchvision": _torchvision}


def build_model(name: str, *, classes: int, channels: int, size: int, seed: int) -> nn.Module:
    """The named network on the CPU, in training mode, initialised from (seed, "init", name) alone.

    `size` is the side of the square input in pixels. The global torch generators are left as they were.
    Raises UnknownNameError for an unknown name and InputError if `size` is below the architecture's minimum.
    """
    entry = architecture(name)
    if size < entry.min_size:
        raise InputError(
            f"{name} needs images of at least {entry.min_size} px, these have {size}", "choose a shallower architecture"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(randomness.torch_seed(seed, "init", name))
        return _BUILDERS[entry.family](entry, classes, channels, size)
