"""Classifier checkpoints as bytes: safetensors with one JSON header entry.

Belongs here: writing, reading and importing weights, with every check that they fit the setting. Does not belong:
where the bytes are kept (dd_resources/store.py) and measuring the imported accuracy (training.top1).

Metadata fields: architecture, classes (ordered), mean, std, channels, size, test_accuracy, source.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.names import class_names
from dd_assets.errors import InputError
from dd_assets.models.architectures import build_model
from dd_assets.models.foreign import IMAGENET, cut_head, head_name, imagenet_rows, present_names

HEADER_ENTRY = "dd_assets"
"""One entry only: safetensors writes several in hash order, so the bytes would differ between two processes."""


def to_safetensors(state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """The checkpoint file: tensors on the CPU and `metadata` as sorted JSON in the header; equal in, equal out."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return safetensors.torch.save(tensors, {HEADER_ENTRY: json.dumps(metadata, sort_keys=True)})


def read(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file; header entries of other writers are returned as plain strings.

    Raises InputError if the bytes are not safetensors.
    """
    try:
        state = safetensors.torch.load(content)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"the checkpoint cannot be read: {error}", "give a complete .safetensors file") from error
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    try:
        ours = dict(json.loads(header.pop(HEADER_ENTRY, "{}")))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"the checkpoint's metadata is damaged: {error}", "give the file as it was written") from error
    return state, {**header, **ours}


def load_classifier(state: Mapping[str, Tensor], metadata: Mapping[str, Any], device: str = "cpu") -> nn.Module:
    """The network of a checkpoint, frozen, in evaluation mode on `device`; raises InputError if the keys do not fit."""
    model = _blank(metadata["architecture"], len(metadata["classes"]), metadata["channels"], metadata["size"])
    check_keys(state, model, metadata["architecture"], f"checkpoint of {metadata['architecture']}")
    model.load_state_dict(dict(state), strict=False)
    return model.to(device).eval().requires_grad_(False)


def import_weights(
    path: Path,
    *,
    architecture: str,
    classes: Sequence[str],
    channels: int,
    size: int,
    normalisation: Normalisation | None = None,
    sha256: str | None = None,
    data: str = "",
    folders: str | Mapping[str, str] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Foreign weights checked against a setting, as (state, metadata) ready for `to_safetensors`.

    `path` is a .safetensors file, described by its header and by a JSON file of the same stem, or a .pth file, read
    with `weights_only=True` and only if its SHA-256 is `sha256`. The file's mean and std are taken, and must
    equal `normalisation` where both are given. Class order is compared where the file states it; elsewhere only
    the measured accuracy can tell, so the caller measures it (`training.top1`) before anything is built on it. A file
    that states `"classes": "imagenet1k"` has ImageNet-1K's thousand outputs, of which those of `classes` are kept;
    `data` and `folders` say which WordNet ids they have (foreign.imagenet_rows).
    Raises InputError, one line with file and remedy, for a missing file, a wrong hash, NaN or infinite values, other
    classes, another class order, a contradicting normalisation and keys that do not fit the architecture.
    """
    if not path.is_file():
        raise InputError(f"weights {path} do not exist", "download them or correct the path")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise InputError(f"{path} has SHA-256 {digest}, expected {sha256}", "download it again")
    if path.suffix == ".safetensors":
        state, header = read(content)
    elif sha256 is None:
        raise InputError(f"{path} is a pickle-based file", f"state its hash to accept it: sha256: {digest}")
    else:
        state, header = _foreign_state(path), {}
    stated = _stated(path, header)
    check_finite(state, str(path))
    model, state = _blank(architecture, len(classes), channels, size), present_names(state)
    if stated.get("classes") == IMAGENET:
        state = cut_head(state, model, imagenet_rows(classes, data, folders), str(path))
    else:
        _check_classes(stated.get("classes"), classes, path)
    _check_head(state, model, len(classes), path)
    check_keys(state, model, architecture, str(path))
    chosen = _normalisation(stated, normalisation, path)
    return state, {
        "architecture": architecture,
        "classes": list(classes),
        "mean": list(chosen.mean),
        "std": list(chosen.std),
        "channels": channels,
        "size": size,
        "test_accuracy": None,
        "source": f"{stated.get('source', path.name)}, sha256 {digest}",
    }


def _blank(architecture: str, classes: int, channels: int, size: int) -> nn.Module:
    """A network to receive weights; its own initial values are overwritten."""
    return build_model(architecture, classes=classes, channels=channels, size=size, seed=0)


def _stated(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """What the weights' own header and the JSON file beside them, which goes before it, say of them.

    `classes` is IMAGENET or a list, `mean` and `std` are tuples of numbers, where they are stated.
    Raises InputError naming the file that says something else.
    """
    sidecar, described = path.with_suffix(".json"), {}
    remedy = 'write {"classes": […], "mean": […], "std": […]} or a part of it there (docs/datasets.md)'
    if sidecar.is_file():
        try:
            described = json.loads(sidecar.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{sidecar} cannot be read: {error}", remedy) from error
        if not isinstance(described, dict):
            raise InputError(f"{sidecar} holds no mapping", remedy)
    stated = {**header, **described}
    for field in ("classes", "mean", "std"):
        if field in stated:
            try:
                stated[field] = _usable(field, stated[field])
            except (TypeError, ValueError, OverflowError) as error:
                where = sidecar if field in described else path
                raise InputError(f"{where}: {field}={stated[field]!r} cannot be used", remedy) from error
    return stated


def _usable(field: str, value: Any) -> Any:
    """A stated field in its own type; raises TypeError, ValueError or OverflowError for another."""
    if field == "classes":
        if not (value is None or value == IMAGENET or isinstance(value, list)):
            raise TypeError(field)
        return value
    # Headers of other writers hold text alone.
    numbers = tuple(float(part) for part in (value.split(",") if isinstance(value, str) else value))
    if not all(math.isfinite(number) and (number > 0 or field == "mean") for number in numbers):
        raise ValueError(field)
    return numbers


def _foreign_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth file, without the wrappers of common training scripts."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} holds more than tensors", "save model.state_dict() alone") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError(f"{path} holds no state dict", "save model.state_dict() alone")
    return {name.removeprefix("module."): value for name, value in loaded.items()}


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise InputError, naming `what` and the tensor, for a NaN or infinite value."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"{what}: tensor {name} has NaN or infinite values", "train or download it again")


def _check_classes(stated: Sequence[str] | None, expected: Sequence[str], path: Path) -> None:
    if stated is None:
        return
    if len(stated) != len(expected):
        raise InputError(f"{path} has {len(stated)} classes, the setting has {len(expected)}", "use matching weights")
    for position, (theirs, ours) in enumerate(zip(stated, expected, strict=True)):
        if theirs != ours:
            raise InputError(
                f"{path}: class {position} is {theirs!r}, the setting has {ours!r} there",
                "reorder the setting's classes or the rows of the head",
            )


def _check_head(state: Mapping[str, Tensor], model: nn.Module, classes: int, path: Path) -> None:
    weight = state.get(f"{head_name(model)}.weight")
    if weight is not None and weight.shape[0] != classes:
        whole = weight.shape[0] == len(class_names(IMAGENET))
        raise InputError(
            f"{path} has {weight.shape[0]} outputs, the setting has {classes} classes",
            f'write {{"classes": "{IMAGENET}"}} to {path.with_suffix(".json").name} if they are ImageNet-1K\'s'
            if whole
            else "use other weights",
        )


def check_keys(state: Mapping[str, Tensor], model: nn.Module, architecture: str, what: str) -> None:
    """Raise InputError, naming `what` and a few keys, unless `state` has exactly the tensors of `model`."""
    # The batch counter takes no part in evaluation and many public checkpoints leave it out.
    expected = {name: value.shape for name, value in model.state_dict().items()}
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in expected]
    shapes = [name for name, shape in expected.items() if name in state and state[name].shape != shape]
    for kind, names in (("missing", missing), ("unknown", unknown), ("other shapes", shapes)):
        if names:
            few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise InputError(f"{what} does not fit {architecture}: {kind}: {few}", "name the right architecture")


def _normalisation(stated: Mapping[str, Any], expected: Normalisation | None, path: Path) -> Normalisation:
    """The normalisation the weights were trained with; never a guess and never a silent contradiction."""
    if "mean" not in stated or "std" not in stated:
        if expected is None:
            raise InputError(f"{path} states no mean and std", f"write them to {path.with_suffix('.json').name}")
        return expected
    own = Normalisation(mean=stated["mean"], std=stated["std"])
    if expected is not None and own != expected:
        raise InputError(
            f"{path} was trained with mean {own.mean}, std {own.std}; the setting has {expected.mean}, {expected.std}",
            "give the setting the normalisation of its teacher",
        )
    return own
