"""Which architectures exist, and the teacher recipe, as data.

Belongs here: names, sizes and training settings; light, no torch. Does not belong: layers (architectures.py) or
training loops (training.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args, get_type_hints

from dd_assets.bounds import BELOW_ONE, COUNT, COUNT_OR_NONE, NOT_NEGATIVE, SHARE, Range, require
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.later import LATER, later

SMALL = 64
"""Pixels up to which torchvision's networks have their small form, as the papers' for CIFAR and Tiny-ImageNet."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One network family member; `build` in architectures.py makes it for any class count, channels and size."""

    name: str
    family: Literal["convnet", "cifar_resnet", "wide_resnet", "pooled_resnet", "half_mobilenet", "torchvision", "timm"]
    summary: str
    min_size: int = 8
    batch_norm: bool = True
    """Whether it has batch norm layers, without which a recovery has nothing to match."""
    small_form: bool = False
    """Whether it is changed for images of up to `SMALL` px."""
    large_from: int = 64
    """Pixels from which it has its large form."""
    patch: int = 1
    """Pixels of a patch's side, of which an image's must be a multiple; 0: an eighth of the image's, at least 2, or 4
    where eight do not fit."""

    def patch_at(self, size: int) -> int:
        """Pixels of a patch's side in images of this size."""
        return self.patch or (max(2, size // 8) if size % 8 == 0 else 4)

    def require_size(self, size: int) -> None:
        """Raise InputError where it cannot be built for square images of this size."""
        if size < self.min_size:
            raise InputError(
                f"{self.name} needs images of at least {self.min_size} px, these have {size}",
                "choose a shallower architecture",
            )
        patch = self.patch_at(size)
        if size % patch:
            raise InputError(
                f"{self.name} cuts images into patches of {patch} px, these have {size} px",
                f"use {size // patch * patch} px, or another network",
            )

    def stated_form(self, size: int) -> dict[str, str]:
        """What recipes say of the form at exactly 64 px, where it was the large one once; else nothing."""
        return {"form": "small"} if self.small_form and size == SMALL else {}

    def activation_floats(self, size: int) -> float:
        """Floats kept for the backward pass to the input, per image and pixel, at this size (`ACTIVATIONS`)."""
        small, large = ACTIVATIONS[self.name]
        return small if size < self.large_from else large


def _convnet(width: int, depth: int, instance_norm: bool = False) -> Architecture:
    blocks, norm = "1 block" if depth == 1 else f"{depth} blocks", "instance" if instance_norm else "batch"
    return Architecture(
        name=f"convnet{depth}_w{width}{'_in' if instance_norm else ''}",
        family="convnet",
        summary=f"{blocks} of conv3x3-{width}, {norm} norm, ReLU, pool 2",
        min_size=2**depth,
        batch_norm=not instance_norm,
    )


def _torchvision(name: str, title: str, small: str, min_size: int = 8, batch_norm: bool = True) -> Architecture:
    return Architecture(
        name=name,
        family="torchvision",
        summary=f"torchvision {title}; up to {SMALL} px {small}",
        min_size=min_size,
        batch_norm=batch_norm,
        small_form=True,
        large_from=SMALL + 1,
    )


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        _convnet(64, 2),
        *(_convnet(128, depth) for depth in (1, 2, 3, 4, 5, 6)),
        _convnet(32, 3),
        *(_convnet(128, depth, instance_norm=True) for depth in (1, 2, 3, 6)),
        *(_convnet(width, 3, instance_norm=True) for width in (32, 64)),
        *(
            Architecture(
                name=f"resnet{depth}_cifar",
                family="cifar_resnet",
                summary=f"CIFAR ResNet-{depth} (He et al. 2016, section 4.2), option-A shortcuts",
            )
            for depth in (20, 32, 56)
        ),
        Architecture(
            name="wrn16_2",
            family="wide_resnet",
            summary="Wide ResNet 16-2 without dropout (Zagoruyko and Komodakis 2016)",
        ),
        Architecture(
            name="resnetap10_in",
            family="pooled_resnet",
            summary="ResNetAP-10: basic blocks, average pooling for strides, instance norm (IDC, Kim et al. 2022)",
            # At 8 px its last maps are single pixels, which instance norm makes all alike: it would answer a constant.
            min_size=16,
            batch_norm=False,
            large_from=65,
        ),
        _torchvision("resnet18", "ResNet-18", "with a 3x3 stride-1 stem and no max-pool"),
        _torchvision("resnet50", "ResNet-50", "with a 3x3 stride-1 stem and no max-pool"),
        _torchvision("resnet101", "ResNet-101", "with a 3x3 stride-1 stem and no max-pool"),
        Architecture(
            name="resnet18_in",
            family="torchvision",
            summary="torchvision ResNet-18 with instance norm (the hard-label protocol's); up to 64 px as resnet18",
            # As for resnetap10_in: its last maps must not be single pixels.
            min_size=16,
            batch_norm=False,
            small_form=True,
            large_from=SMALL + 1,
        ),
        Architecture(
            name="swin_v2_t",
            family="torchvision",
            summary="torchvision Swin-V2-T, patches of 4 px, windows of 8 patches",
            min_size=64,
            patch=4,
            batch_norm=False,
            # At 64 px its windows are padded to twice the map.
            large_from=65,
        ),
        Architecture(
            name="swin_v2_micro",
            family="torchvision",
            summary="shifted-window transformer of 4 layers, widths 24 and 48; patches of 2 px, windows of 4 patches",
            batch_norm=False,
        ),
        Architecture(
            name="vit_b_16",
            family="torchvision",
            summary="torchvision ViT-B/16, any multiple of 16 px (weights: 224 px)",
            min_size=32,
            patch=16,
            batch_norm=False,
        ),
        _torchvision("mobilenet_v2", "MobileNetV2", "the stem and the first striding stage keep their size"),
        _torchvision("shufflenet_v2_x0_5", "ShuffleNetV2 0.5x", "the stem keeps its size, no max-pool"),
        Architecture(
            name="mobilenet_v2_half",
            family="half_mobilenet",
            summary="MobileNetV2 of half width with four halvings at every size (RepDistiller's mobile_half)",
        ),
        Architecture(
            name="shufflenet_v2_half",
            family="torchvision",
            summary="ShuffleNetV2 0.5x with a 1x1 stem of stride 1 and no max-pool at every size (RepDistiller's)",
        ),
        _torchvision("densenet121", "DenseNet-121", "with a 3x3 stride-1 stem and no pooling after it"),
        _torchvision("efficientnet_b0", "EfficientNet-B0", "the stem and the first striding stage keep their size"),
        _torchvision("alexnet", "AlexNet", "kernels 5, 5, 3, 3, 3 of stride 1", batch_norm=False),
        Architecture(
            name="vit_micro",
            family="timm",
            summary="vision transformer of 6 layers, width 96, 3 heads; 8x8 patches per image (7x7 at 28 px)",
            patch=0,
            batch_norm=False,
        ),
        *(
            Architecture(
                name=f"vit_{width}_patch16_224",
                family="timm",
                summary=f"timm ViT-{width.capitalize()}, patches of 16 px, any multiple of 16 px (weights: 224 px)",
                min_size=32,
                patch=16,
                batch_norm=False,
            )
            for width in ("tiny", "small", "base")
        ),
    )
}


# (below `large_from`, from it on): bytes of all distinct tensors that autograd keeps in a forward pass of two images
# with frozen weights, a gradient to the input and evaluation mode, at 32 px (or the smallest size) and 128 px, torch
# 2.14.1.
ACTIVATIONS: dict[str, tuple[float, float]] = {
    "convnet2_w64": (179.0, 179.0),
    "convnet1_w128": (259.0, 259.0),
    "convnet2_w128": (355.0, 355.0),
    "convnet3_w128": (379.0, 379.0),
    "convnet4_w128": (385.0, 385.0),
    "convnet5_w128": (386.5, 386.5),
    "convnet6_w128": (386.9, 386.9),
    "convnet3_w32": (97.0, 97.0),
    "convnet1_w128_in": (259.2, 259.0),
    "convnet2_w128_in": (355.5, 355.0),
    "convnet3_w128_in": (379.8, 379.0),
    "convnet3_w32_in": (97.2, 97.0),
    "convnet3_w64_in": (190.0, 190.0),
    "convnet6_w128_in": (387.2, 387.0),
    "resnet20_cifar": (371.0, 371.0),
    "resnet32_cifar": (595.0, 595.0),
    "resnet56_cifar": (1043.0, 1043.0),
    "wrn16_2": (483.0, 483.0),
    "resnetap10_in": (1092.6, 386.4),
    "resnet18": (1147.0, 110.5),
    "resnet50": (6227.0, 428.0),
    "resnet101": (9491.0, 632.0),
    "resnet18_in": (1156.4, 111.1),
    "swin_v2_t": (820.7, 455.0),
    "swin_v2_micro": (228.3, 228.3),
    "vit_b_16": (457.7, 372.4),
    "mobilenet_v2": (4653.0, 389.6),
    "shufflenet_v2_x0_5": (620.0, 55.1),
    "mobilenet_v2_half": (416.4, 416.4),
    "shufflenet_v2_half": (620.0, 620.0),
    "densenet121": (9835.0, 649.5),
    "efficientnet_b0": (5365.2, 440.1),
    "alexnet": (265.0, 17.4),
    "vit_micro": (304.4, 21.8),
    "vit_tiny_patch16_224": (116.9, 95.5),
    "vit_small_patch16_224": (230.5, 187.8),
    "vit_base_patch16_224": (457.7, 372.4),
}


def architecture(name: str) -> Architecture:
    """The architecture of that name; raises UnknownNameError."""
    if name not in ARCHITECTURES:
        raise UnknownNameError.of("architecture", name, ARCHITECTURES)
    return ARCHITECTURES[name]


_RANGES: Mapping[str, Range] = {
    "epochs": COUNT,
    "batch": Range(lambda value: value >= 2, "a whole number, 2 or more"),
    "learning_rate": NOT_NEGATIVE,
    "momentum": BELOW_ONE,
    "weight_decay": NOT_NEGATIVE,
    "warmup_epochs": COUNT_OR_NONE,
    "label_smoothing": BELOW_ONE,
    "pad_crop": COUNT_OR_NONE,
    "accuracy_floor": SHARE,
}
"""Of a teacher's recipe. A rate of 0 trains nothing, and says so by its accuracy."""


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """How a teacher is trained: SGD with Nesterov off, a linear warm-up, last epoch kept."""

    epochs: int
    """How often all training images are gone through."""
    batch: int = 128
    """Images per step, 2 or more: batch norm needs two values."""
    learning_rate: float = 0.1
    """The peak, which the warm-up ends at."""
    momentum: float = 0.9
    """Of SGD, not Nesterov's."""
    weight_decay: float = 5e-4
    """On every parameter."""
    warmup_epochs: int = 0
    """Over so many epochs the rate rises linearly to its peak; 0: it begins there."""
    label_smoothing: float = 0.0
    """The share of each label that is spread evenly over all classes."""
    pad_crop: int = 4
    """Random crop after zero padding by this many pixels; 0 turns it off."""
    hflip: bool = True
    """Mirror each image in half of the epochs."""
    precision: Literal["fp32", "bf16", "bf16_products"] = "fp32"
    """bf16: mixed precision, channels last; bf16_products: also small maps by products (models/small_maps.py)."""
    accuracy_floor: float = 0.0
    """Top-1 on the test split, in [0, 1], below which the teacher's blocking verdict fails."""
    source: str = ""
    """Where the values come from; not part of the recipe digest."""
    schedule: Literal["cosine", "constant"] = later("cosine")
    """Of the rate after the warm-up: a cosine to 0, or the peak to the end (G-VBSM's and EDC's weak teachers)."""

    def __post_init__(self) -> None:
        hints = get_type_hints(TeacherRecipe)
        for name in ("precision", "schedule"):
            value, known = getattr(self, name), get_args(hints[name])
            if value not in known:
                raise UnknownNameError.of(f"{name} of a teacher's recipe", value, known)
        require("teacher's recipe", self, _RANGES)

    @classmethod
    def from_stored(cls, parameters: Mapping[str, Any]) -> Self:
        """The recipe that a unit's parameters hold; fields that came later may lack there, any other is a KeyError."""
        known = [entry for entry in fields(cls) if entry.name != "source"]
        names = [entry.name for entry in known if entry.name in parameters or not entry.metadata.get(LATER)]
        return cls(**{name: parameters[name] for name in names})

    @property
    def layout(self) -> dict[str, str]:
        """What the recipe digest says of memory: channels last in bf16, whose bits changed by it; else nothing."""
        return {"layout": "channels_last"} if self.precision != "fp32" else {}
