"""What the methods' computations cost at ImageNet-1K's size, in steps of a ResNet-18.

Belongs here: timing a few iterations of every optimisation and the passes that selections and generations consist of,
with the networks of the ImageNet-1K recipes, untrained. Does not belong: hours and bytes (sizing.py, which reads this).

A step is one image forward through a ResNet-18 at 224 px and back to its pixels. The step and what is compared with it
run in turn, so that the machine's load falls on both.

    python -m benchmarks.image_costs --out docs/results/image_costs.json
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import interleaved, report
from dd_assets import randomness
from dd_assets.datasets.arrays import ImageArrays
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.methods.contract import Facts, Method
from dd_assets.methods.registry import METHODS
from dd_assets.methods.request import Request
from dd_assets.models.architectures import build_model
from dd_assets.synthesis.real_statistics import measure

DATA = "imagenet1k"
CLASSES, PER_CLASS, SIZE = 5, 4, 224
TWO_COUNTS = (1, 2)
"""Times a method's networks: iterations of the two runs whose difference is timed, so that setting up is left out."""


def main() -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=SIZE, help="pixels of a side; the recipes' is 224")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="rows by name")
    parser.add_argument("--out")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    kept = known(given.out, given.size)
    for name, make in parts(given.size):
        if (not given.only or name in given.only) and name not in kept:
            kept[name] = steps_of(make, given.size, given.rounds)
            rows = [{"what": what, "size": given.size, "steps": steps} for what, steps in kept.items()]
            # After each: some take minutes, and a run that was ended goes on.
            report("image_costs", rows, given.out)


def known(out: str | None, size: int) -> dict[str, float]:
    """The rows of an earlier run into this file; ends the program if they are of another size."""
    if out is None or not Path(out).exists():
        return {}
    rows = json.loads(Path(out).read_text())["rows"]
    if any(row["size"] != size for row in rows):
        raise SystemExit(f"{out} holds costs at {rows[0]['size']} px -> name another file, or --size {rows[0]['size']}")
    return {row["what"]: row["steps"] for row in rows}


Part = Callable[[], tuple[Mapping[str, Callable[[], object]], int]]
"""To (what runs: "less" and "more", whose difference counts, or "more" alone; how many units that is)."""


def parts(size: int) -> Iterator[tuple[str, Part]]:
    """Everything that is timed, made only when its turn comes: some networks take gigabytes."""
    yield "forward", lambda: _passes(_network("resnet18", size), size, gradient=False)
    for method in METHODS().values():
        if method.family == "optimisation" and not method.variant_of:
            yield method.name, functools.partial(_iterations, method, size)
    yield "rded", lambda: _selection(size)
    yield "training", lambda: _training(size)
    yield "attention", lambda: _passes(_network("vit_base_patch16_224", size), size, gradient=False)
    yield "denoiser", lambda: _denoiser("dit", gradient=False)
    yield "denoiser and back", lambda: _denoiser("dit", gradient=True)
    yield "decoder", lambda: _decoder(gradient=False)
    yield "decoder and back", lambda: _decoder(gradient=True)
    yield "text denoiser", lambda: _denoiser("unet", gradient=False)


def steps_of(make: Part, size: int, rounds: int) -> float:
    """CPU time of a unit in steps, from medians of interleaved runs."""
    runs, units = make()
    reference, images = _passes(_network("resnet18", size), size, gradient=True)
    found = interleaved({**runs, "step": reference["more"]}, rounds)
    spent = found["more"]["cpu"] - (found["less"]["cpu"] if "less" in found else 0.0)
    gc.collect()
    return round(spent / units / (found["step"]["cpu"] / images), 2)


def _network(name: str, size: int, seed: int = 0) -> nn.Module:
    made = build_model(name, classes=CLASSES, channels=3, size=size, seed=seed)
    return made.eval().requires_grad_(False)


def _passes(network: nn.Module, size: int, *, gradient: bool) -> tuple[Mapping[str, Callable[[], object]], int]:
    pixels = torch.zeros(CLASSES, 3, size, size)

    def run() -> None:
        with torch.set_grad_enabled(gradient):
            x = pixels.clone().requires_grad_(gradient)
            out = network(x)
            if gradient:
                torch.autograd.grad(out.sum(), x)

    return {"more": run}, CLASSES


def _training(size: int) -> tuple[Mapping[str, Callable[[], object]], int]:
    """A student's step without its views: forward, back to the weights, AdamW."""
    network = build_model("resnet18", classes=CLASSES, channels=3, size=size, seed=0).train()
    adam = torch.optim.AdamW(network.parameters())
    pixels = torch.zeros(CLASSES, 3, size, size)

    def run() -> None:
        adam.zero_grad()
        network(pixels).sum().backward()
        adam.step()

    return {"more": run}, CLASSES


def _iterations(method: Method, size: int) -> tuple[Mapping[str, Callable[[], object]], int]:
    """A method's own synthesis with its own networks; the iterations stand for one image of every class."""
    parameters = method.recipe_for(DATA).parameters
    pool = method.pool(parameters, Facts(**_facts(size)))
    networks = {name: _network(name, size, number) for number, name in enumerate(pool or ("resnet18",))}
    count = max(len(networks), 4)
    # A random subset of networks is drawn per IPC index: more indices average over it.
    ipc = 4 if hasattr(parameters, "chance") else 1
    kept = {
        name: measure(
            network,
            data.images,
            data.labels,
            normalisation=CATALOGUE[DATA].normalisation,
            classes=CLASSES,
            patch=16,
            batch=CLASSES,
            pad_crop=0,
            hflip=False,
            seed=0,
            device="cpu",
        )
        for data in [_images(size)]
        for name, network in networks.items()
        if method.needs.statistics
    }
    module, _, function = method.synthesis.partition(":")
    synthesise = getattr(import_module(module), function)

    def run(times: int) -> None:
        fewer = {"iterations": count * times} | ({"shorter_by": 0} if hasattr(parameters, "shorter_by") else {})
        synthesise(
            Request(
                facts=Facts(**_facts(size), committee=tuple(networks)),
                parameters=replace(parameters, **fewer),
                ipc=ipc,
                first=0,
                last=ipc,
                seed=0,
                train=lambda: _images(size),
                teacher=lambda: networks["resnet18"],
                committee=lambda: networks,
                statistics=lambda name: kept[name],
                priors=lambda: dict.fromkeys(networks, 50.0),
                initial=lambda: np.tile(_images(size).images[::PER_CLASS], (ipc, 1, 1, 1)),
            )
        )

    less, more = TWO_COUNTS
    return {"less": lambda: run(less), "more": lambda: run(more)}, count * (more - less) * ipc * CLASSES


def _selection(size: int) -> tuple[Mapping[str, Callable[[], object]], int]:
    """RDED's own selection; a unit is one of the crops that the teacher looks at."""
    from dd_assets.methods.rded.synthesis import select_class

    parameters, data = METHODS()["rded"].recipe_for(DATA).parameters, _images(size)
    teacher = _network("resnet18", size)
    request = Request(
        facts=Facts(**_facts(size)),
        parameters=parameters,
        ipc=1,
        first=0,
        last=1,
        seed=0,
        train=lambda: data,
        teacher=lambda: teacher,
    )
    return {"more": lambda: select_class(request, teacher, data, 0, 1)}, PER_CLASS * parameters.num_crops


def _denoiser(kind: str, *, gradient: bool) -> tuple[Mapping[str, Callable[[], object]], int]:
    """One row through DiT-XL/2 at 256 px, or through Stable Diffusion v1's network at 512 px."""
    from diffusers import DiTTransformer2DModel, UNet2DConditionModel

    if kind == "dit":
        network: Any = DiTTransformer2DModel(
            num_attention_heads=16, attention_head_dim=72, in_channels=4, out_channels=8
        )
        given: dict[str, Any] = {"class_labels": torch.zeros(1, dtype=torch.long)}
        latent = torch.zeros(1, 4, 32, 32)
    else:
        network = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        given = {"encoder_hidden_states": torch.zeros(1, 77, 768)}
        latent = torch.zeros(1, 4, 64, 64)
    network.eval().requires_grad_(False)
    timestep = torch.zeros(1, dtype=torch.long)

    def run() -> None:
        with torch.set_grad_enabled(gradient):
            x = latent.clone().requires_grad_(gradient)
            out = network(x, timestep=timestep, **given).sample
            if gradient:
                torch.autograd.grad(out.sum(), x)

    return {"more": run}, 1


def _decoder(*, gradient: bool) -> tuple[Mapping[str, Callable[[], object]], int]:
    """One row through Stable Diffusion's decoder at 256 px."""
    from diffusers import AutoencoderKL

    blocks = (128, 256, 512, 512)
    made: Any = AutoencoderKL(
        block_out_channels=blocks,
        layers_per_block=2,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * len(blocks),
        up_block_types=("UpDecoderBlock2D",) * len(blocks),
        sample_size=256,
    )
    made.eval().requires_grad_(False)

    def run() -> None:
        with torch.set_grad_enabled(gradient):
            z = torch.zeros(1, 4, 32, 32, requires_grad=gradient)
            out = made.decode(z).sample
            if gradient:
                torch.autograd.grad(out.sum(), z)

    return {"more": run}, 1


def _facts(size: int) -> dict[str, Any]:
    return {
        "setting": DATA,
        "classes": CATALOGUE[DATA].classes[:CLASSES],
        "train_counts": (PER_CLASS,) * CLASSES,
        "size": size,
        "channels": 3,
        "normalisation": CATALOGUE[DATA].normalisation,
        "hflip": True,
    }


def _images(size: int) -> ImageArrays:
    pixels = randomness.integers(256, CLASSES * PER_CLASS * size**2 * 3, 0, "costs", "images").astype(np.uint8)
    return ImageArrays(pixels.reshape(-1, size, size, 3), np.repeat(np.arange(CLASSES), PER_CLASS))


if __name__ == "__main__":
    main()
