"""Teachers from torchvision's and timm's published ImageNet-1K weights.

Belongs here: fetching them through their libraries, cutting the head down to a dataset's classes, refusals.
Does not belong: files of the user's own (checkpoint.import_weights), measuring accuracy (training.top1).

RDED cuts ImageNet subsets' teachers out of the 1000-way network in the same way (LINs-lab/RDED 3f6453d,
validation/utils.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.names import class_folders
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.models.checkpoint import check_keys
from dd_assets.models.networks.libraries import SMALL

SCHEMES = ("torchvision:", "timm:")
OUTPUTS = 1000


def is_published(weights: str) -> bool:
    """Whether `weights` names published ones ("torchvision:…", "timm:…") and not a file."""
    return weights.startswith(SCHEMES)


def import_published(
    weights: str,
    *,
    architecture: str,
    classes: Sequence[str],
    data: str,
    channels: int,
    size: int,
    normalisation: Normalisation,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state, metadata) of published 1000-way weights, with the rows of `classes` as head.

    `weights`: "torchvision:ResNet18_Weights.IMAGENET1K_V1" or "timm:resnet18.a1_in1k"; `data` names the table of
    WordNet ids in which the classes stand (class_names/). Downloads only where the library's cache lacks the file.
    Raises InputError for weights that cannot be had, another architecture, images too small for the network's large
    form, grey images, classes outside ImageNet-1K and another normalisation; UnknownNameError for unknown weights.
    """
    if size < SMALL or channels != 3:
        raise InputError(
            f"{weights} was trained on large colour images; these have {size} px and {channels} channels",
            f"use images of at least {SMALL} px, or train the teacher here (leave `weights` out)",
        )
    scheme, name = weights.split(":", 1)
    state, published = (_torchvision if scheme == "torchvision" else _timm)(name, architecture)
    if published != normalisation:
        raise InputError(
            f"{weights} was trained with mean {published.mean}, std {published.std}; the setting has "
            f"{normalisation.mean}, {normalisation.std}",
            "give the setting the normalisation of its teacher",
        )
    rows = torch.tensor(_rows(classes, data))
    from dd_assets.models.architectures import build_model

    model = build_model(architecture, classes=len(classes), channels=channels, size=size, seed=0)
    head = [module for module, kind in model.named_modules() if isinstance(kind, nn.Linear)][-1]
    for part in (f"{head}.weight", f"{head}.bias"):
        if part in state and len(state[part]) == OUTPUTS:
            state[part] = state[part][rows].clone()
    check_keys(state, model, architecture, weights)
    return state, {"source": f"{weights}, {len(rows)} of {OUTPUTS} rows"}


def _rows(classes: Sequence[str], data: str) -> list[int]:
    """The outputs of ImageNet-1K's networks for these classes, whose order is that of ascending WordNet ids."""
    order = list(class_folders("imagenet1k").values())
    try:
        table = class_folders(data)
    except UnknownNameError:
        table = class_folders("imagenet1k")
    unknown = [name for name in classes if table.get(name) not in order]
    if unknown:
        raise InputError(
            f"class {unknown[0]!r} is not one of ImageNet-1K's, so published weights have no output for it",
            "train the teacher here (leave `weights` out) or name a file of your own",
        )
    return [order.index(table[name]) for name in classes]


def _torchvision(name: str, architecture: str) -> tuple[dict[str, Tensor], Normalisation]:
    import torchvision

    try:
        chosen = torchvision.models.get_weight(name)
    except (ValueError, AttributeError, KeyError) as error:
        raise UnknownNameError(f"torchvision has no weights {name!r}", "name them as in its documentation") from error
    if chosen not in list(torchvision.models.get_model_weights(architecture)):
        raise InputError(f"torchvision's {name} is not for {architecture}", "name the architecture of the weights")
    try:
        state = chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        file = chosen.url.rsplit("/", 1)[-1]
        raise InputError(
            f"torchvision's {name} cannot be had ({error})", f"put {file} into {torch.hub.get_dir()}/checkpoints"
        ) from error
    preset = chosen.transforms()
    return dict(state), Normalisation(mean=tuple(preset.mean), std=tuple(preset.std))


def _timm(name: str, architecture: str) -> tuple[dict[str, Tensor], Normalisation]:
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise UnknownNameError(f"timm has no model {name!r}", "name it as timm.list_pretrained() does")
    try:
        model: Any = timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(
            f"timm's {name} cannot be had ({line})", "fetch it into the Hugging Face cache first"
        ) from error
    facts = model.pretrained_cfg
    normalisation = Normalisation(mean=tuple(facts["mean"]), std=tuple(facts["std"]))
    return {key: value.detach().clone() for key, value in model.state_dict().items()}, normalisation
