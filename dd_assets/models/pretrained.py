"""Teachers from torchvision's and timm's published ImageNet-1K weights.

Belongs here: finding their files in the libraries' caches, what they were trained with, refusals. Does not belong:
files of the user's own (checkpoint.import_weights), cutting heads (foreign.py), measuring accuracy (training.top1).
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dd_assets.datasets.arrays import Normalisation
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.fetching import DOWNLOADS, in_short, may_fetch
from dd_assets.models.architectures import build_model
from dd_assets.models.checkpoint import check_finite, check_keys, read
from dd_assets.models.foreign import cut_head, imagenet_rows, present_names
from dd_assets.models.registry import SMALL

SCHEMES = ("torchvision:", "timm:")
TIMM_FILE = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights as their library hands them out, and what it says of them."""

    state: dict[str, Tensor]
    normalisation: Normalisation
    fixed_size: int | None = None
    """The one image size in pixels that the network takes, or None where it takes others."""


def is_published(weights: str) -> bool:
    """Whether `weights` names published ones ("torchvision:…", "timm:…") and not a file."""
    return weights.startswith(SCHEMES)


def examine(weights: str, architecture: str) -> None:
    """Raise UnknownNameError for weights that their library does not know, InputError for another architecture's.

    Looks at no file: a teacher made of them may be in the store, and the file on another machine alone.
    """
    scheme, name = weights.split(":", 1)
    if scheme == "torchvision":
        _torchvision_weights(name, architecture)
    else:
        _timm_facts(name)


def import_published(
    weights: str,
    *,
    architecture: str,
    classes: Sequence[str],
    data: str,
    channels: int,
    size: int,
    normalisation: Normalisation,
    folders: str | Mapping[str, str] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state, metadata) of published 1000-way weights, with the rows of `classes` as head.

    `weights`: "torchvision:ResNet18_Weights.IMAGENET1K_V1" or "timm:resnet18.a1_in1k"; `data` and `folders` say which
    WordNet ids the classes have (foreign.imagenet_rows). The file is taken from torch's or Hugging Face's cache, and
    fetched into it only where DD_DOWNLOAD_WEIGHTS=1. Raises InputError for weights that cannot be had, a damaged file,
    another architecture, images of a size the network was not made for, grey images, classes outside ImageNet-1K and
    another normalisation; UnknownNameError for weights that the library does not know.
    """
    if size <= SMALL or channels != 3:
        raise InputError(
            f"{weights} was trained on large colour images; these have {size} px and {channels} channels",
            f"use images of more than {SMALL} px, or train the teacher here (leave `weights` out)",
        )
    rows = imagenet_rows(classes, data, folders)
    scheme, name = weights.split(":", 1)
    found = _torchvision(name, architecture) if scheme == "torchvision" else _timm(name)
    if found.normalisation != normalisation:
        raise InputError(
            f"{weights} was trained with mean {found.normalisation.mean}, std {found.normalisation.std}; the setting "
            f"has {normalisation.mean}, {normalisation.std}",
            "give the setting the normalisation of its teacher",
        )
    if found.fixed_size not in (None, size):
        raise InputError(
            f"{weights} takes images of {found.fixed_size} px, the setting has {size}",
            f"set `size: {found.fixed_size}` or name other weights",
        )
    model = build_model(architecture, classes=len(classes), channels=channels, size=size, seed=0)
    state = cut_head(present_names(found.state), model, rows, weights)
    check_keys(state, model, architecture, weights)
    check_finite(state, weights)
    return state, {"source": f"{weights}, {len(rows)} of 1000 rows"}


def _torchvision_weights(name: str, architecture: str) -> Any:
    """The library's entry of weights; raises UnknownNameError, or InputError for those of another architecture."""
    import torchvision

    try:
        chosen = torchvision.models.get_weight(name)
    except (ValueError, AttributeError, KeyError) as error:
        raise UnknownNameError(f"torchvision has no weights {name!r}", "name them as in its documentation") from error
    known = architecture in torchvision.models.list_models(torchvision.models)
    if not known or chosen not in list(torchvision.models.get_model_weights(architecture)):
        raise InputError(f"torchvision's {name} is not for {architecture}", "name the architecture of the weights")
    return chosen


def _torchvision(name: str, architecture: str) -> Published:
    chosen = _torchvision_weights(name, architecture)
    preset = chosen.transforms()
    smallest = min(chosen.meta.get("min_size") or (1, 1))
    return Published(
        state=_hub_state(chosen.url, f"torchvision's {name}"),
        normalisation=Normalisation(mean=tuple(preset.mean), std=tuple(preset.std)),
        # Transformers state the size of their position embedding here, convolutional networks a bound below SMALL.
        fixed_size=smallest if smallest > SMALL else None,
    )


def _hub_state(url: str, what: str) -> dict[str, Tensor]:
    """The tensors of a file in torch's hub cache, whose name states the beginning of its SHA-256."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not file.is_file():
        remedy = f"put {file.name} into {file.parent} (from {url}), or set {DOWNLOADS}=1"
        if not may_fetch():
            raise InputError(f"{what} is not on this machine", remedy)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(file), progress=False)
        except OSError as error:
            raise InputError(f"{what} cannot be fetched ({in_short(error)})", remedy) from error
    stated = re.search(r"-([0-9a-f]{8,64})\.pth$", file.name)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if stated is None or not digest.startswith(stated.group(1)):
        raise InputError(f"{file} has SHA-256 {digest}, which is not what its name states", "delete it, fetch it again")
    try:
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{file} cannot be read ({in_short(error)})", "delete it, fetch it again") from error


def _timm_facts(name: str) -> Any:
    """What timm says of weights; raises UnknownNameError."""
    import timm

    try:
        facts = timm.get_pretrained_cfg(name)
    except RuntimeError:
        facts = None
    if facts is None or not facts.hf_hub_id:
        raise UnknownNameError(f"timm has no weights {name!r}", "name them as timm.list_pretrained() does")
    return facts


def _timm(name: str) -> Published:
    facts = _timm_facts(name)
    path = _hugging_face_file(facts.hf_hub_id, f"timm's {name}")
    return Published(
        state=read(path.read_bytes())[0],
        normalisation=Normalisation(mean=tuple(facts.mean), std=tuple(facts.std)),
        fixed_size=facts.input_size[-1] if facts.fixed_input_size else None,
    )


def _hugging_face_file(repository: str, what: str) -> Path:
    """The weights of a model on the Hugging Face hub, as its cache holds them."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, TIMM_FILE)
    if isinstance(cached, str):
        return Path(cached)
    remedy = f"fetch it (hf download {repository} {TIMM_FILE}), or set {DOWNLOADS}=1"
    if not may_fetch():
        raise InputError(f"{what} is not on this machine", remedy)
    try:
        return Path(hf_hub_download(repository, TIMM_FILE))
    except (OSError, ValueError) as error:
        raise InputError(f"{what} cannot be fetched ({in_short(error)})", remedy) from error
