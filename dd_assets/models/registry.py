"""Which architectures exist, and the teacher recipe, as data.

Belongs here: names, sizes and training settings; light, no torch. Does not belong: layers (architectures.py) or
training loops (training.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dd_assets.errors import UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One network family member; `build` in architectures.py makes it for any class count, channels and size."""

    name: str
    family: Literal["convnet", "cifar_resnet", "torchvision"]
    summary: str
    min_size: int = 8


def _convnet(width: int, depth: int) -> Architecture:
    return Architecture(
        name=f"convnet{depth}_w{width}",
        family="convnet",
        summary=f"{depth} blocks of conv3x3-{width}, batch norm, ReLU, average pool 2",
        min_size=2**depth,
    )


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        _convnet(64, 2),
        *(_convnet(128, depth) for depth in (2, 3, 4)),
        *(
            Architecture(
                name=f"resnet{depth}_cifar",
                family="cifar_resnet",
                summary=f"CIFAR ResNet-{depth} (He et al. 2016, section 4.2), option-A shortcuts",
            )
            for depth in (20, 32, 56)
        ),
        Architecture(
            name="resnet18",
            family="torchvision",
            summary="torchvision ResNet-18; below 64 px with a 3x3 stride-1 stem and no max-pool",
        ),
    )
}


def architecture(name: str) -> Architecture:
    """The architecture of that name; raises UnknownNameError."""
    if name not in ARCHITECTURES:
        raise UnknownNameError.of("architecture", name, ARCHITECTURES)
    return ARCHITECTURES[name]


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """How a teacher is trained: SGD with Nesterov off, cosine to 0 with linear warm-up, last epoch kept."""

    epochs: int
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 0
    label_smoothing: float = 0.0
    pad_crop: int = 4
    """Random crop after zero padding by this many pixels; 0 turns it off."""
    hflip: bool = True
    precision: Literal["fp32", "bf16"] = "fp32"
    accuracy_floor: float = 0.0
    """Top-1 on the test split, in [0, 1], below which the teacher's blocking verdict fails."""
    source: str = ""
    """Where the values come from; not part of the recipe digest."""
