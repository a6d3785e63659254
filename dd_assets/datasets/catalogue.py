"""The datasets known by name, each with the defaults of a setting.

Belongs here: classes, sizes, statistics, layouts and backbones of published datasets, with their sources.
Does not belong: which of them are enabled (registry.py); a YAML entry `name: {base: cifar10}` enables one.

Normalisation: ImageNet statistics for ImageNet's relatives, as RDED's teachers use them (LINs-lab/RDED 3f6453d); the
training split's own mean and deviation elsewhere. Class order: that of the dataset's own files; for folders of
WordNet ids ascending by id, which is the order of ImageFolder and of every torchvision ImageNet checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.names import class_names
from dd_assets.datasets.setting import CIFAR10_STATISTICS, Setting, TeacherChoice
from dd_assets.diffusion.recipes import fine_tuning, generator_recipe
from dd_assets.diffusion.registry import Generators
from dd_assets.evaluation.protocol import Protocol
from dd_assets.evaluation.view_presets import VIEW_PRESETS
from dd_assets.models.registry import TeacherRecipe

SMALL = "SRe2L squeeze_cifar.py: SGD 0.1, weight decay 5e-4, batch 128, 200 epochs, crop with 4 px padding, flip"
IMAGES = "torchvision's classification reference, which RDED's teachers follow: SGD 0.1, weight decay 1e-4, 90 epochs"


def _protocol(*, hflip: bool) -> Protocol:
    views = VIEW_PRESETS["rd3"]
    # Digits keep the hard labels with which their tables (docs/results) were computed.
    return Protocol(views=views) if hflip else Protocol(views=replace(views, hflip=0.0), hard_form="mixed")


def _pool(recipe: TeacherRecipe, *architectures: str, suffix: str = "") -> tuple[TeacherChoice, ...]:
    """Members of these architectures under one recipe; a suffix tells them from those of another recipe."""
    return tuple(
        TeacherChoice(architecture=name, recipe=recipe, name=f"{name}{suffix}" if suffix else "")
        for name in architectures
    )


VOTERS = ("resnet18", "resnet50", "shufflenet_v2_x0_5", "mobilenet_v2", "densenet121")
"""CV-DD's pool (Jiacheng8/CV-DD 24097e9, recover/recover.py)."""
SHORT = ("resnet18", "convnet3_w128_in", "mobilenet_v2_half", "wrn16_2", "shufflenet_v2_half")
"""G-VBSM's pool for small images: of its own code's networks (Branch_Tiny_ImageNet/relabel/baseline.py, models/), not
torchvision's; its ConvNets have instance norm. EDC adds DEPTHS (shaoshitong/EDC 80116a7, squeeze_2.sh)."""
DEPTHS = ("convnet1_w128_in", "convnet2_w128_in", "convnet3_w32_in")
LARGE = ("resnet18", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5", "alexnet")
"""The union of G-VBSM's, EDC's and PRISM's pools on ImageNet-1K and its parts."""


def _digits() -> Setting:
    recipe = TeacherRecipe(
        epochs=20,
        batch=64,
        learning_rate=0.1,
        pad_crop=1,
        hflip=False,
        accuracy_floor=0.97,
        source="own: 1,438 training images, 8x8; five settings compared, all above 99 %, 4 to 60 epochs",
    )
    small = replace(recipe, accuracy_floor=0.9, source="own: the teacher's recipe")
    transformer = replace(
        small,
        epochs=120,
        warmup_epochs=12,
        accuracy_floor=0.8,
        source="own: 40, 60 and 120 epochs reached .68, .83 and .91 on a validation fifth; rate .03 less, .3 diverged",
    )
    return Setting(
        name="digits",
        data="digits",
        reader="digits",
        classes=tuple("0123456789"),
        size=8,
        channels=1,
        # Mean and standard deviation of the training split's pixels, in [0, 1].
        normalisation=Normalisation(mean=(0.305,), std=(0.376,)),
        hflip=False,
        # The smallest class has 139 training images, RDED looks at 100 of them.
        ipc=(1, 10, 50),
        teacher=TeacherChoice(
            architecture="convnet2_w64",
            recipe=recipe,
        ),
        # One pool of tiny teachers for every method; the re-seeded ones serve PRISM's ablation.
        committee=(
            TeacherChoice(architecture="convnet2_w64", recipe=recipe),
            *_pool(small, "convnet3_w32", "resnet20_cifar", "wrn16_2", "convnet1_w128"),
            *_pool(transformer, "vit_micro"),
            *(
                TeacherChoice(architecture="convnet2_w64", recipe=recipe, seed=seed, name=f"convnet2_w64_seed{seed}")
                for seed in (1, 2, 3)
            ),
        ),
        generators=Generators(
            small=generator_recipe("digits"),
            text=generator_recipe("digits_text"),
            foreign="mnist",
            minimax=fine_tuning("digits"),
        ),
        students=("convnet2_w64", "resnet18"),
        protocol=_protocol(hflip=False),
    )


def _grey(name: str, classes: tuple[str, ...], mean: float, std: float, *, hflip: bool, floor: float) -> Setting:
    """A 28-pixel grey dataset of torchvision's, with a ConvNet teacher."""
    return Setting(
        name=name,
        data=name,
        reader="torchvision",
        options={"dataset": name},
        classes=classes,
        size=28,
        channels=1,
        normalisation=Normalisation(mean=(mean,), std=(std,)),
        hflip=hflip,
        teacher=TeacherChoice(
            architecture="convnet3_w128",
            recipe=TeacherRecipe(epochs=20, pad_crop=2, hflip=hflip, accuracy_floor=floor, source="own choice"),
        ),
        generators=Generators(
            small=generator_recipe(name), text=generator_recipe(f"{name}_text"), minimax=fine_tuning(name)
        ),
        students=("convnet3_w128", "resnet18"),
        protocol=_protocol(hflip=hflip),
    )


def _cifar(name: str, classes: tuple[str, ...], statistics: Normalisation, floor: float) -> Setting:
    """RD3's ResNet-18 with the small-image stem on CIFAR."""
    # G-VBSM trains its teachers for 5 epochs on CIFAR-10 on purpose, and for 50 on CIFAR-100.
    short = TeacherRecipe(
        epochs=5 if name == "cifar10" else 50,
        batch=64,
        learning_rate=0.05,
        weight_decay=0.0,
        schedule="constant",
        accuracy_floor=floor / 2,
        source="G-VBSM Branch_CIFAR_*/squeeze/squeeze.sh and train.py",
    )
    recipe = TeacherRecipe(epochs=200, accuracy_floor=floor, source=SMALL)
    voter = replace(recipe, accuracy_floor=0.9 * floor)
    transformer = replace(
        recipe, warmup_epochs=10, accuracy_floor=floor / 2, source=f"{SMALL}; own: a warm-up, not yet trained here"
    )
    return Setting(
        name=name,
        data=name,
        reader="torchvision",
        options={"dataset": name},
        classes=classes,
        size=32,
        normalisation=statistics,
        teacher=TeacherChoice(architecture="resnet18", recipe=recipe),
        committee=(
            TeacherChoice(architecture="resnet18", recipe=recipe),
            *_pool(voter, *VOTERS[1:]),
            *_pool(short, *SHORT, *DEPTHS, suffix="_short"),
            *_pool(transformer, "vit_micro"),
        ),
        generators=_cifar_generators() if name == "cifar10" else Generators(minimax=fine_tuning("dit")),
        students=("resnet18",),
        protocol=_protocol(hflip=True),
    )


def _cifar_generators() -> Generators:
    return Generators(
        small=generator_recipe("cifar10"), text=generator_recipe("cifar10_text"), minimax=fine_tuning("cifar10")
    )


def _images(name: str, size: int, floor: float, *, reader: str = "folder", options: Mapping[str, Any]) -> Setting:
    """RD3's ResNet-18 on a relative of ImageNet, whose folders are WordNet ids."""
    small = size < 128
    recipe = TeacherRecipe(
        epochs=200 if small else 90,
        weight_decay=5e-4 if small else 1e-4,
        pad_crop=size // 8,
        accuracy_floor=floor,
        source=SMALL if small else IMAGES + "; a padded crop takes the place of its random resized crop",
    )
    return Setting(
        name=name,
        data=name,
        reader=reader,
        options={"folders": name, **options},
        classes=class_names(name),
        size=size,
        teacher=TeacherChoice(architecture="resnet18", recipe=recipe),
        committee=(
            TeacherChoice(architecture="resnet18", recipe=recipe),
            *_pool(replace(recipe, accuracy_floor=floor / 2), *_others(small)),
        ),
        generators=Generators(minimax=fine_tuning("dit_all_classes" if name == "imagenet1k" else "dit")),
        students=("resnet18",),
        protocol=_protocol(hflip=True),
    )


def _others(small: bool) -> tuple[str, ...]:
    """The committee's members besides ResNet-18 for Tiny-ImageNet (`small`) or larger images, each once."""
    return tuple(dict.fromkeys(name for name in (*VOTERS, *(SHORT if small else LARGE)) if name != "resnet18"))


FASHION = ("T-shirt or top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_STATISTICS = Normalisation(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762))

# The floors catch wrong class orders and normalisations, not weak training; they lie well below what teachers of these
# recipes are reported to reach (RDED's README: 93.9, 72.3, 62.0, 90.0, 75.0 and 87.4 % for the six from cifar10 on).
CATALOGUE: dict[str, Setting] = {
    entry.name: entry
    for entry in (
        _digits(),
        _grey("mnist", tuple("0123456789"), 0.1307, 0.3081, hflip=False, floor=0.98),
        _grey("fashion_mnist", FASHION, 0.2860, 0.3530, hflip=True, floor=0.88),
        _cifar("cifar10", CIFAR10, CIFAR10_STATISTICS, floor=0.90),
        _cifar("cifar100", class_names("cifar100"), CIFAR100_STATISTICS, floor=0.65),
        _images("tiny_imagenet", 64, 0.50, reader="tiny_imagenet", options={"folder": "tiny-imagenet-200"}),
        _images("imagenette", 224, 0.80, options={"folder": "imagenette2", "test": "val"}),
        _images("imagewoof", 224, 0.60, options={"folder": "imagewoof2", "test": "val"}),
        _images("imageidc", 224, 0.75, options={"folder": "imagenet1k", "test": "val"}),
        _images("imagenet1k", 224, 0.60, options={"folder": "imagenet1k", "test": "val"}),
    )
}
"""Every dataset that a user's setting may take as its `base`."""
