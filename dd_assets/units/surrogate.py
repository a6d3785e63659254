"""The `surrogate` unit: a small classifier's training with the epochs that influence guidance looks back at.

Belongs here: planning and running it, its verdicts, loading the kept epochs. Does not belong: the training
(models/trajectory.py), the gradients at those epochs (units/class_gradients.py).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

from dd_assets.datasets.setting import Setting
from dd_assets.errors import InputError
from dd_assets.methods.contract import with_overrides
from dd_assets.models.registry import architecture
from dd_assets.models.surrogates import SurrogateRecipe, surrogate_recipe
from dd_assets.planning.digests import ContentHasher, plain
from dd_assets.planning.engine import Work
from dd_assets.planning.unit import Manifest, Product, Unit, Verdict
from dd_assets.units.kinds import kind_of
from dd_assets.units.labels import typed_normalisation

CHECKPOINTS = "checkpoints.safetensors"
NOT_IN_RECIPE = ("source", "accuracy_floor")


def without_surrogate(chosen: Setting) -> str:
    """Why a setting can have no surrogate, or ''."""
    try:
        architecture(surrogate_recipe(chosen.data, chosen.size).architecture).require_size(chosen.size)
    except InputError as error:
        return error.problem
    return ""


def plan(chosen: Setting, dataset: Manifest, overrides: Mapping[str, Any]) -> Unit:
    """The training of a setting's surrogate; raises UnknownNameError or InputError for an unknown override."""
    recipe = with_overrides(surrogate_recipe(chosen.data, chosen.size), overrides, f"surrogate of {chosen.name}")
    parameters = {name: value for name, value in plain(recipe).items() if name not in NOT_IN_RECIPE}
    return Unit(
        name="surrogate",
        version=kind_of("surrogate").version,
        parameters={
            **parameters,
            **recipe.layout,
            **architecture(recipe.architecture).stated_form(chosen.size),
            "classes": list(chosen.classes),
            "normalisation": chosen.normalisation,
            "channels": chosen.channels,
            "size": chosen.size,
            "hflip": recipe.hflip and chosen.hflip,
            # A floor of a validation part lies lower, as its teachers' do.
            "accuracy_floor": (0.9 if chosen.tune_of else 1.0) * recipe.accuracy_floor,
        },
        inputs={"dataset": dataset.content},
        seed=0,
        sources={"dataset": dataset.recipe_digest},
        setting=chosen.name,
        label=f"surrogate {chosen.name}",
    )


def compute(unit: Unit, work: Work) -> Product:
    """Train (resumable), keep what the rule chooses, and measure top-1 on the test split."""
    from dd_assets.models.checkpoint import to_safetensors
    from dd_assets.models.trajectory import train_surrogate
    from dd_assets.report.pictures import curve_svg

    given = unit.parameters
    train, test = work.raw.load(unit.setting, unit.inputs["dataset"])
    made = train_surrogate(
        train,
        test,
        SurrogateRecipe.from_stored(given),
        typed_normalisation(given["normalisation"]),
        classes=len(given["classes"]),
        seed=unit.seed or 0,
        device=work.device,
        checkpoints=work.checkpoints,
        progress=work.progress,
    )
    state = {f"{epoch}/{name}": value for epoch, own in made.kept.items() for name, value in own.items()}
    metadata = {
        "architecture": given["architecture"],
        "classes": list(given["classes"]),
        "channels": given["channels"],
        "size": given["size"],
        "kept": list(made.kept),
    }
    hasher = ContentHasher("surrogate").value("facts", metadata)
    for name, tensor in state.items():
        hasher.array(name, tensor.numpy())
    accuracy = made.result.test_accuracy
    epochs = [float(number) for number in range(len(made.turns))]
    series = {"cosine to the epoch kept last": (epochs[1:], made.turns[1:].tolist())}
    return Product(
        content=hasher.hexdigest(),
        payloads={
            CHECKPOINTS: to_safetensors(state, metadata),
            "curve.svg": curve_svg(series, "Turn of the class gradients", "epoch", "cosine").encode(),
        },
        verdicts=(_verdict(accuracy, float(given["accuracy_floor"])),),
        summary={
            "test_accuracy": accuracy,
            "architecture": given["architecture"],
            "kept": list(made.kept),
            "parameters": sum(tensor.numel() for tensor in next(iter(made.kept.values())).values()),
            "images": given["images"],
        },
    )


def _verdict(accuracy: float, floor: float) -> Verdict:
    return Verdict(
        name="surrogate_above_floor",
        passed=accuracy >= floor,
        blocking=True,
        message=f"top-1 on the test split {accuracy:.2%}, floor {floor:.2%}",
        figures={"accuracy": accuracy, "floor": floor},
    )


@functools.lru_cache(maxsize=2)
def _loaded(data: bytes, device: str) -> tuple[Any, ...]:
    from dd_assets.models.checkpoint import load_classifier, read

    state, metadata = read(data)
    found = []
    for epoch in metadata["kept"]:
        prefix = f"{epoch}/"
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        found.append(load_classifier(own, metadata, device))
    return tuple(found)


def load(work: Work, input_name: str = "surrogate") -> tuple[Any, ...]:
    """The networks of the kept epochs, first to last, frozen and in evaluation mode; a copy for each caller.

    Raises VerdictError if the surrogate may not be used, InputError if nothing was kept.
    """
    found = _loaded(work.input_bytes(input_name, CHECKPOINTS), work.device)
    if not found:
        raise InputError("the surrogate kept no epoch", "materialize influence again")
    return copy.deepcopy(found)
