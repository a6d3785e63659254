"""torchvision's and timm's networks, fitted to small images and grey ones.

Belongs here: what is changed in a library's network and why. Does not belong: networks of our own (own.py).

Up to 64 px a network made for 224 px would shrink its maps to nothing: early strides become 1 and early poolings go,
as the public CIFAR versions do. The libraries are imported inside: half a second that other networks need not pay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from dd_assets.models.networks.own import instance
from dd_assets.models.registry import SMALL, architecture


def from_torchvision(name: str, classes: int, channels: int, size: int) -> nn.Module:
    """torchvision's network of that name without weights, in its small form up to 64 px.

    `resnet18_in` has instance norm in place of batch norm, `vit_b_16` a position table for this size, `swin_v2_micro`
    is Swin-V2's class with small dimensions, `shufflenet_v2_half` is small at every size.
    """
    import torchvision

    if name == "swin_v2_micro":
        model = _small_swin(classes)
    else:
        own: dict[str, dict[str, Any]] = {"resnet18_in": {"norm_layer": instance}, "vit_b_16": {"image_size": size}}
        model = torchvision.models.get_model(
            _AS.get(name, name), weights=None, num_classes=classes, **own.get(name, {})
        )
    if name == "shufflenet_v2_half":
        _shufflenet(model, kernel=1)
    elif size <= SMALL and name in _SHRINK:
        _SHRINK[name](model)
    if channels != 3:
        _first_convolution(model, channels)
    return model


def _small_swin(classes: int) -> nn.Module:
    """Four layers in two stages, for images of 8 px and more."""
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

    return SwinTransformer(
        patch_size=[2, 2],
        embed_dim=24,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=[4, 4],
        mlp_ratio=2.0,
        stochastic_depth_prob=0.0,
        num_classes=classes,
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
    )


def from_timm(name: str, classes: int, channels: int, size: int) -> nn.Module:
    """timm's vision transformer of that name without weights, or `vit_micro`: its class with small dimensions."""
    if name != "vit_micro":
        import timm

        return timm.create_model(name, pretrained=False, img_size=size, in_chans=channels, num_classes=classes)
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=size,
        patch_size=architecture(name).patch_at(size),
        in_chans=channels,
        num_classes=classes,
        embed_dim=96,
        depth=6,
        num_heads=3,
        mlp_ratio=2.0,
    )


def _first_convolution(model: nn.Module, channels: int) -> None:
    """Replace the first convolution by one for another number of channels, freshly initialised."""
    name, old = next((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    _replace(model, name, _like(old, channels=channels))


def _stem(model: nn.Module, kernel: int = 3) -> None:
    """A first convolution of 3x3 (or another kernel) with stride 1 in place of a larger or striding one."""
    name, old = next((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    _replace(model, name, _like(old, kernel=kernel, stride=1))


def _like(old: nn.Conv2d, *, channels: int = 0, kernel: int = 0, stride: int = 0) -> nn.Conv2d:
    kernel = kernel or old.kernel_size[0]
    new = nn.Conv2d(
        channels or old.in_channels,
        old.out_channels,
        kernel,
        stride=stride or old.stride[0],
        padding=kernel // 2 if kernel != old.kernel_size[0] else old.padding[0],
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    return new


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _resnet(model: Any) -> None:
    model.conv1 = _like(model.conv1, kernel=3, stride=1)
    model.maxpool = nn.Identity()


def _mobilenet(model: Any) -> None:
    _stem(model)
    # The first striding stage (24 channels) keeps its size as well; three halvings remain.
    model.features[2].conv[1][0].stride = (1, 1)


def _shufflenet(model: Any, kernel: int = 3) -> None:
    _stem(model, kernel)
    model.maxpool = nn.Identity()


def _densenet(model: Any) -> None:
    _stem(model)
    model.features.pool0 = nn.Identity()


def _efficientnet(model: Any) -> None:
    _stem(model)
    # The first striding stage (24 channels): its depthwise convolution.
    model.features[2][0].block[1][0].stride = (1, 1)


_AS = {"resnet18_in": "resnet18", "shufflenet_v2_half": "shufflenet_v2_x0_5"}
"""Names of ours and torchvision's."""
_SHRINK: dict[str, Callable[[Any], None]] = {
    "resnet18": _resnet,
    "resnet18_in": _resnet,
    "resnet50": _resnet,
    "resnet101": _resnet,
    "mobilenet_v2": _mobilenet,
    "shufflenet_v2_x0_5": _shufflenet,
    "densenet121": _densenet,
    "efficientnet_b0": _efficientnet,
}
