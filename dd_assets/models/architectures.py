"""The networks behind the names of registry.py.

Belongs here: from a name to a network with reproducible initial weights. Does not belong: which names exist
(registry.py), layers (networks/), weights on disk (checkpoint.py), training (training.py).
"""

from __future__ import annotations

import re

import torch
from torch import nn

from dd_assets import randomness
from dd_assets.models.networks import libraries, own
from dd_assets.models.registry import SMALL, Architecture, architecture


def _convnet(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    matched = re.fullmatch(r"convnet(\d+)_w(\d+)(_in)?", entry.name)
    if matched is None:
        raise ValueError(f"{entry.name} is not named convnet<depth>_w<width>, with _in for instance norm")
    depth, width = map(int, matched.groups()[:2])
    instance_norm = matched.group(3) is not None
    return own.ConvNet(
        width=width, depth=depth, classes=classes, channels=channels, size=size, instance_norm=instance_norm
    )


def _cifar_resnet(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    depth = int(entry.name.removeprefix("resnet").removesuffix("_cifar"))
    return own.CifarResNet(depth=depth, classes=classes, channels=channels)


def _wide_resnet(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    depth, widen = map(int, entry.name.removeprefix("wrn").split("_"))
    return own.WideResNet(depth=depth, widen=widen, classes=classes, channels=channels)


def _pooled_resnet(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    return own.PooledResNet(classes=classes, channels=channels, size=size)


def _half_mobilenet(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    return own.HalfMobileNet(classes=classes, channels=channels)


def _torchvision(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    if entry.name == "alexnet" and size <= SMALL:
        return own.SmallAlexNet(classes=classes, channels=channels, size=size)
    return libraries.from_torchvision(entry.name, classes, channels, size)


def _timm(entry: Architecture, classes: int, channels: int, size: int) -> nn.Module:
    return libraries.from_timm(entry.name, classes, channels, size)


_BUILDERS = {
    "convnet": _convnet,
    "cifar_resnet": _cifar_resnet,
    "wide_resnet": _wide_resnet,
    "pooled_resnet": _pooled_resnet,
    "half_mobilenet": _half_mobilenet,
    "torchvision": _torchvision,
    "timm": _timm,
}


def build_model(name: str, *, classes: int, channels: int, size: int, seed: int) -> nn.Module:
    """The named network on the CPU, in training mode, initialised from (seed, "init", name) alone.

    Input normalised NCHW float32, output logits (N, classes). `size` is the side of the square input in pixels. The
    global torch generators are left as they were. Raises UnknownNameError for an unknown name and InputError for
    a `size` that the architecture cannot have.
    """
    entry = architecture(name)
    entry.require_size(size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(randomness.torch_seed(seed, "init", name))
        return _BUILDERS[entry.family](entry, classes, channels, size)
