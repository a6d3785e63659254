"""The named recipes of generators: values, where they come from, what they cost.

Belongs here: data; light, no torch. Does not belong: what a recipe states and means (registry.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dd_assets.diffusion.registry import FineTuning, GeneratorRecipe
from dd_assets.errors import UnknownNameError

_DIGITS = GeneratorRecipe(
    space="pixels",
    width=96,
    heads=3,
    layers=4,
    patch=2,
    iterations=1600,
    batch=64,
    learning_rate=1e-3,
    ema=0.99,
    hflip=False,
    recognition_floor=0.9,
    source="own: width, depth and patch of generation reference §12; 1,200, 1,600 and 2,000 iterations compared",
    cost="one CPU core: 147 CPU-seconds on a busy machine (measured)",
)
_GREY = GeneratorRecipe(
    width=128,
    patch=1,
    iterations=20_000,
    batch=128,
    hflip=False,
    autoencoder_iterations=4000,
    recognition_floor=0.9,
    source="own: 7x7x4 latents of an autoencoder of factor 4, patch 1; not tuned",
    cost="GPU-sized: minutes on a GPU, about 3 h on one CPU core (estimates: .3 s per iteration of 64 at 49 tokens)",
)
_DIGITS_TEXT = replace(
    _DIGITS,
    width=24,
    heads=4,
    layers=1,
    iterations=1200,
    reads="text",
    source="own: a UNet of 8 and 4 px, 24 and 48 channels, as long as 200 CPU-seconds allow; not tuned",
    cost="one CPU core: 190 CPU-seconds on a busy machine (measured)",
)
_GREY_CPU = GeneratorRecipe(
    width=96,
    heads=3,
    layers=4,
    patch=1,
    iterations=4000,
    batch=64,
    learning_rate=1e-3,
    ema=0.995,
    hflip=False,
    autoencoder_channels=(16, 32, 32),
    autoencoder_iterations=1500,
    recognition_floor=0.9,
    source="own: 7x7x4 latents, the digits' width and depth; one setting tried",
    cost="CPU-sized: 27 CPU-minutes on one core, autoencoder included; on 4,000 MNIST images reconstruction 27.3 dB, 98"
    " of 100 samples recognised (measured)",
)
_FASHION_CPU = replace(
    _GREY_CPU,
    hflip=True,
    recognition_floor=0.75,
    source="own: mnist_cpu's, with mirrored images and fashion_mnist's floor; not trained yet",
    cost="CPU-sized: about half an hour on one core (estimate: mnist_cpu's, and 120,000 views to encode)",
)
_GREY_TEXT = replace(
    _GREY,
    width=64,
    layers=2,
    autoencoder_channels=(32, 64),
    reads="text",
    source="own: 14x14x4 latents, a UNet of 64 and 128 channels; not tuned",
    cost="one CPU core: about 6 h (estimate); a GPU: minutes",
)
_CIFAR_GPU = GeneratorRecipe(
    width=384,
    heads=6,
    layers=12,
    patch=1,
    iterations=200_000,
    batch=256,
    learning_rate=1e-4,
    warmup=1000,
    ema=0.9999,
    precision="bf16",
    autoencoder_channels=(64, 128, 128),
    autoencoder_iterations=50_000,
    autoencoder_batch=128,
    recognition_floor=0.6,
    source="own: DiT-S (Peebles and Xie 2023, Table 1) on 8x8x4 latents, its learning rate and EMA; not tuned",
    cost="GPU-sized: 6 to 10 h on one modern GPU (estimate)",
)
_CIFAR_CPU = GeneratorRecipe(
    iterations=20_000,
    batch=64,
    autoencoder_iterations=5000,
    recognition_floor=0.2,
    source="own: sized for a CPU and worse for it: 128 wide, 6 layers, 16 tokens; not tuned",
    cost="CPU-sized: about 1 h for the DiT and 1.4 h for the autoencoder on one core (estimate)",
)

_CIFAR_TEXT = replace(
    _CIFAR_GPU,
    width=192,
    heads=6,
    layers=2,
    reads="text",
    recognition_floor=0.5,
    source="own: the DiT's latents, learning rate and length, a UNet of 192 and 384 channels; not tuned",
)

RECIPES: Mapping[str, GeneratorRecipe] = {
    "digits": _DIGITS,
    "mnist": _GREY,
    "mnist_cpu": _GREY_CPU,
    "fashion_mnist": replace(_GREY, hflip=True, recognition_floor=0.75),
    "fashion_mnist_cpu": _FASHION_CPU,
    "cifar10": _CIFAR_GPU,
    "cifar10_cpu": _CIFAR_CPU,
    "digits_text": _DIGITS_TEXT,
    "mnist_text": _GREY_TEXT,
    "fashion_mnist_text": replace(_GREY_TEXT, hflip=True, recognition_floor=0.75),
    "cifar10_text": _CIFAR_TEXT,
}
"""Recipes by name; a setting states one, by name or in full."""


def generator_recipe(name: str) -> GeneratorRecipe:
    """The recipe of that name; raises UnknownNameError."""
    if name not in RECIPES:
        raise UnknownNameError.of("generator recipe", name, RECIPES)
    return RECIPES[name]


_FINE_SMALL = FineTuning(
    iterations=500,
    hflip=False,
    recognition_floor=0.9,
    source="own: generation reference §4 (a) for a small model: 500 iterations, AdamW 1e-4, all parameters, EMA .99;"
    " the weights and memory of train_dit.py; not tuned",
    cost="one CPU core: minutes (estimate: a fine-tuning iteration costs one of the training)",
)
_FINE_CIFAR = replace(
    _FINE_SMALL,
    hflip=True,
    iterations=5000,
    batch=128,
    recognition_floor=0.6,
    cost="GPU-sized: a fortieth of the generator's own training",
)
_FINE_DIT = FineTuning(
    base="pretrained",
    trained="difffit",
    iterations=12_000,
    batch=8,
    learning_rate=1e-3,
    ema=0.9999,
    guidance_scale=4.0,
    source="vimar-gu/MinimaxDiffusion 969fc6f, run.sh and train_dit.py: DiffFit, AdamW 1e-3, batch 8, saved after"
    " 12,000 steps, EMA .9999, memory 64, weights .002 and .008, on DiT-XL/2-256",
    cost="about 1 h on one GPU of 16 GB or more for ten classes (the README; the GPU is not named)",
)

FINE_TUNINGS: Mapping[str, FineTuning] = {
    "digits": replace(
        _FINE_SMALL,
        iterations=300,
        source="own, on a validation fifth of the training images, IPC 10, two draws: students .919 and .913 (plain"
        " samples of the base .917 and .910, without the terms .915 and .914, DiffFit at 1e-3 .915 and .910, real"
        " images .942; three students each, deviations .002 to .012), so that none is shown to be better. The weights"
        " are the original's; ten times them drew more diverse images (2.04 for 1.91) that the teacher named less often"
        " (.95 for .98). What they are for they do: lowest cosine to real latents .52, .34 without the terms",
        cost="one CPU core: 28 CPU-seconds on a busy machine (measured)",
    ),
    "mnist": _FINE_SMALL,
    "fashion_mnist": replace(_FINE_SMALL, hflip=True, recognition_floor=0.75),
    "cifar10": _FINE_CIFAR,
    "dit": _FINE_DIT,
    "dit_all_classes": replace(
        _FINE_DIT,
        iterations=1_280_000,
        source=f"{_FINE_DIT.source}; 8 epochs of ImageNet-1K, on all classes at once: the original fine-tunes one model"
        " for every 20 classes or so",
        cost="about 100 h on one GPU (estimate from 1 h per 12,000 steps)",
    ),
}
"""Fine-tunings by name; a setting states one, by name or in full."""


def fine_tuning(name: str) -> FineTuning:
    """The fine-tuning of that name; raises UnknownNameError."""
    if name not in FINE_TUNINGS:
        raise UnknownNameError.of("fine-tuning", name, FINE_TUNINGS)
    return FINE_TUNINGS[name]
