"""Random real images.

Paper: the baseline of RD3 (Table 7, "Random + soft label"). Original code: none needed.
Differs: the draw is seeded and nested, so IPC 10 begins with the images of IPC 1.
Expected: RD3 Table 7, ResNet-18, soft labels, IPC 1/10/50/100: CIFAR-10 25.5/42.3/66.4/80.1, CIFAR-100
11.3/50.5/68.3/70.9, Tiny-ImageNet 6.6/39.3/57.3/59.9, ImageNette 23.2/64.5/88.5/90.8, ImageWoof 16.3/36.5/69.3/74.8,
ImageNet-1K 5.2/45.8/61.8/64.1. Hardware and time: any CPU, milliseconds beyond reading the images.

Belongs here: this text and the declaration. Does not belong: the computation (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from dd_assets.methods.contract import Facts, Method, Needs, Recipe


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Random selection has nothing to choose."""


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why a class cannot give `ipc` different images, or None."""
    for name, count in zip(facts.classes, facts.train_counts, strict=True):
        if count < ipc:
            return f"class {name!r} has {count} training images, IPC {ipc} needs {ipc} different ones"
    return None


def _recipe(expected: str = "") -> Recipe:
    return Recipe(
        parameters=Parameters(),
        source="RD3 section 5 and Table 7; uniform without replacement",
        expected=expected,
        cost="any CPU, milliseconds",
    )


def _rd3(figures: str) -> Recipe:
    return _recipe(f"RD3 Table 7, ResNet-18, soft labels, IPC 1/10/50/100: {figures}")


METHOD = Method(
    name="random",
    title="Random",
    family="baseline",
    paper="RD3, Table 7 (random real images with soft labels)",
    code="none",
    differs="Seeded; the images of a smaller IPC are the beginning of those of a larger one.",
    fidelity="text",
    summary=(
        "Each class contributes IPC training images drawn uniformly without replacement. "
        "Image k of class c is row π_c(k) of the class, π_c a seeded permutation."
    ),
    version=1,
    draws=3,
    per_index=True,
    needs=Needs(real_images=True),
    recipes={
        "digits": _recipe(),
        "mnist": _recipe(),
        "fashion_mnist": _recipe(),
        "cifar10": _rd3("25.5/42.3/66.4/80.1"),
        "cifar100": _rd3("11.3/50.5/68.3/70.9"),
        "tiny_imagenet": _rd3("6.6/39.3/57.3/59.9"),
        "imagenette": _rd3("23.2/64.5/88.5/90.8"),
        "imagewoof": _rd3("16.3/36.5/69.3/74.8"),
        "imagenet1k": _rd3("5.2/45.8/61.8/64.1"),
        "default": _recipe(),
    },
    synthesis="dd_assets.methods.random.synthesis:synthesise",
    refuse=refuse,
)
